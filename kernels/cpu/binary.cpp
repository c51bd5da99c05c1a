// Arithmetic between two values on the CPU. A sample of dst is walked in rows along which each
// value either advances or repeats; samples share nothing, so that threads take samples.
#include <algorithm>
#include <vector>

#include "kernels/arithmetic.h"
#include "kernels/backend.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/through_float32.h"
#include "kernels/vectorize.h"

namespace lockstep::cpu {

namespace {

constexpr int kSums = 16;  // running sums of a row, on every instruction set

using Dim = BroadcastAxis;

template <Arithmetic kArithmetic>
LOCKSTEP_INLINE float value_of(float a, float b) {
  switch (kArithmetic) {
    case Arithmetic::kAdd: return a + b;
    case Arithmetic::kSubtract: return a - b;
    case Arithmetic::kMultiply: return a * b;
    case Arithmetic::kDivide: return a / b;
  }
}
template <Arithmetic kArithmetic>
LOCKSTEP_INLINE float gradient_of_a(float g, float, float b) {
  if (kArithmetic == Arithmetic::kMultiply) return g * b;
  if (kArithmetic == Arithmetic::kDivide) return g / b;
  return g;
}
template <Arithmetic kArithmetic>
LOCKSTEP_INLINE float gradient_of_b(float g, float a, float b) {
  if (kArithmetic == Arithmetic::kMultiply) return g * a;
  if (kArithmetic == Arithmetic::kDivide) return -(g / b) * (a / b);
  return kArithmetic == Arithmetic::kSubtract ? -g : g;
}

/// Calls f with the arithmetic and the two strides of a row as constants.
template <int kValue>
using Constant = std::integral_constant<int, kValue>;
template <Arithmetic kArithmetic, typename F>
LOCKSTEP_INLINE void with_strides(const Dim& row, const F& f) {
  using Kind = std::integral_constant<Arithmetic, kArithmetic>;
  if (row.a_stride == 0)
    f(Kind(), Constant<0>(), Constant<1>());
  else if (row.b_stride == 0)
    f(Kind(), Constant<1>(), Constant<0>());
  else
    f(Kind(), Constant<1>(), Constant<1>());
}
template <typename F>
LOCKSTEP_INLINE void specialised(Arithmetic arithmetic, const Dim& row, const F& f) {
  switch (arithmetic) {
    case Arithmetic::kAdd: return with_strides<Arithmetic::kAdd>(row, f);
    case Arithmetic::kSubtract: return with_strides<Arithmetic::kSubtract>(row, f);
    case Arithmetic::kMultiply: return with_strides<Arithmetic::kMultiply>(row, f);
    case Arithmetic::kDivide: return with_strides<Arithmetic::kDivide>(row, f);
  }
}

LOCKSTEP_VECTORIZE void forward_row(Arithmetic arithmetic, Dim row, const float* a, const float* b,
                                    float* __restrict dst) {
  specialised(arithmetic, row, [=](auto kind, auto a_step, auto b_step) LOCKSTEP_INLINE_LAMBDA {
    for (int64_t i = 0; i < row.extent; ++i) dst[i] = value_of<kind()>(a[i * a_step()], b[i * b_step()]);
  });
}

/// A row of one gradient: written or added where the value advances, summed where it repeats.
template <int kStep, typename F>
LOCKSTEP_INLINE void gradient_row(int64_t n, bool adds, float* __restrict diff, const F& gradient) {
  if (kStep == 0) {
    float sums[kSums] = {};
    int64_t i = 0;
    for (; i + kSums <= n; i += kSums)
      for (int lane = 0; lane < kSums; ++lane) sums[lane] += gradient(i + lane);
    for (int lane = 0; i + lane < n; ++lane) sums[lane] += gradient(i + lane);
    for (int width = kSums / 2; width > 0; width /= 2)
      for (int lane = 0; lane < width; ++lane) sums[lane] += sums[lane + width];
    diff[0] += sums[0];
  } else if (adds) {
    for (int64_t i = 0; i < n; ++i) diff[i] += gradient(i);
  } else {
    for (int64_t i = 0; i < n; ++i) diff[i] = gradient(i);
  }
}

LOCKSTEP_VECTORIZE void a_row(Arithmetic arithmetic, Dim row, const float* g, const float* a, const float* b,
                              bool adds, float* diff) {
  specialised(arithmetic, row, [=](auto kind, auto a_step, auto b_step) LOCKSTEP_INLINE_LAMBDA {
    gradient_row<a_step()>(row.extent, adds, diff, [=](int64_t i) LOCKSTEP_INLINE_LAMBDA {
      if constexpr (kind() == Arithmetic::kAdd || kind() == Arithmetic::kSubtract) return g[i];  // no sources
      return gradient_of_a<kind()>(g[i], a[i * a_step()], b[i * b_step()]);
    });
  });
}
LOCKSTEP_VECTORIZE void b_row(Arithmetic arithmetic, Dim row, const float* g, const float* a, const float* b,
                              bool adds, float* diff) {
  specialised(arithmetic, row, [=](auto kind, auto a_step, auto b_step) LOCKSTEP_INLINE_LAMBDA {
    gradient_row<b_step()>(row.extent, adds, diff, [=](int64_t i) LOCKSTEP_INLINE_LAMBDA {
      if constexpr (kind() == Arithmetic::kAdd || kind() == Arithmetic::kSubtract)
        return gradient_of_b<kind()>(g[i], 0.0f, 0.0f);
      return gradient_of_b<kind()>(g[i], a[i * a_step()], b[i * b_step()]);
    });
  });
}

class Binary : public Op {
 public:
  explicit Binary(const BinaryDesc& desc) : arithmetic_(desc.arithmetic) {
    const Shape a = desc.a.shape.without_front(), b = desc.b.shape.without_front();
    const Shape dst = broadcast_shape(a, b);
    a_size_ = a.n_elements();
    b_size_ = b.n_elements();
    dst_size_ = dst.n_elements();
    outer_ = broadcast_axes(a, b, dst);
    if (!outer_.empty()) {
      row_ = outer_.back();
      outer_.pop_back();
    }
    info_.src = {desc.a.dense(), desc.b.dense()};
    info_.dst = {{dst.with_front(desc.a.shape[0])}};
    info_.backward_needs_src = arithmetic_ == Arithmetic::kMultiply || arithmetic_ == Arithmetic::kDivide;
    info_.backward_needs_dst = false;
  }

  void forward(Stream&, const OpArgs& args) override {
    const float *a = args.src[0].as<const float>(), *b = args.src[1].as<const float>();
    float* dst = args.dst[0].as<float>();
    for_samples(args, [&](int64_t n, bool valid) {
      if (!valid) return void(std::fill_n(dst + n * dst_size_, dst_size_, 0.0f));
      for_rows(n, [&](int64_t at, int64_t at_a, int64_t at_b) {
        forward_row(arithmetic_, row_, a + at_a, b + at_b, dst + at);
      });
    });
  }

  void backward(Stream&, const OpArgs& args) override {
    const float *a = args.src[0].as<const float>(), *b = args.src[1].as<const float>();
    const float* diff_dst = args.diff_dst[0].as<const float>();
    float *diff_a = args.diff_src[0].as<float>(), *diff_b = args.diff_src[1].as<float>();
    const bool a_adds = a_size_ != dst_size_, b_adds = b_size_ != dst_size_;
    for_samples(args, [&](int64_t n, bool valid) {
      if (diff_a && (a_adds || !valid)) std::fill_n(diff_a + n * a_size_, a_size_, 0.0f);
      if (diff_b && (b_adds || !valid)) std::fill_n(diff_b + n * b_size_, b_size_, 0.0f);
      if (!valid) return;
      for_rows(n, [&](int64_t at, int64_t at_a, int64_t at_b) {
        const float* g = diff_dst + at;
        if (diff_a) a_row(arithmetic_, row_, g, a + at_a, b + at_b, a_adds, diff_a + at_a);
        if (diff_b) b_row(arithmetic_, row_, g, a + at_a, b + at_b, b_adds, diff_b + at_b);
      });
    });
  }

 private:
  template <typename F>
  void for_rows(int64_t sample, const F& f) const {
    const int64_t n_rows = dst_size_ / row_.extent;
    for (int64_t row = 0; row < n_rows; ++row) {
      int64_t at_a = sample * a_size_, at_b = sample * b_size_, rest = row;
      for (auto dim = outer_.rbegin(); dim != outer_.rend(); ++dim) {
        at_a += rest % dim->extent * dim->a_stride;
        at_b += rest % dim->extent * dim->b_stride;
        rest /= dim->extent;
      }
      f(sample * dst_size_ + row * row_.extent, at_a, at_b);
    }
  }

  template <typename F>
  void for_samples(const OpArgs& args, const F& f) const {
    const int64_t n_samples = info_.dst[0].shape[0];
    const int64_t n_valid = args.batch ? args.batch->n_valid : n_samples;
#pragma omp parallel for schedule(static) if (n_samples * dst_size_ >= kParallelElements)
    for (int64_t n = 0; n < n_samples; ++n) f(n, n < n_valid);
  }

  Arithmetic arithmetic_;
  int64_t a_size_ = 1, b_size_ = 1, dst_size_ = 1;  // elements of a sample
  Dim row_{1, 1, 1};
  std::vector<Dim> outer_;
};

}  // namespace

std::unique_ptr<Op> make_binary(const OpConfig& config, const BinaryDesc& desc) {
  BinaryDesc wide = desc;
  wide.a.dtype = wide.b.dtype = DType::kFloat32;
  wide.a.layout = wide.b.layout = nullptr;
  auto op = std::make_unique<Binary>(wide);
  if (config.compute == DType::kBFloat16) return through_float32(std::move(op));
  return op;
}

}  // namespace lockstep::cpu
