// Dynamic loss scaling for float16 (Micikevicius et al. 2018): gradients are computed times a power of
// two, so that small ones do not vanish. A step whose gradients overflow makes no update and halves
// the scale; after many good steps in a row it doubles. A change takes effect one step late, because the
// next step's first micro-batch may be on its way to the device already: that keeps a run and its
// resumption from a checkpoint equal.
#pragma once

#include <algorithm>
#include <cstdint>

namespace lockstep {

struct LossScale {
  static constexpr double kFirst = 65536, kSmallest = 1, kLargest = 16777216;
  static constexpr int64_t kGoodSteps = 2000;  // until it doubles

  double now = 1, next = 1;  // of the step to come, and of the one after it
  int64_t good_steps = 0;

  /// After the gradients of the step with scale `now` were seen.
  void advance(bool overflowed) {
    good_steps = overflowed ? 0 : good_steps + 1;
    double after = next;
    if (overflowed) after = std::max(kSmallest, now / 2);
    if (good_steps == kGoodSteps) {
      after = std::min(kLargest, next * 2);
      good_steps = 0;
    }
    now = next;
    next = after;
  }
};

}  // namespace lockstep
