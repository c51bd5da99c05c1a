// An optimizer of one's own: the sign of the momentum (Signum, Bernstein et al. 2018). Its state is saved,
// sharded and resumed with the rest, as it names it in slots().
#include "src/update/update_rule.h"

namespace {

using namespace lockstep;

class SignMomentum : public UpdateRule {
 public:
  explicit SignMomentum(double beta) : beta_(static_cast<float>(beta)) {}
  std::vector<std::string> slots() const override { return {"momentum"}; }

  /// m = beta m + (1 - beta) g; w -= lr (sign(m) + weight_decay w). Arrays of the CPU.
  void update(Stream&, const UpdateRanges& ranges, const UpdateArgs& args) const override {
    const auto lr = static_cast<float>(args.lr), scale = static_cast<float>(args.grad_scale);
    for (const UpdateRange& range : ranges.list()) {
      const float decay = static_cast<float>(args.weight_decay) * range.factor;
      float* m = args.slots[0] + range.state;
      for (int64_t i = range.begin; i < range.end; ++i, ++m) {
        *m = beta_ * *m + (1 - beta_) * scale * args.gradients[i];
        const float sign = static_cast<float>(*m > 0) - static_cast<float>(*m < 0);
        args.weights[i] -= lr * (sign + decay * args.weights[i]);
      }
    }
  }

 private:
  float beta_;
};

const bool registered = update_rules().add("sign_momentum", [](Config& options) {
  const double beta = options.get_double("beta", 0.9);
  if (beta < 0 || beta >= 1) throw options.error_at("beta", "must lie in [0, 1)", "the usual one is 0.9");
  return UpdateRuleMade{std::make_shared<SignMomentum>(beta), 1e-3};
});

}  // namespace
