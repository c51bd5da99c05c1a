// Functions of each element on the CPU. Built without errno, so that a root is one instruction.
#include <algorithm>
#include <cmath>

#include "kernels/arithmetic.h"
#include "kernels/backend.h"
#include "kernels/bfloat16.h"
#include "kernels/cpu/channel_blocks.h"
#include "kernels/cpu/parallel.h"

namespace lockstep::cpu {

namespace {

constexpr int64_t kBlock = 2048;  // elements

template <typename T, typename F>
LOCKSTEP_INLINE void each(int64_t n, const T* __restrict src, T* __restrict dst, const F& f) {
  for (int64_t i = 0; i < n; ++i) dst[i] = from_float<T>(f(to_float(src[i])));
}
template <typename T>
LOCKSTEP_INLINE void forward_loop(Map map, float c, int64_t n, const T* src, T* dst) {
  switch (map) {
    case Map::kScale: return each(n, src, dst, [=](float x) LOCKSTEP_INLINE_LAMBDA { return c * x; });
    case Map::kShift: return each(n, src, dst, [=](float x) LOCKSTEP_INLINE_LAMBDA { return x + c; });
    case Map::kPower:
      if (c == 2) return each(n, src, dst, [](float x) LOCKSTEP_INLINE_LAMBDA { return x * x; });
      return each(n, src, dst, [=](float x) LOCKSTEP_INLINE_LAMBDA { return std::pow(x, c); });
    case Map::kAbsolute:
      return each(n, src, dst, [](float x) LOCKSTEP_INLINE_LAMBDA { return std::fabs(x); });
    case Map::kSquareRoot:
      return each(n, src, dst, [](float x) LOCKSTEP_INLINE_LAMBDA { return std::sqrt(x); });
    case Map::kLog: return each(n, src, dst, [](float x) LOCKSTEP_INLINE_LAMBDA { return std::log(x); });
    case Map::kExp: return each(n, src, dst, [](float x) LOCKSTEP_INLINE_LAMBDA { return std::exp(x); });
  }
}

/// f(g, value): value is what the derivative is told by, an element of src or of dst.
template <typename T, typename F>
LOCKSTEP_INLINE void each_gradient(int64_t n, const T* __restrict g, const T* __restrict value,
                                   T* __restrict diff, const F& f) {
  for (int64_t i = 0; i < n; ++i) diff[i] = from_float<T>(f(to_float(g[i]), to_float(value[i])));
}
template <typename T>
LOCKSTEP_INLINE void backward_loop(Map map, float c, int64_t n, const T* g, const T* value, T* diff) {
  switch (map) {
    case Map::kScale: return each(n, g, diff, [=](float d) LOCKSTEP_INLINE_LAMBDA { return c * d; });
    case Map::kShift: return void(std::copy_n(g, n, diff));
    case Map::kPower:
      if (c == 2)
        return each_gradient(n, g, value, diff,
                             [](float d, float x) LOCKSTEP_INLINE_LAMBDA { return 2.0f * x * d; });
      return each_gradient(n, g, value, diff, [=](float d, float x) LOCKSTEP_INLINE_LAMBDA {
        return d * c * std::pow(x, c - 1.0f);
      });
    case Map::kAbsolute:
      return each_gradient(n, g, value, diff, [](float d, float x) LOCKSTEP_INLINE_LAMBDA {
        return x > 0 ? d : x < 0 ? -d : 0.0f;
      });
    case Map::kSquareRoot:
      return each_gradient(n, g, value, diff,
                           [](float d, float y) LOCKSTEP_INLINE_LAMBDA { return 0.5f * d / y; });
    case Map::kLog:
      return each_gradient(n, g, value, diff, [](float d, float x) LOCKSTEP_INLINE_LAMBDA { return d / x; });
    case Map::kExp:
      return each_gradient(n, g, value, diff, [](float d, float y) LOCKSTEP_INLINE_LAMBDA { return d * y; });
  }
}

LOCKSTEP_VECTORIZE void run_forward(Map map, float c, int64_t n, const float* src, float* dst) {
  forward_loop(map, c, n, src, dst);
}
LOCKSTEP_VECTORIZE void run_forward(Map map, float c, int64_t n, const BFloat16* src, BFloat16* dst) {
  forward_loop(map, c, n, src, dst);
}
LOCKSTEP_VECTORIZE void run_backward(Map map, float c, int64_t n, const float* g, const float* value,
                                     float* diff) {
  backward_loop(map, c, n, g, value, diff);
}
LOCKSTEP_VECTORIZE void run_backward(Map map, float c, int64_t n, const BFloat16* g, const BFloat16* value,
                                     BFloat16* diff) {
  backward_loop(map, c, n, g, value, diff);
}

template <typename T>
class MapOp : public Op {
 public:
  MapOp(const MapDesc& desc, const TensorDesc& form)
      : map_(desc.map), parameter_(static_cast<float>(desc.parameter)) {
    info_.src = {form};
    info_.dst = {form};
    info_.backward_needs_dst = map_ == Map::kSquareRoot || map_ == Map::kExp;
    info_.backward_needs_src = map_ == Map::kPower || map_ == Map::kAbsolute || map_ == Map::kLog;
    sample_ = form.n_bytes() / size_of(form.dtype) / form.shape[0];
  }

  void forward(Stream&, const OpArgs& args) override {
    const T* src = args.src[0].as<const T>();
    T* dst = args.dst[0].as<T>();
    for_blocks(args, dst,
               [&](int64_t begin, int64_t n) { run_forward(map_, parameter_, n, src + begin, dst + begin); });
  }
  void backward(Stream&, const OpArgs& args) override {
    if (args.diff_src[0].empty()) return;
    const T* value = (info_.backward_needs_dst ? args.dst[0] : args.src[0]).template as<const T>();
    const T* diff_dst = args.diff_dst[0].as<const T>();
    T* diff_src = args.diff_src[0].as<T>();
    for_blocks(args, diff_src, [&](int64_t begin, int64_t n) {
      run_backward(map_, parameter_, n, diff_dst + begin, value + begin, diff_src + begin);
    });
  }

 private:
  /// f on blocks of the valid rows; zeros into the others.
  template <typename F>
  void for_blocks(const OpArgs& args, T* result, const F& f) const {
    const int64_t n_samples = info_.src[0].shape[0];
    const int64_t n = (args.batch ? args.batch->n_valid : n_samples) * sample_;
#pragma omp parallel for schedule(static) if (n >= kParallelElements)
    for (int64_t begin = 0; begin < n; begin += kBlock) f(begin, std::min(kBlock, n - begin));
    std::fill_n(result + n, n_samples * sample_ - n, T{});
  }

  Map map_;
  float parameter_;
  int64_t sample_ = 0;  // elements, padding included
};

bool keeps_zero(const MapDesc& desc) {
  return desc.map == Map::kScale || desc.map == Map::kAbsolute ||
         (desc.map == Map::kPower && desc.parameter == 2);
}

}  // namespace

std::unique_ptr<Op> make_map(const OpConfig& config, const MapDesc& desc) {
  const bool keeps = keeps_zero(desc) && channel_blocks(desc.src).has_value();
  const TensorDesc form = with_dtype(keeps ? desc.src : desc.src.dense(), config.compute);
  if (config.compute == DType::kBFloat16) return std::make_unique<MapOp<BFloat16>>(desc, form);
  return std::make_unique<MapOp<float>>(desc, form);
}

}  // namespace lockstep::cpu
