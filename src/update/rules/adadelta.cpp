// Adadelta (Zeiler 2012): steps in the units of the weights, by the ratio of running averages of squared
// steps and squared gradients. As PyTorch has it.
#include "kernels/element_update.h"
#include "src/update/rule_options.h"
#include "src/update/update_rule.h"

namespace lockstep {

namespace {

class Adadelta : public UpdateRule {
 public:
  explicit Adadelta(const Config& options)
      : rho_(read_share(options, "rho", 0.9)),
        epsilon_(read_above_zero(options, "epsilon", 1e-6)),
        decay_(read_decay(options)) {}

  std::vector<std::string> slots() const override { return {"square", "delta"}; }

  void update(Stream& stream, const UpdateRanges& ranges, const UpdateArgs& args) const override {
    AdadeltaFormula formula;
    formula.lr = static_cast<float>(args.lr);
    formula.keep = static_cast<float>(rho_);
    formula.take = static_cast<float>(1 - rho_);
    formula.epsilon = static_cast<float>(epsilon_);
    element_update(stream, element_update_of(args, decay_), formula, ranges, args.gradients, args.weights,
                   args.slots);
  }

 private:
  double rho_, epsilon_;
  ElementUpdate::Decay decay_;
};

const bool adadelta_rule_registered = update_rules().add(
    "adadelta",
    [](Config& options) {
      return UpdateRuleMade{std::make_shared<Adadelta>(options), 1.0};
    },
    7);

}  // namespace

}  // namespace lockstep
