// Optimizer: the update of an arena range, in place, with its states in parallel arenas.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "kernels/update_ranges.h"
#include "src/arena.h"
#include "src/config.h"

namespace lockstep {

struct OptimizerSpec {
  enum class Kind { kSgd, kAdam };
  Kind kind = Kind::kSgd;
  double lr = 0.01;
  double momentum = 0;
  bool nesterov = false;
  double beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8;
  double weight_decay = 0;
  bool decoupled = false;     // adamw
  bool decay_biases = false;  // also on parameters of one dimension
};

/// From {sgd: {lr, momentum, nesterov, weight_decay, decay_biases}},
/// {adam: {lr, beta1, beta2, epsilon, weight_decay}} or {adamw: {…}}.
OptimizerSpec read_optimizer(const Config& description);

class Optimizer {
 public:
  Optimizer(const OptimizerSpec& spec, const ParameterArena& arena);

  /// One update of all weights. `gradients`: the arena's layout, summed over the global
  /// batch; grad_scale = 1 / its samples; `step`: 0 for the first update.
  void update(Stream& stream, const float* gradients, double lr, double grad_scale, int64_t step);

  /// State arrays by slot name, for checkpoints ("velocity"; "m", "v").
  struct Slot {
    std::string name;
    Memory memory;  // on the device
    std::unique_ptr<HostMirror> host;
  };
  const std::vector<Slot>& slots() const { return slots_; }
  const OptimizerSpec& spec() const { return spec_; }

 private:
  OptimizerSpec spec_;
  const ParameterArena& arena_;
  UpdateRanges ranges_;  // factor: of the weight decay
  void add_slot(const std::string& name);
  std::vector<Slot> slots_;
};

}  // namespace lockstep
