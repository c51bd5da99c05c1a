// Losses that are sums over the elements of a row: L1, L2, binary cross-entropy. Sums in float64: each
// thread its elements in order, threads as a tree, then blocks (loss_sums.h).
#include "kernels/backend.h"
#include "kernels/cuda/activation_functions.h"
#include "kernels/cuda/loss_sums.h"
#include "kernels/cuda/streaming.h"

namespace lockstep::cuda {

namespace {

// Of an element x and its target t: the loss and its derivative by x, without factors; is it right?
// kSymmetric: derivative(t, x) is the one by t.

struct SquaredDistance {
  static constexpr bool kSymmetric = true, kCounts = false;
  __device__ __forceinline__ double loss(float x, float t) const {
    const double d = static_cast<double>(x) - t;
    return d * d;
  }
  __device__ __forceinline__ float derivative(float x, float t) const { return x - t; }
  __device__ __forceinline__ bool is_right(float, float) const { return false; }
};

struct Distance {
  static constexpr bool kSymmetric = true, kCounts = false;
  __device__ __forceinline__ double loss(float x, float t) const { return fabs(static_cast<double>(x) - t); }
  __device__ __forceinline__ float derivative(float x, float t) const {
    const float d = x - t;
    return d > 0.0f ? 1.0f : d < 0.0f ? -1.0f : d;  // 0, and NaN stays NaN
  }
  __device__ __forceinline__ bool is_right(float, float) const { return false; }
};

struct Bernoulli {
  static constexpr bool kSymmetric = false, kCounts = true;
  /// max(x, 0) - x t + log(1 + exp(-|x|))
  __device__ __forceinline__ double loss(float x, float t) const {
    const double linear = (x > 0.0f ? static_cast<double>(x) : 0.0) - static_cast<double>(x) * t;
    return linear + static_cast<double>(log1pf(expf(-fabsf(x))));
  }
  __device__ __forceinline__ float derivative(float x, float t) const { return Sigmoid{}.value(x) - t; }
  __device__ __forceinline__ bool is_right(float x, float t) const { return (x > 0.0f) == (t > 0.5f); }
};

constexpr int kWide = kPack<float>;

template <typename F>
__global__ void __launch_bounds__(kThreads)
    sum_elements(F f, int64_t row, double factor, const float* x, const float* t, const BatchContext* batch,
                 LossSums* partials) {
  const int64_t n_rows = batch->n_valid, n = n_rows * row;
  const int64_t step = static_cast<int64_t>(gridDim.x) * kThreads * kWide;
  double loss = 0, n_right = 0;
  const auto add = [&](float a, float b) {
    loss += f.loss(a, b);
    n_right += f.is_right(a, b);
  };
  for (int64_t i = global_thread() * kWide; i < n; i += step) {
    if (i + kWide <= n) {
      const Pack<float, kWide> a = load<kWide>(x + i), b = load<kWide>(t + i);
#pragma unroll
      for (int k = 0; k < kWide; ++k) add(a.at[k], b.at[k]);
    } else {
      for (int64_t k = i; k < n; ++k) add(x[k], t[k]);
    }
  }
  LossSums sums{factor * loss, n_right, 0, 0};
  if (global_thread() == 0) {
    sums.weight_sum = static_cast<double>(n_rows);
    sums.n_counted = static_cast<double>(F::kCounts ? n : n_rows);
  }
  leave_sums(sums, partials);
}

template <typename F>
struct Derivative {
  F f;
  int64_t row;
  float factor;
  const float *x, *t;
  const BatchContext* batch;
  float* diff;
  template <int W>
  __device__ void at(int64_t i) const {
    const int64_t n = batch->n_valid * row;
    const float scaled = factor * batch->loss_scale;
    Pack<float, W> a = load<W>(x + i);
    const Pack<float, W> b = load<W>(t + i);
#pragma unroll
    for (int k = 0; k < W; ++k) a.at[k] = i + k < n ? scaled * f.derivative(a.at[k], b.at[k]) : 0.0f;
    store<W>(diff + i, a);
  }
};

template <typename F>
class ElementwiseLoss : public Op {
 public:
  /// loss_factor, gradient_factor: of the formulas.
  ElementwiseLoss(const TensorDesc& prediction, double loss_factor, double gradient_factor)
      : n_(prediction.n_elements()),
        row_(prediction.shape.without_front().n_elements()),
        loss_factor_(loss_factor),
        gradient_factor_(static_cast<float>(gradient_factor)) {
    info_.src = {prediction, prediction};
    info_.dst = {loss_desc()};
    info_.scratchpad_bytes = kLossScratchpad;
    info_.backward_needs_dst = false;
  }

  void forward(Stream& stream, const OpArgs& args) override {
    const int64_t blocks = loss_blocks(n_, kThreads * kWide);
    launch(stream, blocks, kThreads, sum_elements<F>, F{}, row_, loss_factor_, args.src[0].as<const float>(),
           args.src[1].as<const float>(), args.batch, reinterpret_cast<LossSums*>(args.scratchpad));
    add_loss_sums(stream, blocks, args);
  }

  void backward(Stream& stream, const OpArgs& args) override {
    for (size_t i = 0; i < (F::kSymmetric ? 2 : 1); ++i) {
      if (!wants(args, i)) continue;
      const auto *x = args.src[i].as<const float>(), *t = args.src[1 - i].as<const float>();
      auto* diff = args.diff_src[i].as<float>();
      stream_over<kWide>(stream, n_, Derivative<F>{F{}, row_, gradient_factor_, x, t, args.batch, diff}, x, t,
                         diff);
    }
  }

 private:
  int64_t n_, row_;
  double loss_factor_;
  float gradient_factor_;
};

/// weight, over the elements of a row if `mean`.
double factor_of(const TensorDesc& prediction, bool mean, double weight) {
  return mean ? weight / static_cast<double>(prediction.shape.without_front().n_elements()) : weight;
}

}  // namespace

std::unique_ptr<Op> make_l2_loss(const OpConfig&, const L2LossDesc& desc) {
  const double factor = (desc.half ? 0.5 : 1.0) * factor_of(desc.prediction, desc.mean, desc.weight);
  return std::make_unique<ElementwiseLoss<SquaredDistance>>(desc.prediction, factor, 2.0 * factor);
}

std::unique_ptr<Op> make_l1_loss(const OpConfig&, const L1LossDesc& desc) {
  const double factor = factor_of(desc.prediction, desc.mean, desc.weight);
  return std::make_unique<ElementwiseLoss<Distance>>(desc.prediction, factor, factor);
}

std::unique_ptr<Op> make_binary_cross_entropy(const OpConfig&, const BinaryCrossEntropyDesc& desc) {
  const double factor = factor_of(desc.prediction, desc.mean, desc.weight);
  return std::make_unique<ElementwiseLoss<Bernoulli>>(desc.prediction, factor, factor);
}

}  // namespace lockstep::cuda
