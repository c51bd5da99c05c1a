// Positions of steps, added to what stands there: learned, or sines and cosines (Vaswani et al. 2017).
#pragma once

#include <memory>
#include <vector>

#include "kernels/op.h"

namespace lockstep {

/// Of t in column 2 i and 2 i + 1: sin and cos of t / 10000^(2 i / W), interleaved as in the paper, or all
/// sines (ceil(W / 2) columns), then all cosines (Marian).
enum class Sinusoids : uint8_t { kInterleaved, kSinesThenCosines };

struct PositionsDesc {
  TensorDesc src;  // (N, T, W)
  bool learned = false;
  int64_t max_steps = 0;                          // positions that there are, at least T
  Sinusoids sinusoids = Sinusoids::kInterleaved;  // unless learned
};

/// dst (N, T, W) = src + P[first_step + t], first_step as in BatchContext (0 in training). Learned: P =
/// params {weight (max_steps, W)}, whose gradient is a sum over the samples in order, without rows of
/// padding; 0 for positions from T on. Otherwise P is computed in float64 and rounded once; there are no
/// params.
std::unique_ptr<Op> make_positions(const OpConfig& config, const PositionsDesc& desc);

/// P (max_steps, W) of sinusoids.
std::vector<float> sinusoid_table(int64_t max_steps, int64_t width, Sinusoids sinusoids);

}  // namespace lockstep
