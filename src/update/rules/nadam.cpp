// NAdam (Dozat 2016): Adam with Nesterov's momentum, whose coefficient rises over the first steps. As PyTorch
// has it.
#include <cmath>

#include "kernels/element_update.h"
#include "src/update/rule_options.h"
#include "src/update/update_rule.h"

namespace lockstep {

namespace {

class Nadam : public UpdateRule {
 public:
  explicit Nadam(const Config& options)
      : beta1_(read_share(options, "beta1", 0.9)),
        beta2_(read_share(options, "beta2", 0.999)),
        epsilon_(read_above_zero(options, "epsilon", 1e-8)),
        momentum_decay_(read_not_negative(options, "momentum_decay", 4e-3)),
        decay_(read_decay(options)) {}

  std::vector<std::string> slots() const override { return {"m", "v"}; }

  void update(Stream& stream, const UpdateRanges& ranges, const UpdateArgs& args) const override {
    const int64_t t = args.step + 1;
    // The product of a run's coefficients is made anew: once it is lost beside 1, no more factor shows.
    double product = 1;
    for (int64_t i = 1; i <= t && product > 1e-20; ++i) product *= momentum(i);
    NadamFormula formula;
    formula.beta1 = static_cast<float>(beta1_);
    formula.one_minus_beta1 = static_cast<float>(1 - beta1_);
    formula.beta2 = static_cast<float>(beta2_);
    formula.one_minus_beta2 = static_cast<float>(1 - beta2_);
    formula.of_gradient = static_cast<float>(args.lr * (1 - momentum(t)) / (1 - product));
    formula.of_mean = static_cast<float>(args.lr * momentum(t + 1) / (1 - product * momentum(t + 1)));
    formula.root_scale = static_cast<float>(1 / std::sqrt(bias_correction(beta2_, t)));
    formula.epsilon = static_cast<float>(epsilon_);
    element_update(stream, element_update_of(args, decay_), formula, ranges, args.gradients, args.weights,
                   args.slots);
  }

 private:
  double momentum(int64_t t) const {
    return beta1_ * (1 - 0.5 * std::pow(0.96, static_cast<double>(t) * momentum_decay_));
  }

  double beta1_, beta2_, epsilon_, momentum_decay_;
  ElementUpdate::Decay decay_;
};

const bool nadam_rule_registered = update_rules().add(
    "nadam",
    [](Config& options) {
      return UpdateRuleMade{std::make_shared<Nadam>(options), 2e-3};
    },
    8);

}  // namespace

}  // namespace lockstep
