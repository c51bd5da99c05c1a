// Adam (Kingma and Ba 2015), and AdamW with decoupled weight decay (Loshchilov and Hutter 2019), as PyTorch
// has them.
#include <fmt/format.h>

#include <string>

#include "kernels/optimizer_update.h"
#include "src/update/update_rule.h"

namespace lockstep {

namespace {

class Adam : public UpdateRule {
 public:
  Adam(double beta1, double beta2, double epsilon, bool decoupled)
      : beta1_(beta1), beta2_(beta2), epsilon_(epsilon), decoupled_(decoupled) {}

  std::vector<std::string> slots() const override { return {"m", "v"}; }

  void update(Stream& stream, const UpdateRanges& ranges, const UpdateArgs& args) const override {
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
  double beta1_, beta2_, epsilon_;
  bool decoupled_;
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
  return {std::make_shared<Adam>(beta1, beta2, epsilon, decoupled), 1e-3};
}

const bool adam_rules_registered =
    update_rules().add(
        "adam", [](Config& options) { return make_adam(options, false); }, 2) &&
    update_rules().add(
        "adamw", [](Config& options) { return make_adam(options, true); }, 3);

}  // namespace

}  // namespace lockstep
