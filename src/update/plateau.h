// A rate that falls when validations no longer improve, with PyTorch's rule (ReduceLROnPlateau,
// threshold_mode rel). Unlike a schedule it has a state, which checkpoints keep.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>

namespace lockstep {

struct PlateauOptions {
  double factor = 0.1;    // of the rate, in each fall
  int64_t patience = 10;  // validations without improvement that are borne; the next one makes the rate fall
  double threshold = 1e-4;  // an improvement is one by more than this part of the best value
  int64_t cooldown = 0;     // validations after a fall that are not counted
  double least = 0;         // part of the scheduled rate below which it does not fall
  bool operator==(const PlateauOptions&) const = default;
};

struct PlateauState {
  double rate_factor = 1;  // on the scheduled rate
  std::optional<double> best;
  int64_t n_bad = 0, cooldown = 0;

  /// After a validation with that value.
  void advance(double value, bool higher_is_better, const PlateauOptions& options) {
    const double sign = higher_is_better ? 1 : -1;
    // The bar lies above the best where more is better, below it where less is.
    const bool improves = !best || sign * value > sign * *best * (1 + sign * options.threshold);
    if (improves) best = value;
    n_bad = improves ? 0 : n_bad + 1;
    if (cooldown > 0) {
      --cooldown;
      n_bad = 0;
    }
    if (n_bad <= options.patience) return;
    rate_factor = std::max(rate_factor * options.factor, std::min(rate_factor, options.least));
    cooldown = options.cooldown;
    n_bad = 0;
  }
  bool operator==(const PlateauState&) const = default;
};

}  // namespace lockstep
