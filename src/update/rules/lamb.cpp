// LAMB (You et al. 2020): Adam's step of each parameter, scaled to the norm of its weights, for large
// batches. As optax has it; decay_in_ratio: false is Keras' form.
#include <cmath>

#include "kernels/norm_update.h"
#include "src/update/rule_options.h"
#include "src/update/update_rule.h"

namespace lockstep {

namespace {

struct LambOptions {
  double beta1, beta2, epsilon;
  bool decay_in_ratio, always_adapts;
};

class LambOfParameter : public ParameterUpdate {
 public:
  LambOfParameter(Device device, const Shape& shape, const LambOptions& options)
      : o_(options), n_(shape.n_elements()), scratch_(device, norm_update_scratch_bytes(n_)) {}

  void update(Stream& stream, const ParameterArgs& args) override {
    const int64_t t = args.step + 1;
    LambFormula formula;
    formula.beta1 = static_cast<float>(o_.beta1);
    formula.one_minus_beta1 = static_cast<float>(1 - o_.beta1);
    formula.beta2 = static_cast<float>(o_.beta2);
    formula.one_minus_beta2 = static_cast<float>(1 - o_.beta2);
    formula.epsilon = static_cast<float>(o_.epsilon);
    formula.lr = static_cast<float>(args.lr);
    formula.mean_scale = static_cast<float>(1 / bias_correction(o_.beta1, t));
    formula.root_scale = static_cast<float>(1 / std::sqrt(bias_correction(o_.beta2, t)));
    formula.is_adaptive = o_.always_adapts || args.weight_decay > 0 ? 1.0f : 0.0f;
    NormUpdate update;
    update.grad_scale = static_cast<float>(args.grad_scale);
    if (o_.decay_in_ratio)
      update.weight_decay = static_cast<float>(args.weight_decay);
    else
      update.decoupled = args.lr * args.weight_decay;
    norm_update(stream, update, formula, n_, args.gradients, args.weights, args.slots, scratch_);
  }

 private:
  LambOptions o_;
  int64_t n_;
  Memory scratch_;
};

class LambOfAll : public ParameterRule {
 public:
  explicit LambOfAll(const LambOptions& options) : o_(options) {}
  bool takes(const std::string&, const Shape&) const override { return true; }
  std::shared_ptr<ParameterUpdate> make(Device device, const Shape& shape) const override {
    return std::make_shared<LambOfParameter>(device, shape, o_);
  }

 private:
  LambOptions o_;
};

class Lamb : public UpdateRule {
 public:
  explicit Lamb(const LambOptions& options) : parameters_(options) {}
  std::vector<std::string> slots() const override { return {"m", "v"}; }
  const ParameterRule* parameters() const override { return &parameters_; }
  void update(Stream&, const UpdateRanges&, const UpdateArgs&) const override {}  // nothing is left

 private:
  LambOfAll parameters_;
};

UpdateRuleMade make_lamb(Config& options) {
  LambOptions o;
  o.beta1 = read_share(options, "beta1", 0.9);
  o.beta2 = read_share(options, "beta2", 0.999);
  o.epsilon = read_above_zero(options, "epsilon", 1e-6);
  o.decay_in_ratio = options.get_bool("decay_in_ratio", true);
  o.always_adapts = options.get_bool("always_adapt", true);
  return {std::make_shared<Lamb>(o), 1e-3};
}

const bool lamb_rule_registered = update_rules().add("lamb", make_lamb, 12);

}  // namespace

}  // namespace lockstep
