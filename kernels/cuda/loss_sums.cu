// See loss_sums.h.
#include "kernels/cuda/loss_sums.h"

namespace lockstep::cuda {

namespace {

__global__ void __launch_bounds__(kThreads)
    add_loss_sums_kernel(int n, const LossSums* partials, double* dst) {
  LossSums sums;
  for (int i = static_cast<int>(threadIdx.x); i < n; i += kThreads) sums += partials[i];
  sums = block_sum(sums);
  if (threadIdx.x != 0) return;
  dst[kLossSum] = sums.loss;
  dst[kNCorrect] = sums.n_correct;
  dst[kNCounted] = sums.n_counted;
  dst[kWeightSum] = sums.weight_sum;
}

}  // namespace

void add_loss_sums(Stream& stream, int64_t n_partials, const OpArgs& args) {
  launch(stream, 1, kThreads, add_loss_sums_kernel, static_cast<int>(n_partials),
         reinterpret_cast<const LossSums*>(args.scratchpad), args.dst[0].as<double>());
}

}  // namespace lockstep::cuda
