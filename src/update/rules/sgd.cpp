// Stochastic gradient descent, with momentum as PyTorch has it (Sutskever et al. 2013 without the rate in the
// velocity).
#include <fmt/format.h>

#include "kernels/optimizer_update.h"
#include "src/update/update_rule.h"

namespace lockstep {

namespace {

class Sgd : public UpdateRule {
 public:
  Sgd(double momentum, bool nesterov) : momentum_(momentum), nesterov_(nesterov) {}

  std::vector<std::string> slots() const override {
    return momentum_ > 0 ? std::vector<std::string>{"velocity"} : std::vector<std::string>();
  }

  void update(Stream& stream, const UpdateRanges& ranges, const UpdateArgs& args) const override {
    SgdUpdate rule;
    rule.lr = static_cast<float>(args.lr);
    rule.momentum = static_cast<float>(momentum_);
    rule.nesterov = nesterov_;
    rule.weight_decay = static_cast<float>(args.weight_decay);
    rule.grad_scale = static_cast<float>(args.grad_scale);
    sgd_update(stream, rule, ranges, args.gradients, args.weights,
               args.slots.empty() ? nullptr : args.slots[0]);
  }

 private:
  double momentum_;
  bool nesterov_;
};

const bool sgd_rule_registered = update_rules().add(
    "sgd",
    [](Config& options) {
      const double momentum = options.get_double("momentum", 0);
      const bool nesterov = options.get_bool("nesterov", false);
      if (momentum < 0 || momentum >= 1)
        throw options.error_at("momentum", fmt::format("must lie in [0, 1), found {}", momentum),
                               "the usual one is 0.9");
      if (nesterov && momentum == 0)
        throw options.error_at("nesterov", "needs momentum", "set momentum: 0.9");
      return UpdateRuleMade{std::make_shared<Sgd>(momentum, nesterov)};
    },
    1);

}  // namespace

}  // namespace lockstep
