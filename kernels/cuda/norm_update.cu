// Updates by norms of whole parameters on a GPU: sums of chunks, one block that adds them in order and takes
// the ratio, and the update.
#include "kernels/norm_update.h"

#include "kernels/cuda/reduce.h"
#include "kernels/cuda/streaming.h"

namespace lockstep::cuda {

namespace {

template <typename Formula>
struct NormArgs {
  Formula formula;
  float scale, shrink, decay;
  const float* grad;
  float *weights, *a, *b;  // states
  double* sums;            // two of each chunk, then the ratio
};

/// Each thread its elements in order, then the threads as a tree.
template <typename Formula>
__global__ void __launch_bounds__(kThreads) first_pass_kernel(int64_t n, NormArgs<Formula> args) {
  const int64_t begin = blockIdx.x * kNormChunk, end = begin + kNormChunk < n ? begin + kNormChunk : n;
  double of_weights = 0, of_u = 0;
  for (int64_t i = begin + threadIdx.x; i < end; i += kThreads) {
    float s[2] = {};
    if constexpr (!Formula::kStatesInSecond) {
      s[0] = args.a[i];
      s[1] = args.b[i];
    }
    const float w = args.weights[i] - args.shrink * args.weights[i];
    const float u = args.formula.first(w, args.grad[i] * args.scale, args.decay, s);
    if constexpr (!Formula::kStatesInSecond) {
      args.a[i] = s[0];
      args.b[i] = s[1];
    }
    of_weights += static_cast<double>(w) * static_cast<double>(w);
    of_u += static_cast<double>(u) * static_cast<double>(u);
  }
  of_weights = block_sum(of_weights);
  of_u = block_sum(of_u);
  if (threadIdx.x == 0) {
    args.sums[2 * blockIdx.x] = of_weights;
    args.sums[2 * blockIdx.x + 1] = of_u;
  }
}

template <typename Formula>
__global__ void __launch_bounds__(kThreads) ratio_kernel(int64_t n_chunks, NormArgs<Formula> args) {
  double of_weights = 0, of_u = 0;
  for (int64_t c = threadIdx.x; c < n_chunks; c += kThreads) {
    of_weights += args.sums[2 * c];
    of_u += args.sums[2 * c + 1];
  }
  of_weights = block_sum(of_weights);
  of_u = block_sum(of_u);
  if (threadIdx.x == 0) args.sums[2 * n_chunks] = args.formula.ratio(of_weights, of_u, args.decay);
}

template <typename Formula>
struct SecondPass {
  NormArgs<Formula> args;
  const double* ratio;
  template <int W>
  __device__ void at(int64_t i) const {
    const auto factor = static_cast<float>(*ratio);
    Pack<float, W> w = load<W>(args.weights + i), a = load<W>(args.a + i), other;
    other = Formula::kStatesInSecond ? load<W>(args.grad + i) : load<W>(args.b + i);
#pragma unroll
    for (int k = 0; k < W; ++k) {
      float s[2] = {a.at[k], other.at[k]};
      const float g = Formula::kStatesInSecond ? other.at[k] * args.scale : 0.0f;
      w.at[k] = args.formula.second(w.at[k] - args.shrink * w.at[k], g, args.decay, factor, s);
      a.at[k] = s[0];
    }
    if constexpr (Formula::kStatesInSecond) store<W>(args.a + i, a);
    store<W>(args.weights + i, w);
  }
};

template <typename Formula>
void in_two_passes(Stream& stream, int64_t n, const NormArgs<Formula>& args) {
  const int64_t n_chunks = blocks_for(n, kNormChunk);
  if (n_chunks == 0) return;
  launch(stream, n_chunks, kThreads, first_pass_kernel<Formula>, n, args);
  launch(stream, 1, kThreads, ratio_kernel<Formula>, n_chunks, args);
  stream_over<4>(stream, n, SecondPass<Formula>{args, args.sums + 2 * n_chunks}, args.weights, args.a,
                 Formula::kStatesInSecond ? args.grad : args.b);
}

/// A block per row.
__global__ void __launch_bounds__(kThreads) limit_rows_kernel(int64_t columns, float most, float* weights) {
  float* row = weights + blockIdx.x * columns;
  double sum = 0;
  for (int64_t i = threadIdx.x; i < columns; i += kThreads)
    sum += static_cast<double>(row[i]) * static_cast<double>(row[i]);
  const double norm = sqrt(block_sum(sum));
  if (!(norm > static_cast<double>(most))) return;
  const auto factor = static_cast<float>(static_cast<double>(most) / (norm + 1e-7));
  for (int64_t i = threadIdx.x; i < columns; i += kThreads) row[i] *= factor;
}

template <typename Formula>
NormArgs<Formula> args_of(const NormUpdate& update, const Formula& formula, const float* grad, float* weights,
                          float* a, float* b, double* sums) {
  return {formula,
          update.grad_scale,
          static_cast<float>(update.decoupled),
          update.weight_decay,
          grad,
          weights,
          a,
          b,
          sums};
}

}  // namespace

void norm_update(Stream& stream, const NormUpdate& update, const LambFormula& formula, int64_t n,
                 const float* grad, float* weights, std::span<float* const> states, double* scratch) {
  in_two_passes(stream, n, args_of(update, formula, grad, weights, states[0], states[1], scratch));
}

void norm_update(Stream& stream, const NormUpdate& update, const LarsFormula& formula, int64_t n,
                 const float* grad, float* weights, std::span<float* const> states, double* scratch) {
  in_two_passes(stream, n, args_of(update, formula, grad, weights, states[0], states[0], scratch));
}

void limit_row_norms(Stream& stream, int64_t rows, int64_t columns, float most, float* weights) {
  if (columns > 0) launch(stream, rows, kThreads, limit_rows_kernel, columns, most, weights);
}

}  // namespace lockstep::cuda
