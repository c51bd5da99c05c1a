// How losses end on GPUs: each block of the forward kernel leaves its sums in the scratchpad, one more
// block adds them in order. The number of blocks depends on the shape alone, and so do the bits.
#pragma once

#include <algorithm>

#include "kernels/cuda/reduce.h"
#include "kernels/loss.h"

namespace lockstep::cuda {

struct LossSums {
  double loss = 0, n_correct = 0, n_counted = 0, weight_sum = 0;

  __device__ __forceinline__ LossSums& operator+=(const LossSums& other) {
    loss += other.loss;
    n_correct += other.n_correct;
    n_counted += other.n_counted;
    weight_sum += other.weight_sum;
    return *this;
  }
};

/// The loss of what is no class.
__device__ __forceinline__ float not_a_number() { return __int_as_float(0x7FC00000); }

constexpr int64_t kLossBlocks = 512;  // at most, of a forward kernel: each loops over its share
constexpr int64_t kLossScratchpad = kLossBlocks * static_cast<int64_t>(sizeof(LossSums));

inline int64_t loss_blocks(int64_t n_items, int64_t per_block) {
  return std::min(kLossBlocks, blocks_for(n_items, per_block));
}

__device__ __forceinline__ LossSums block_sum(const LossSums& sums) {
  return {block_sum(sums.loss), block_sum(sums.n_correct), block_sum(sums.n_counted),
          block_sum(sums.weight_sum)};
}

/// partials[block] = the sums over the threads of this block; all of them call it.
__device__ __forceinline__ void leave_sums(const LossSums& sums, LossSums* partials) {
  const LossSums total = block_sum(sums);
  if (threadIdx.x == 0) partials[blockIdx.x] = total;
}

inline TensorDesc loss_desc() { return {Shape{kLossValues}, DType::kFloat64, nullptr}; }

/// dst[0] = the sum of the partials in the scratchpad.
void add_loss_sums(Stream& stream, int64_t n_partials, const OpArgs& args);

/// Whether a gradient of source i is wanted.
inline bool wants(const OpArgs& args, size_t i) {
  return i < args.diff_src.size() && !args.diff_src[i].empty();
}

}  // namespace lockstep::cuda
