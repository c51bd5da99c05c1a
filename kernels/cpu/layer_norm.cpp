// Layer normalisation on the CPU, row by row: a row stays in the first caches for its two sums and
// its result. Sums: 32 running sums in float32 over at most 1024 elements, those in float64. The
// gradients of weight and bias are sums over blocks of rows in order, blocks added in order, so that
// the number of threads changes no bit.
#include "kernels/layer_norm.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "kernels/backend.h"
#include "kernels/cpu/float_lanes.h"
#include "kernels/cpu/parallel.h"

namespace lockstep::cpu {

namespace {

constexpr int kRunningSums = 32;  // running sums: fixed, so that all instruction sets agree
constexpr int64_t kPart = 1024;   // elements of a float32 sum

/// Of one row.
struct Moments {
  float center, rest;  // mean = center + rest: digits of rows far from zero
  float inverse;       // 1 / sqrt(variance + epsilon)
};

/// Sum of value(i), i in [0, n), in float64 of parts.
template <typename Value>
LOCKSTEP_INLINE double sum_of(int64_t n, const Value& value) {
  double total = 0;
  for (int64_t begin = 0; begin < n; begin += kPart) {
    const int64_t end = std::min(n, begin + kPart);
    float sums[kRunningSums] = {};
    int64_t i = begin;
    for (; i + kRunningSums <= end; i += kRunningSums)
#pragma GCC ivdep
      for (int k = 0; k < kRunningSums; ++k) sums[k] += value(i + k);
    for (int k = 0; i + k < end; ++k) sums[k] += value(i + k);
    for (int width = kRunningSums / 2; width > 0; width /= 2)
      for (int k = 0; k < width; ++k) sums[k] += sums[k + width];
    total += static_cast<double>(sums[0]);
  }
  return total;
}

template <typename T>
LOCKSTEP_INLINE void forward_row(int64_t n, double epsilon, const T* src, const float* weight,
                                 const float* bias, T* dst, Moments* moments) {
  const double count = static_cast<double>(n);
  const auto center = static_cast<float>(
      sum_of(n, [=](int64_t i) LOCKSTEP_INLINE_LAMBDA { return to_float(src[i]); }) / count);
  const double rest =
      sum_of(n, [=](int64_t i) LOCKSTEP_INLINE_LAMBDA { return to_float(src[i]) - center; }) / count;
  const double squares = sum_of(n, [=](int64_t i) LOCKSTEP_INLINE_LAMBDA {
    const float x = to_float(src[i]) - center;
    return x * x;
  });
  const double variance = std::max(0.0, squares / count - rest * rest);
  const auto inverse = static_cast<float>(1 / std::sqrt(variance + epsilon));
  const auto offset = static_cast<float>(rest);
#pragma GCC ivdep
  for (int64_t i = 0; i < n; ++i) {
    const float x = (to_float(src[i]) - center - offset) * inverse;
    dst[i] = from_float<T>(weight ? x * weight[i] + bias[i] : x);
  }
  if (moments) *moments = {center, offset, inverse};
}

/// Adds the row's share to diff_weight and diff_bias; diff_src may be null, the others all or none.
template <typename T>
LOCKSTEP_INLINE void backward_row(int64_t n, const Moments& m, const T* src, const T* diff_dst,
                                  const float* weight, T* diff_src, float* diff_weight, float* diff_bias) {
  const auto normalized = [=](int64_t i) LOCKSTEP_INLINE_LAMBDA {
    return (to_float(src[i]) - m.center - m.rest) * m.inverse;
  };
  if (weight) {
#pragma GCC ivdep
    for (int64_t i = 0; i < n; ++i) {
      const float g = to_float(diff_dst[i]);
      diff_weight[i] += g * normalized(i);
      diff_bias[i] += g;
    }
  }
  if (!diff_src) return;
  const auto gradient = [=](int64_t i) LOCKSTEP_INLINE_LAMBDA {
    const float g = to_float(diff_dst[i]);
    return weight ? g * weight[i] : g;
  };
  const double count = static_cast<double>(n);
  const auto mean = static_cast<float>(sum_of(n, gradient) / count);
  const auto slope = static_cast<float>(
      sum_of(n, [=](int64_t i) LOCKSTEP_INLINE_LAMBDA { return gradient(i) * normalized(i); }) / count);
#pragma GCC ivdep
  for (int64_t i = 0; i < n; ++i)
    diff_src[i] = from_float<T>((gradient(i) - mean - normalized(i) * slope) * m.inverse);
}

/// Rows [begin, end); strides of n elements.
template <typename T>
struct Rows {
  int64_t begin, end, n;
  const T *src, *diff_dst;
  const float *weight, *bias;  // null: not affine
  T *dst, *diff_src;
  Moments* moments;  // null in evaluation
};

template <typename T>
LOCKSTEP_INLINE void forward_rows(const Rows<T>& r, double epsilon) {
  for (int64_t row = r.begin; row < r.end; ++row) {
    Moments* moments = r.moments ? r.moments + row : nullptr;
    if (r.weight)
      forward_row(r.n, epsilon, r.src + row * r.n, r.weight, r.bias, r.dst + row * r.n, moments);
    else
      forward_row<T>(r.n, epsilon, r.src + row * r.n, nullptr, nullptr, r.dst + row * r.n, moments);
  }
}
template <typename T>
LOCKSTEP_INLINE void backward_rows(const Rows<T>& r, float* diff_weight, float* diff_bias) {
  for (int64_t row = r.begin; row < r.end; ++row) {
    const int64_t at = row * r.n;
    T* diff_src = r.diff_src ? r.diff_src + at : nullptr;
    if (r.weight)
      backward_row(r.n, r.moments[row], r.src + at, r.diff_dst + at, r.weight, diff_src, diff_weight,
                   diff_bias);
    else
      backward_row<T>(r.n, r.moments[row], r.src + at, r.diff_dst + at, nullptr, diff_src, nullptr, nullptr);
  }
}

// Clones per instruction set cannot be templates.
LOCKSTEP_VECTORIZE void forward_of(const Rows<float>& r, double epsilon) { forward_rows(r, epsilon); }
LOCKSTEP_VECTORIZE void forward_of(const Rows<BFloat16>& r, double epsilon) { forward_rows(r, epsilon); }
LOCKSTEP_VECTORIZE void backward_of(const Rows<float>& r, float* diff_weight, float* diff_bias) {
  backward_rows(r, diff_weight, diff_bias);
}
LOCKSTEP_VECTORIZE void backward_of(const Rows<BFloat16>& r, float* diff_weight, float* diff_bias) {
  backward_rows(r, diff_weight, diff_bias);
}
LOCKSTEP_VECTORIZE void add_to(int64_t n, const float* src, float* dst) {
#pragma GCC ivdep
  for (int64_t i = 0; i < n; ++i) dst[i] += src[i];
}

template <typename T>
class LayerNorm : public Op {
 public:
  LayerNorm(const OpConfig& config, const LayerNormDesc& desc)
      : epsilon_(desc.epsilon), affine_(desc.affine) {
    info_.src = {desc.src.dense()};
    info_.dst = {desc.src.dense()};
    info_.backward_needs_dst = false;
    const Shape& shape = desc.src.shape;
    for (int i = shape.rank() - desc.axes; i < shape.rank(); ++i) n_ *= shape[i];
    for (int i = 1; i < shape.rank() - desc.axes; ++i) rows_of_sample_ *= shape[i];
    rows_ = shape[0] * rows_of_sample_;
    // Sixteen blocks at most: their partial gradients stay small beside src.
    block_ = std::max<int64_t>(1, std::max(kParallelElements / std::max<int64_t>(1, n_), (rows_ + 15) / 16));
    n_blocks_ = (rows_ + block_ - 1) / block_;
    training_ = config.training;
    if (!training_) return;
    info_.workspace_bytes = rows_ * static_cast<int64_t>(sizeof(Moments));
    if (affine_) info_.scratchpad_bytes = n_blocks_ * 2 * n_ * static_cast<int64_t>(sizeof(float));
  }

  void forward(Stream&, const OpArgs& args) override {
    for_blocks(args, [&](int64_t, const Rows<T>& rows) { forward_of(rows, epsilon_); });
    zero_padding(args, args.dst[0]);
  }

  void backward(Stream&, const OpArgs& args) override {
    auto* partial = reinterpret_cast<float*>(args.scratchpad);
    for_blocks(args, [&](int64_t block, const Rows<T>& rows) {
      float* diff_weight = affine_ ? partial + block * 2 * n_ : nullptr;
      if (affine_) std::fill_n(diff_weight, 2 * n_, 0.0f);
      backward_of(rows, diff_weight, affine_ ? diff_weight + n_ : nullptr);
    });
    if (!args.diff_src[0].empty()) zero_padding(args, args.diff_src[0]);
    if (!affine_) return;
    for (int64_t block = 1; block < n_blocks_; ++block) add_to(2 * n_, partial + block * 2 * n_, partial);
    std::copy_n(partial, n_, args.diff_params[0].as<float>());
    std::copy_n(partial + n_, n_, args.diff_params[1].as<float>());
  }

 private:
  int64_t valid_rows(const OpArgs& args) const { return args.batch->n_valid * rows_of_sample_; }

  template <typename Body>
  void for_blocks(const OpArgs& args, const Body& body) const {
    const int64_t n_valid = valid_rows(args);
    const auto pointer = [](std::span<const Tensor> tensors) {
      return tensors.empty() ? nullptr : tensors[0].as<T>();
    };
    Rows<T> all{0,
                0,
                n_,
                pointer(args.src),
                pointer(args.diff_dst),
                nullptr,
                nullptr,
                pointer(args.dst),
                pointer(args.diff_src),
                training_ ? reinterpret_cast<Moments*>(args.workspace) : nullptr};
    if (affine_) {
      all.weight = args.params[0].as<const float>();
      all.bias = args.params[1].as<const float>();
    }
#pragma omp parallel for schedule(static) if (n_blocks_ > 1)
    for (int64_t block = 0; block < n_blocks_; ++block) {
      Rows<T> rows = all;
      rows.begin = std::min(n_valid, block * block_);
      rows.end = std::min(n_valid, (block + 1) * block_);
      body(block, rows);
    }
  }

  void zero_padding(const OpArgs& args, const Tensor& tensor) const {
    const int64_t n_valid = valid_rows(args);
    std::memset(tensor.as<T>() + n_valid * n_, 0, static_cast<size_t>((rows_ - n_valid) * n_) * sizeof(T));
  }

  double epsilon_;
  bool affine_, training_ = true;
  int64_t n_ = 1, rows_ = 0, rows_of_sample_ = 1;
  int64_t block_ = 1, n_blocks_ = 1;  // rows of a block
};

}  // namespace

std::unique_ptr<Op> make_layer_norm(const OpConfig& config, const LayerNormDesc& desc) {
  if (desc.src.dtype == DType::kBFloat16) return std::make_unique<LayerNorm<BFloat16>>(config, desc);
  return std::make_unique<LayerNorm<float>>(config, desc);
}

}  // namespace lockstep::cpu
