// Adam (Kingma and Ba 2015), and AdamW with decoupled weight decay (Loshchilov and Hutter 2019), as PyTorch
// has them; also with the largest second moment so far (Reddi et al. 2018, AMSGrad).
#include <fmt/format.h>

#include <cmath>
#include <string>

#include "kernels/optimizer_update.h"
#include "src/update/rule_options.h"
#include "src/update/update_rule.h"

namespace lockstep {

namespace {

class Adam : public UpdateRule {
 public:
  Adam(double beta1, double beta2, double epsilon, bool decoupled, bool keeps_largest)
      : beta1_(beta1),
        beta2_(beta2),
        epsilon_(epsilon),
        decoupled_(decoupled),
        keeps_largest_(keeps_largest) {}

  std::vector<std::string> slots() const override {
    return keeps_largest_ ? std::vector<std::string>{"m", "v", "largest_v"}
                          : std::vector<std::string>{"m", "v"};
  }

  void update(Stream& stream, const UpdateRanges& ranges, const UpdateArgs& args) const override {
    if (keeps_largest_) return update_by_largest(stream, ranges, args);
    AdamUpdate rule;
    rule.lr = static_cast<float>(args.lr);
    rule.beta1 = static_cast<float>(beta1_);
    rule.beta2 = static_cast<float>(beta2_);
    rule.epsilon = static_cast<float>(epsilon_);
    rule.weight_decay = static_cast<float>(args.weight_decay);
    rule.decoupled = decoupled_;
    rule.grad_scale = static_cast<float>(args.grad_scale);
    rule.step = args.step + 1;
    adam_update(stream, rule, ranges, args.gradients, args.weights, args.slots[0], args.slots[1]);
  }

 private:
  void update_by_largest(Stream& stream, const UpdateRanges& ranges, const UpdateArgs& args) const {
    const int64_t t = args.step + 1;
    AmsgradFormula formula;
    formula.beta1 = static_cast<float>(beta1_);
    formula.one_minus_beta1 = static_cast<float>(1 - beta1_);
    formula.beta2 = static_cast<float>(beta2_);
    formula.one_minus_beta2 = static_cast<float>(1 - beta2_);
    formula.epsilon = static_cast<float>(epsilon_);
    formula.step_size = static_cast<float>(args.lr / bias_correction(beta1_, t));
    formula.root_scale = static_cast<float>(1 / std::sqrt(bias_correction(beta2_, t)));
    const auto decay = decoupled_ ? ElementUpdate::Decay::kDecoupled : ElementUpdate::Decay::kL2;
    element_update(stream, element_update_of(args, decay), formula, ranges, args.gradients, args.weights,
                   args.slots);
  }

  double beta1_, beta2_, epsilon_;
  bool decoupled_, keeps_largest_;
};

UpdateRuleMade make_adam(Config& options, bool decoupled) {
  const double beta1 = options.get_double("beta1", 0.9), beta2 = options.get_double("beta2", 0.999);
  const double epsilon = options.get_double("epsilon", 1e-8);
  const auto check = [&](const char* key, double beta, double usual) {
    if (beta < 0 || beta >= 1)
      throw options.error_at(key, fmt::format("must lie in [0, 1), found {}", beta),
                             fmt::format("the usual one is {}", usual));
  };
  check("beta1", beta1, 0.9);
  check("beta2", beta2, 0.999);
  if (epsilon <= 0)
    throw options.error_at("epsilon", fmt::format("must be positive, found {}", epsilon),
                           "the usual one is 1e-8");
  return {std::make_shared<Adam>(beta1, beta2, epsilon, decoupled, options.get_bool("amsgrad", false)), 1e-3};
}

const bool adam_rules_registered =
    update_rules().add(
        "adam", [](Config& options) { return make_adam(options, false); }, 2) &&
    update_rules().add(
        "adamw", [](Config& options) { return make_adam(options, true); }, 3);

}  // namespace

}  // namespace lockstep
