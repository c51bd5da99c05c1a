// Optimizer: the update of this rank's ranges of the arena, in place. Its states are arrays of those ranges,
// one after the other: as long as the arena where a rank updates all of it, a P-th where P ranks share the
// update (sharded state, ZeRO stage 1).
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "comm/element_range.h"
#include "kernels/update_ranges.h"
#include "src/config/config.h"
#include "src/network/arena.h"
#include "src/update/parameter_groups.h"
#include "src/update/update_rule.h"

namespace lockstep {

struct OptimizerSpec {
  std::string name;
  std::shared_ptr<const UpdateRule> rule;
  double lr = 0;
  double weight_decay = 0;
  bool decay_biases = false;  // also on parameters of one dimension
  std::vector<ParameterGroup> groups;
};

/// From {NAME: {lr, weight_decay, decay_biases, groups, and the options of its rule}}; see update_rules().
OptimizerSpec read_optimizer(const Config& description);

/// The parts of `ranges` (ascending, apart) within `own` (likewise). Their states follow one another as the
/// elements of `own` do.
std::vector<UpdateRange> within(const std::vector<UpdateRange>& ranges, const std::vector<ElementRange>& own);

class Optimizer {
 public:
  /// own: the ranges of the arena that this rank updates, ascending and apart. Throws Error as groups_of()
  /// does.
  Optimizer(const OptimizerSpec& spec, const ParameterArena& arena, std::vector<ElementRange> own);
  /// Of all weights.
  Optimizer(const OptimizerSpec& spec, const ParameterArena& arena);

  /// One update of the own ranges. `gradients`: the arena's layout, summed over the global
  /// batch; grad_scale = 1 / its samples; `step`: 0 for the first update.
  void update(Stream& stream, const float* gradients, double lr, double grad_scale, int64_t step);

  /// Ranges of the whole arena that no update changes, ascending and apart.
  const std::vector<ElementRange>& frozen_ranges() const { return frozen_; }

  /// State arrays by slot name, for checkpoints ("velocity"; "m", "v").
  struct Slot {
    std::string name;
    Memory memory;  // on the device
    std::unique_ptr<HostMirror> host;
  };
  const std::vector<Slot>& slots() const { return slots_; }
  /// Whether ranks share the update, so that the slots hold own_ranges() alone.
  bool is_sharded() const { return n_own_ < arena_.n_elements(); }
  const std::vector<ElementRange>& own_ranges() const { return own_; }
  int64_t state_bytes() const;
  const OptimizerSpec& spec() const { return spec_; }

 private:
  OptimizerSpec spec_;
  const ParameterArena& arena_;
  std::vector<ElementRange> own_;
  int64_t n_own_ = 0;
  /// Own ranges with one rate and one weight decay; their factor is 0 where they do not decay.
  struct Part {
    double lr_factor, weight_decay;
    UpdateRanges ranges;
  };
  std::vector<Part> parts_;
  std::vector<ElementRange> frozen_;
  std::vector<Slot> slots_;
  std::vector<float*> slot_data_;
};

}  // namespace lockstep
