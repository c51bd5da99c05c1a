// How an optimizer changes weights: one small class per rule, in rules/NAME.cpp.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "kernels/update_ranges.h"
#include "src/config/family.h"
#include "src/update/parameter_rule.h"

namespace lockstep {

/// One update. Arrays are on the stream's device; gradients and weights have the arena's layout.
struct UpdateArgs {
  const float* gradients;         // summed over the global batch
  float* weights;                 // changed in place
  std::span<float* const> slots;  // the states, in the order of slots(): as long as the ranges together
  double lr;
  double weight_decay;  // times a range's factor
  double grad_scale;    // 1 / samples of the global batch
  int64_t step;         // 0 for the first update
};

/// The slot of averaged weights, which commands take in place of the weights with --average.
inline constexpr const char* kAverageSlot = "average";

class UpdateRule {
 public:
  virtual ~UpdateRule() = default;
  /// Names of its states in checkpoints, such as {"m", "v"}. They begin as zeros.
  virtual std::vector<std::string> slots() const = 0;
  virtual void update(Stream& stream, const UpdateRanges& ranges, const UpdateArgs& args) const = 0;
  /// What it does to whole parameters in place of update(); null: nothing.
  virtual const ParameterRule* parameters() const { return nullptr; }
  /// Whether it has its own warm-up and average of weights, the slot kAverageSlot, in place of the job's
  /// schedule and average.
  virtual bool is_schedule_free() const { return false; }
};

/// What an optimizer's options say: its rule, and the rate that a job gets without `lr`.
struct UpdateRuleMade {
  std::shared_ptr<const UpdateRule> rule;
  double default_lr = 0;  // 0: the job must name one
};
using UpdateRuleMaker = std::function<UpdateRuleMade(Config& options)>;

/// The optimizers by name. A new one is a file rules/NAME.cpp with
///   const bool NAME_rule_registered = update_rules().add("NAME", [](Config& options) { … });
Family<UpdateRuleMaker>& update_rules();

}  // namespace lockstep
