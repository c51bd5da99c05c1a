// Schedule-free AdamW (Defazio et al. 2024): gradients are taken at a mixture of the point z of the steps and
// its running average x, which is the result: an average of all steps stands in place of a schedule. The
// weights of training are the mixture; the average is what `--average` of the commands takes.
#include <algorithm>
#include <cmath>

#include "kernels/element_update.h"
#include "src/config/numbers.h"
#include "src/update/rule_options.h"
#include "src/update/update_rule.h"

namespace lockstep {

namespace {

class ScheduleFree : public UpdateRule {
 public:
  explicit ScheduleFree(const Config& options)
      : beta1_(read_share(options, "beta1", 0.9)),
        beta2_(read_share(options, "beta2", 0.999)),
        epsilon_(read_above_zero(options, "epsilon", 1e-8)),
        warmup_steps_(read_steps(options, "warmup_steps", 0, 0)) {}

  std::vector<std::string> slots() const override { return {"z", "v", kAverageSlot}; }
  bool is_schedule_free() const override { return true; }

  void update(Stream& stream, const UpdateRanges& ranges, const UpdateArgs& args) const override {
    const int64_t t = args.step + 1;
    const double c = part_of_sum(t);
    ScheduleFreeFormula formula;
    formula.lr = static_cast<float>(args.lr * warmup(t));
    formula.beta1 = static_cast<float>(beta1_);
    formula.one_minus_beta1 = static_cast<float>(1 - beta1_);
    formula.beta2 = static_cast<float>(beta2_);
    formula.one_minus_beta2 = static_cast<float>(1 - beta2_);
    formula.root_scale = static_cast<float>(1 / std::sqrt(bias_correction(beta2_, t)));
    formula.epsilon = static_cast<float>(epsilon_);
    formula.c = static_cast<float>(c);
    formula.one_minus_c = static_cast<float>(1 - c);
    element_update(stream, element_update_of(args, ElementUpdate::Decay::kFormula), formula, ranges,
                   args.gradients, args.weights, args.slots);
  }

 private:
  double warmup(int64_t t) const {
    return t < warmup_steps_ ? static_cast<double>(t) / static_cast<double>(warmup_steps_) : 1;
  }
  /// A step weighs as the square of its rate: of step t, its part of the sum until then, in closed form.
  double part_of_sum(int64_t t) const {
    const auto n = static_cast<double>(std::min(t, warmup_steps_)), w = static_cast<double>(warmup_steps_);
    const double of_warmup = warmup_steps_ > 0 ? n * (n + 1) * (2 * n + 1) / (6 * w * w) : 0;
    const double after = static_cast<double>(std::max<int64_t>(0, t - warmup_steps_));
    return warmup(t) * warmup(t) / (of_warmup + after);
  }

  double beta1_, beta2_, epsilon_;
  int64_t warmup_steps_;
};

const bool schedule_free_rule_registered = update_rules().add(
    "schedule_free",
    [](Config& options) {
      return UpdateRuleMade{std::make_shared<ScheduleFree>(options), 2.5e-3};
    },
    11);

}  // namespace

}  // namespace lockstep
