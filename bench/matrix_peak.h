// What benchmarks of ops measure by: a clock, and the machine's float32 matrix product.
#pragma once

#include <dnnl.h>

#include <algorithm>
#include <ctime>

#include "kernels/device.h"

namespace lockstep {

/// Wall-clock time, or with one thread its processor time, which other programs do not disturb.
/// Google Benchmark computes rates in the same way.
inline double now_s() {
  timespec time;
  clock_gettime(compute_threads() == 1 ? CLOCK_PROCESS_CPUTIME_ID : CLOCK_MONOTONIC, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

/// FLOP/s of a product of 1024 x 1024 x 1024, the best of twelve.
inline double measure_peak() {
  constexpr int64_t n = 1024;
  const Memory a({}, n * n * 4), b({}, n * n * 4), c({}, n * n * 4);
  double best_s = 1e9;
  for (int repeat = 0; repeat < 12; ++repeat) {
    const double begin_s = now_s();
    dnnl_sgemm('N', 'N', n, n, n, 1.0f, a.as<float>(), n, b.as<float>(), n, 0.0f, c.as<float>(), n);
    best_s = std::min(best_s, now_s() - begin_s);
  }
  return 2.0 * n * n * n / best_s;
}

}  // namespace lockstep
