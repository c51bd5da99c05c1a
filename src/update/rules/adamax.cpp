// Adamax (Kingma and Ba 2015, section 7.1): Adam by the largest gradient, which fades, in place of the root
// of the mean square. As PyTorch has it.
#include "kernels/element_update.h"
#include "src/update/rule_options.h"
#include "src/update/update_rule.h"

namespace lockstep {

namespace {

class Adamax : public UpdateRule {
 public:
  explicit Adamax(const Config& options)
      : beta1_(read_share(options, "beta1", 0.9)),
        beta2_(read_share(options, "beta2", 0.999)),
        epsilon_(read_above_zero(options, "epsilon", 1e-8)),
        decay_(read_decay(options)) {}

  std::vector<std::string> slots() const override { return {"m", "largest"}; }

  void update(Stream& stream, const UpdateRanges& ranges, const UpdateArgs& args) const override {
    AdamaxFormula formula;
    formula.step_size = static_cast<float>(args.lr / bias_correction(beta1_, args.step + 1));
    formula.beta1 = static_cast<float>(beta1_);
    formula.one_minus_beta1 = static_cast<float>(1 - beta1_);
    formula.beta2 = static_cast<float>(beta2_);
    formula.epsilon = static_cast<float>(epsilon_);
    element_update(stream, element_update_of(args, decay_), formula, ranges, args.gradients, args.weights,
                   args.slots);
  }

 private:
  double beta1_, beta2_, epsilon_;
  ElementUpdate::Decay decay_;
};

const bool adamax_rule_registered = update_rules().add(
    "adamax",
    [](Config& options) {
      return UpdateRuleMade{std::make_shared<Adamax>(options), 2e-3};
    },
    14);

}  // namespace

}  // namespace lockstep
