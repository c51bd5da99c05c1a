// RMSProp (Tieleman and Hinton 2012): gradients divided by the root of a running average of their squares;
// centered (Graves 2013) by that of their variance. As PyTorch has it; epsilon_in_root is Keras' and optax'
// form.
#include "kernels/element_update.h"
#include "src/update/rule_options.h"
#include "src/update/update_rule.h"

namespace lockstep {

namespace {

class Rmsprop : public UpdateRule {
 public:
  explicit Rmsprop(const Config& options)
      : rho_(read_share(options, "rho", 0.99)),
        epsilon_(read_above_zero(options, "epsilon", 1e-8)),
        momentum_(read_share(options, "momentum", 0)),
        is_in_root_(options.get_bool("epsilon_in_root", false)),
        is_centered_(options.get_bool("centered", false)),
        decay_(read_decay(options)) {}

  std::vector<std::string> slots() const override {
    std::vector<std::string> names = {"square"};
    if (is_centered_) names.push_back("mean");
    if (momentum_ > 0) names.push_back("velocity");
    return names;
  }

  void update(Stream& stream, const UpdateRanges& ranges, const UpdateArgs& args) const override {
    if (is_centered_ && momentum_ > 0) return apply(CenteredRmspropMomentumFormula(), stream, ranges, args);
    if (is_centered_) return apply(CenteredRmspropFormula(), stream, ranges, args);
    if (momentum_ > 0) return apply(RmspropMomentumFormula(), stream, ranges, args);
    apply(PlainRmspropFormula(), stream, ranges, args);
  }

 private:
  template <typename Formula>
  void apply(Formula formula, Stream& stream, const UpdateRanges& ranges, const UpdateArgs& args) const {
    formula.lr = static_cast<float>(args.lr);
    formula.keep = static_cast<float>(rho_);
    formula.take = static_cast<float>(1 - rho_);
    formula.inside = is_in_root_ ? static_cast<float>(epsilon_) : 0.0f;
    formula.outside = is_in_root_ ? 0.0f : static_cast<float>(epsilon_);
    formula.momentum = static_cast<float>(momentum_);
    element_update(stream, element_update_of(args, decay_), formula, ranges, args.gradients, args.weights,
                   args.slots);
  }

  double rho_, epsilon_, momentum_;
  bool is_in_root_, is_centered_;
  ElementUpdate::Decay decay_;
};

const bool rmsprop_rule_registered = update_rules().add(
    "rmsprop",
    [](Config& options) {
      return UpdateRuleMade{std::make_shared<Rmsprop>(options), 0.01};
    },
    6);

}  // namespace

}  // namespace lockstep
