// LARS (You et al. 2017): momentum whose rate is, for each parameter, scaled by the ratio of the norms of its
// weights and its gradient, for large batches. As optax has it; norms: separate is the paper's and timm's,
// form: pytorch timm's.
#include <string>

#include "kernels/norm_update.h"
#include "src/update/rule_options.h"
#include "src/update/update_rule.h"

namespace lockstep {

namespace {

struct LarsOptions {
  double momentum, trust, epsilon;
  bool nesterov, always_adapts, is_separate, is_heavy_ball;
};

class LarsOfParameter : public ParameterUpdate {
 public:
  LarsOfParameter(Device device, const Shape& shape, const LarsOptions& options)
      : o_(options), n_(shape.n_elements()), scratch_(device, norm_update_scratch_bytes(n_)) {}

  void update(Stream& stream, const ParameterArgs& args) override {
    LarsFormula formula;
    formula.momentum = static_cast<float>(o_.momentum);
    formula.gain = o_.is_heavy_ball ? static_cast<float>(-args.lr) : 1.0f;
    formula.rate = o_.is_heavy_ball ? -1.0f : static_cast<float>(args.lr);
    if (o_.nesterov) {
      formula.from_gradient = 1;
      formula.from_velocity = formula.momentum;
    }
    formula.trust = static_cast<float>(o_.trust);
    formula.epsilon = static_cast<float>(o_.epsilon);
    formula.is_adaptive = o_.always_adapts || args.weight_decay > 0 ? 1.0f : 0.0f;
    formula.is_separate = o_.is_separate;
    NormUpdate update;
    update.grad_scale = static_cast<float>(args.grad_scale);
    update.weight_decay = static_cast<float>(args.weight_decay);
    norm_update(stream, update, formula, n_, args.gradients, args.weights, args.slots, scratch_);
  }

 private:
  LarsOptions o_;
  int64_t n_;
  Memory scratch_;
};

class LarsOfAll : public ParameterRule {
 public:
  explicit LarsOfAll(const LarsOptions& options) : o_(options) {}
  bool takes(const std::string&, const Shape&) const override { return true; }
  std::shared_ptr<ParameterUpdate> make(Device device, const Shape& shape) const override {
    return std::make_shared<LarsOfParameter>(device, shape, o_);
  }

 private:
  LarsOptions o_;
};

class Lars : public UpdateRule {
 public:
  explicit Lars(const LarsOptions& options) : parameters_(options) {}
  std::vector<std::string> slots() const override { return {"velocity"}; }
  const ParameterRule* parameters() const override { return &parameters_; }
  void update(Stream&, const UpdateRanges&, const UpdateArgs&) const override {}  // nothing is left

 private:
  LarsOfAll parameters_;
};

UpdateRuleMade make_lars(Config& options) {
  LarsOptions o;
  o.momentum = read_share(options, "momentum", 0.9);
  o.nesterov = options.get_bool("nesterov", false);
  o.trust = read_above_zero(options, "trust", 0.001);
  o.epsilon = read_not_negative(options, "epsilon", 0);
  o.always_adapts = options.get_bool("always_adapt", true);
  o.is_separate = options.get_choice("norms", "joint", {"joint", "separate"}) == "separate";
  o.is_heavy_ball = options.get_choice("form", "heavy_ball", {"heavy_ball", "pytorch"}) == "heavy_ball";
  return {std::make_shared<Lars>(o)};
}

const bool lars_rule_registered = update_rules().add("lars", make_lars, 13);

}  // namespace

}  // namespace lockstep
