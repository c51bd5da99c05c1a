// Lion (Chen et al. 2023): steps of one size, by the sign of an average of gradients. Its weight decay is
// decoupled.
#include "kernels/element_update.h"
#include "src/update/rule_options.h"
#include "src/update/update_rule.h"

namespace lockstep {

namespace {

class Lion : public UpdateRule {
 public:
  explicit Lion(const Config& options)
      : beta1_(read_share(options, "beta1", 0.9)), beta2_(read_share(options, "beta2", 0.99)) {}

  std::vector<std::string> slots() const override { return {"m"}; }

  void update(Stream& stream, const UpdateRanges& ranges, const UpdateArgs& args) const override {
    LionFormula formula;
    formula.lr = static_cast<float>(args.lr);
    formula.beta1 = static_cast<float>(beta1_);
    formula.one_minus_beta1 = static_cast<float>(1 - beta1_);
    formula.beta2 = static_cast<float>(beta2_);
    formula.one_minus_beta2 = static_cast<float>(1 - beta2_);
    element_update(stream, element_update_of(args, ElementUpdate::Decay::kDecoupled), formula, ranges,
                   args.gradients, args.weights, args.slots);
  }

 private:
  double beta1_, beta2_;
};

const bool lion_rule_registered = update_rules().add(
    "lion",
    [](Config& options) {
      return UpdateRuleMade{std::make_shared<Lion>(options), 1e-4};
    },
    10);

}  // namespace

}  // namespace lockstep
