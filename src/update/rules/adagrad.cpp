// Adagrad (Duchi et al. 2011): rates that fall with the root of the sum of squared gradients. As PyTorch has
// it; epsilon_in_root and initial are Keras' and optax' form.
#include <cmath>

#include "kernels/element_update.h"
#include "src/update/rule_options.h"
#include "src/update/update_rule.h"

namespace lockstep {

namespace {

class Adagrad : public UpdateRule {
 public:
  explicit Adagrad(const Config& options)
      : epsilon_(read_not_negative(options, "epsilon", 1e-10)),
        initial_(read_not_negative(options, "initial", 0)),
        lr_decay_(read_not_negative(options, "lr_decay", 0)),
        is_in_root_(options.get_bool("epsilon_in_root", false)),
        decay_(read_decay(options)) {}

  std::vector<std::string> slots() const override { return {"sum"}; }

  void update(Stream& stream, const UpdateRanges& ranges, const UpdateArgs& args) const override {
    AdagradFormula formula;
    formula.rate = static_cast<float>(args.lr / (1 + static_cast<double>(args.step) * lr_decay_));
    formula.inside = is_in_root_ ? static_cast<float>(epsilon_) : 0.0f;
    formula.outside = is_in_root_ ? 0.0f : static_cast<float>(epsilon_);
    formula.start = static_cast<float>(initial_);
    element_update(stream, element_update_of(args, decay_), formula, ranges, args.gradients, args.weights,
                   args.slots);
  }

 private:
  double epsilon_, initial_, lr_decay_;
  bool is_in_root_;
  ElementUpdate::Decay decay_;
};

const bool adagrad_rule_registered = update_rules().add(
    "adagrad",
    [](Config& options) {
      return UpdateRuleMade{std::make_shared<Adagrad>(options), 0.01};
    },
    5);

}  // namespace

}  // namespace lockstep
