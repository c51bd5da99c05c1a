// RAdam (Liu et al. 2020): Adam, rectified while the variance of its second moment is large, and not divided
// by it in the very first steps. As PyTorch has it.
#include <cmath>

#include "kernels/element_update.h"
#include "src/update/rule_options.h"
#include "src/update/update_rule.h"

namespace lockstep {

namespace {

class Radam : public UpdateRule {
 public:
  explicit Radam(const Config& options)
      : beta1_(read_share(options, "beta1", 0.9)),
        beta2_(read_share(options, "beta2", 0.999)),
        epsilon_(read_above_zero(options, "epsilon", 1e-8)),
        decay_(read_decay(options)) {}

  std::vector<std::string> slots() const override { return {"m", "v"}; }

  void update(Stream& stream, const UpdateRanges& ranges, const UpdateArgs& args) const override {
    const int64_t t = args.step + 1;
    const double correction = bias_correction(beta2_, t);
    const double longest = 2 / (1 - beta2_) - 1;  // length of the moving average that v approximates
    const double length = longest - 2 * static_cast<double>(t) * (1 - correction) / correction;
    RadamFormula formula;
    formula.beta1 = static_cast<float>(beta1_);
    formula.one_minus_beta1 = static_cast<float>(1 - beta1_);
    formula.beta2 = static_cast<float>(beta2_);
    formula.one_minus_beta2 = static_cast<float>(1 - beta2_);
    formula.epsilon = static_cast<float>(epsilon_);
    double step_size = args.lr / bias_correction(beta1_, t);
    if (length > 5) {
      step_size *=
          std::sqrt((length - 4) * (length - 2) * longest / ((longest - 4) * (longest - 2) * length)) *
          std::sqrt(correction);
    } else {
      formula.of_root = 0;
      formula.constant = 1;
    }
    formula.step_size = static_cast<float>(step_size);
    element_update(stream, element_update_of(args, decay_), formula, ranges, args.gradients, args.weights,
                   args.slots);
  }

 private:
  double beta1_, beta2_, epsilon_;
  ElementUpdate::Decay decay_;
};

const bool radam_rule_registered = update_rules().add(
    "radam",
    [](Config& options) {
      return UpdateRuleMade{std::make_shared<Radam>(options), 1e-3};
    },
    9);

}  // namespace

}  // namespace lockstep
