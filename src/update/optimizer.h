// Optimizer: the update of this rank's ranges of the arena, in place. Its states are arrays of those ranges,
// one after the other: as long as the arena where a rank updates all of it, a P-th where P ranks share the
// update (sharded state, ZeRO stage 1).
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "comm/element_range.h"
#include "kernels/update_ranges.h"
#include "src/config/config.h"
#include "src/network/arena.h"
#include "src/update/parameter_groups.h"
#include "src/update/update_rule.h"
#include "src/update/weight_average.h"

namespace lockstep {

struct OptimizerSpec {
  std::string name;
  std::shared_ptr<const UpdateRule> rule;
  double lr = 0;
  double weight_decay = 0;
  bool decay_biases = false;  // also on parameters of one dimension
  std::vector<ParameterGroup> groups;
  double l1 = 0;           // g += l1 sign(w), where weight_decay decays
  double layer_decay = 1;  // factor of the rate from each layer to the one before it
  double max_norm = 0;     // of the rows (first extent) of what has two and more dimensions; 0: no limit
  std::optional<WeightAverage> average;
};

/// From {NAME: {lr, weight_decay, decay_biases, l1, max_norm, groups, and the options of its rule}}; see
/// update_rules().
OptimizerSpec read_optimizer(const Config& description);

/// Throws Error where ranks cannot share the update, as it looks at whole parameters.
void check_sharing(const OptimizerSpec& spec);

/// The front of an arena that needs states: `n_trained` elements, behind which a frozen trunk lies, or all of
/// it where what is frozen has an average too.
std::vector<ElementRange> with_states(const OptimizerSpec& spec, const ParameterArena& arena,
                                      int64_t n_trained);

/// The parts of `ranges` (ascending, apart) within `own` (likewise). Their states follow one another as the
/// elements of `own` do.
std::vector<UpdateRange> within(const std::vector<UpdateRange>& ranges, const std::vector<ElementRange>& own);

class Optimizer {
 public:
  /// own: the ranges of the arena that this rank updates, ascending and apart. What lies outside is updated
  /// by other ranks, or, where `rest_stays`, by none.
  Optimizer(const OptimizerSpec& spec, const ParameterArena& arena, std::vector<ElementRange> own,
            bool rest_stays = false);
  /// Of all weights.
  Optimizer(const OptimizerSpec& spec, const ParameterArena& arena);

  /// One update of the own ranges. `gradients`: the arena's layout, summed over the global
  /// batch, to which L1 regularisation adds its part; grad_scale = 1 / its samples; `step`: 0 for the first
  /// update. steps_per_epoch: for what thaws at an epoch.
  void update(Stream& stream, float* gradients, double lr, double grad_scale, int64_t step,
              int64_t steps_per_epoch = 1);

  /// Ranges of the whole arena that no update changes, ascending and apart.
  const std::vector<ElementRange>& frozen_ranges() const { return frozen_; }
  /// The same of those that this step does not change, as they thaw later.
  std::vector<ElementRange> not_thawed(int64_t step, int64_t steps_per_epoch) const;

  /// Takes the own weights into their average after that step, as the spec asks; nothing where it asks for
  /// none.
  void average(Stream& stream, int64_t step, int64_t steps_per_epoch);

  /// State arrays by slot name, for checkpoints ("velocity"; "m", "v"; the weights' "average").
  struct Slot {
    std::string name;
    Memory memory;  // on the device
    std::unique_ptr<HostMirror> host;
  };
  const std::vector<Slot>& slots() const { return slots_; }
  /// Whether ranks share the update, so that the slots hold own_ranges() alone.
  bool is_sharded() const { return !rest_stays_ && n_own_ < arena_.n_elements(); }
  const std::vector<ElementRange>& own_ranges() const { return own_; }
  int64_t state_bytes() const;
  const OptimizerSpec& spec() const { return spec_; }

 private:
  OptimizerSpec spec_;
  const ParameterArena& arena_;
  std::vector<ElementRange> own_;
  bool rest_stays_ = false;
  int64_t n_own_ = 0;
  /// Own ranges with one rate and one weight decay; their factor is 0 where they do not decay.
  struct Part {
    double lr_factor, weight_decay, from_epoch;
    UpdateRanges ranges;
  };
  std::vector<Part> parts_;
  /// A parameter that is updated as a whole, at that offset of the arena.
  struct Whole {
    int64_t offset;
    double lr_factor, weight_decay, from_epoch;
    std::vector<float*> slots;                // of its first element
    std::shared_ptr<ParameterUpdate> update;  // shared by parameters of one shape
  };
  void add_whole(const std::vector<int>& groups, const std::vector<double>& depths);  // of each segment
  void add_limits(const std::vector<int>& groups);
  std::vector<Whole> whole_;
  std::optional<UpdateRanges> l1_;
  /// Rows whose norms are limited.
  struct Limited {
    int64_t offset, rows, columns;
    double from_epoch;
  };
  std::vector<Limited> limited_;
  /// One own range, whose averages lie `shift` elements before its weights.
  struct Averaged {
    int64_t shift;
    UpdateRanges ranges;
  };
  std::vector<Averaged> averaged_;  // none without an average; of a schedule-free rule what is frozen
  std::vector<ElementRange> frozen_;
  struct Thawing {
    ElementRange range;
    double from_epoch;
  };
  std::vector<Thawing> thawing_;
  std::vector<Slot> slots_;
  std::vector<float*> slot_data_;
};

}  // namespace lockstep
