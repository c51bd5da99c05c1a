// Averages of weights over the steps of a run (Polyak and Juditsky 1992), kept beside the weights: with
// weights that fall exponentially, or equal ones (Izmailov et al. 2018, SWA).
#pragma once

#include <cstdint>
#include <optional>

#include "src/config/config.h"

namespace lockstep {

struct WeightAverage {
  double ema = 0;           // how much of the average stays with each step; 0: equal weights
  double from_epoch = 0;    // equal weights: the first that counts are those at the end of this epoch, from 1
  double every_epochs = 1;  // and then so often

  /// How much of the way the average goes to the weights after that step (from 0): 1 where it becomes the
  /// weights, 0 where it stays. A function of the step alone. Equal weights: until the first that count the
  /// average is the weights.
  double rate(int64_t step, int64_t steps_per_epoch) const;
  /// Throws Error where no weights of the run would count.
  void check(int64_t total_steps, int64_t steps_per_epoch) const;
};

/// The key `average` of a job: {ema: 0.999}, the number alone, or {swa: {from_epoch, every_epochs}}.
std::optional<WeightAverage> read_weight_average(const Config& root);

}  // namespace lockstep
