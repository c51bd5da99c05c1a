// Stochastic gradient descent, with momentum (Polyak 1964; Sutskever et al. 2013 with Nesterov's) in two
// forms: PyTorch's velocity sums gradients and meets the rate in the step; the heavy ball's is a step itself
// and keeps the rates that it was made with. Under one rate they are the same.
#include <fmt/format.h>

#include <string>

#include "kernels/element_update.h"
#include "kernels/optimizer_update.h"
#include "src/update/rule_options.h"
#include "src/update/update_rule.h"

namespace lockstep {

namespace {

struct SgdOptions {
  double momentum = 0, dampening = 0;
  bool nesterov = false, is_heavy_ball = false;
  ElementUpdate::Decay decay = ElementUpdate::Decay::kL2;
};

class Sgd : public UpdateRule {
 public:
  explicit Sgd(const SgdOptions& options) : o_(options) {}

  std::vector<std::string> slots() const override {
    return o_.momentum > 0 ? std::vector<std::string>{"velocity"} : std::vector<std::string>();
  }

  void update(Stream& stream, const UpdateRanges& ranges, const UpdateArgs& args) const override {
    const bool is_plain = o_.decay == ElementUpdate::Decay::kL2 && o_.dampening == 0 && !o_.is_heavy_ball;
    if (is_plain) return update_plain(stream, ranges, args);
    const ElementUpdate update = element_update_of(args, o_.decay);
    const auto apply = [&](const auto& formula) {
      element_update(stream, update, formula, ranges, args.gradients, args.weights, args.slots);
    };
    if (o_.momentum == 0) return apply(DescentFormula{static_cast<float>(args.lr)});
    MomentumFormula formula;
    formula.momentum = static_cast<float>(o_.momentum);
    formula.rate = o_.is_heavy_ball ? -1.0f : static_cast<float>(args.lr);
    // PyTorch dampens no first gradient.
    const double damped = args.step == 0 ? 1 : 1 - o_.dampening;
    formula.gain = static_cast<float>(o_.is_heavy_ball ? -args.lr : damped);
    if (o_.nesterov) {
      formula.from_gradient = formula.gain;
      formula.from_velocity = formula.momentum;
    }
    apply(formula);
  }

 private:
  void update_plain(Stream& stream, const UpdateRanges& ranges, const UpdateArgs& args) const {
    SgdUpdate rule;
    rule.lr = static_cast<float>(args.lr);
    rule.momentum = static_cast<float>(o_.momentum);
    rule.nesterov = o_.nesterov;
    rule.weight_decay = static_cast<float>(args.weight_decay);
    rule.grad_scale = static_cast<float>(args.grad_scale);
    sgd_update(stream, rule, ranges, args.gradients, args.weights,
               args.slots.empty() ? nullptr : args.slots[0]);
  }

  SgdOptions o_;
};

const bool sgd_rule_registered = update_rules().add(
    "sgd",
    [](Config& options) {
      SgdOptions o;
      o.momentum = options.get_double("momentum", 0);
      o.nesterov = options.get_bool("nesterov", false);
      if (!(o.momentum >= 0 && o.momentum < 1))
        throw options.error_at("momentum", fmt::format("must lie in [0, 1), found {}", o.momentum),
                               "the usual one is 0.9");
      if (o.nesterov && o.momentum == 0)
        throw options.error_at("nesterov", "needs momentum", "set momentum: 0.9");
      o.dampening = read_share(options, "dampening", 0);
      if (options.has("form") && o.momentum == 0)
        throw options.error_at("form", "is one of momentum, and there is none", "set momentum: 0.9");
      o.is_heavy_ball = options.get_choice("form", "pytorch", {"pytorch", "heavy_ball"}) == "heavy_ball";
      if (o.dampening > 0 && (o.momentum == 0 || o.nesterov || o.is_heavy_ball))
        throw options.error_at("dampening", "needs momentum of PyTorch's form, without nesterov",
                               "set momentum: 0.9 and leave nesterov and form out, or leave dampening out");
      o.decay = read_decay(options);
      return UpdateRuleMade{std::make_shared<Sgd>(o)};
    },
    1);

}  // namespace

}  // namespace lockstep
