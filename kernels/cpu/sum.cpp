// Sums of values on the CPU, in blocks that stay in the first cache: every element is read and
// written once, whatever the number of summands. Padding of blocked layouts stays zero.
#include "kernels/sum.h"

#include <algorithm>
#include <cstring>
#include <limits>

#include "kernels/backend.h"
#include "kernels/bfloat16.h"
#include "kernels/cpu/channel_blocks.h"
#include "kernels/cpu/parallel.h"

namespace lockstep::cpu {

namespace {

constexpr int64_t kBlock = 2048;  // elements

/// f(x) = x, limited to [low, high]; its derivative is 1 between them.
struct Limits {
  float low, high;
};
Limits limits_of(Activation activation) {
  constexpr float inf = std::numeric_limits<float>::infinity();
  switch (activation) {
    case Activation::kRelu: return {0.0f, inf};
    case Activation::kRelu6: return {0.0f, 6.0f};
    default: return {-inf, inf};
  }
}
LOCKSTEP_INLINE float limited(float x, Limits limits) {
  const float y = x < limits.low ? limits.low : x;  // NaN stays NaN
  return y > limits.high ? limits.high : y;
}

template <typename T>
LOCKSTEP_INLINE void add_two(int64_t n, const T* __restrict a, const T* __restrict b, Limits limits,
                             T* __restrict dst) {
  for (int64_t i = 0; i < n; ++i) dst[i] = from_float<T>(limited(to_float(a[i]) + to_float(b[i]), limits));
}
/// Summands beyond two: their sum waits in float32.
template <typename T>
LOCKSTEP_INLINE void add_many(int64_t n, const T* const* src, size_t count, Limits limits,
                              T* __restrict dst) {
  float sum[kBlock];
  const T* a = src[0];
  const T* b = src[1];
  for (int64_t i = 0; i < n; ++i) sum[i] = to_float(a[i]) + to_float(b[i]);
  for (size_t k = 2; k + 1 < count; ++k) {
    const T* next = src[k];
    for (int64_t i = 0; i < n; ++i) sum[i] += to_float(next[i]);
  }
  const T* last = src[count - 1];
  for (int64_t i = 0; i < n; ++i) dst[i] = from_float<T>(limited(sum[i] + to_float(last[i]), limits));
}
template <typename T>
LOCKSTEP_INLINE void forward_block(int64_t n, const T* const* src, size_t count, Limits limits, T* dst) {
  if (count == 2)
    add_two(n, src[0], src[1], limits, dst);
  else
    add_many(n, src, count, limits, dst);
}
LOCKSTEP_VECTORIZE void forward_f32(int64_t n, const float* const* src, size_t count, Limits limits,
                                    float* dst) {
  forward_block(n, src, count, limits, dst);
}
LOCKSTEP_VECTORIZE void forward_bf16(int64_t n, const BFloat16* const* src, size_t count, Limits limits,
                                     BFloat16* dst) {
  forward_block(n, src, count, limits, dst);
}
void run_forward(int64_t n, const float* const* src, size_t count, Limits limits, float* dst) {
  forward_f32(n, src, count, limits, dst);
}
void run_forward(int64_t n, const BFloat16* const* src, size_t count, Limits limits, BFloat16* dst) {
  forward_bf16(n, src, count, limits, dst);
}

LOCKSTEP_VECTORIZE void run_mask(int64_t n, const float* __restrict dst, const float* __restrict diff_dst,
                                 Limits limits, float* __restrict diff_src) {
  for (int64_t i = 0; i < n; ++i) {
    const bool inside = (dst[i] > limits.low) & (dst[i] < limits.high);
    diff_src[i] = inside ? diff_dst[i] : 0.0f;
  }
}
LOCKSTEP_VECTORIZE void run_mask(int64_t n, const BFloat16* __restrict dst,
                                 const BFloat16* __restrict diff_dst, Limits limits,
                                 BFloat16* __restrict diff_src) {
  for (int64_t i = 0; i < n; ++i) {
    const float y = to_float(dst[i]);
    const bool inside = (y > limits.low) & (y < limits.high);
    diff_src[i].bits = inside ? diff_dst[i].bits : uint16_t{0};
  }
}

template <typename T>
class Sum : public Op {
 public:
  Sum(const SumDesc& desc, const TensorDesc& form)
      : limits_(limits_of(desc.activation)), masks_(desc.activation != Activation::kNone) {
    info_.src.assign(desc.src.size(), form);
    info_.dst = {form};
    info_.backward_needs_src = false;
    info_.backward_needs_dst = masks_;
    n_elements_ = form.n_bytes() / size_of(form.dtype);
  }

  void forward(Stream&, const OpArgs& args) override {
    T* dst = args.dst[0].as<T>();
    for_blocks([&](int64_t begin, int64_t n) {
      const T* src[kMaxSummands];
      for (size_t k = 0; k < args.src.size(); ++k) src[k] = args.src[k].as<const T>() + begin;
      run_forward(n, src, args.src.size(), limits_, dst + begin);
    });
  }

  void backward(Stream&, const OpArgs& args) override {
    const T *dst = args.dst[0].as<const T>(), *diff_dst = args.diff_dst[0].as<const T>();
    for_blocks([&](int64_t begin, int64_t n) {
      const T* gradient = masks_ ? nullptr : diff_dst + begin;
      for (const Tensor& tensor : args.diff_src) {
        if (tensor.empty()) continue;
        T* diff_src = tensor.as<T>() + begin;
        if (!gradient) {
          run_mask(n, dst + begin, diff_dst + begin, limits_, diff_src);
          gradient = diff_src;  // still in the cache for the others
        } else if (gradient != diff_src) {
          std::memcpy(diff_src, gradient, static_cast<size_t>(n) * sizeof(T));
        }
      }
    });
  }

 private:
  template <typename F>
  void for_blocks(const F& f) const {
#pragma omp parallel for schedule(static) if (n_elements_ >= kParallelElements)
    for (int64_t begin = 0; begin < n_elements_; begin += kBlock)
      f(begin, std::min(kBlock, n_elements_ - begin));
  }

  Limits limits_;
  bool masks_;
  int64_t n_elements_ = 0;  // padding included
};

}  // namespace

std::unique_ptr<Op> make_sum(const OpConfig& config, const SumDesc& desc) {
  const auto blocked = std::find_if(desc.src.begin(), desc.src.end(),
                                    [](const TensorDesc& src) { return src.layout != nullptr; });
  const TensorDesc form = with_dtype(blocked == desc.src.end() ? desc.src[0] : *blocked, config.compute);
  if (config.compute == DType::kBFloat16) return std::make_unique<Sum<BFloat16>>(desc, form);
  return std::make_unique<Sum<float>>(desc, form);
}

}  // namespace lockstep::cpu
