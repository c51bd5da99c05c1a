// What element-wise functions of one tensor share: loops over the memory of any layout, padding
// included, in float32 or bfloat16, in chunks that threads share. A function that is not 0 at 0 would
// fill the padding of a blocked layout: such a layout is exchanged for the dense one.
#pragma once

#include <algorithm>

#include "kernels/bfloat16.h"
#include "kernels/op.h"

namespace lockstep::cpu {

/// dst[i] = f.value(src[i]); computed in float32.
template <typename F, typename T>
LOCKSTEP_INLINE void map(const F& f, int64_t n, const T* src, T* dst) {
#pragma GCC ivdep
  for (int64_t i = 0; i < n; ++i) dst[i] = from_float<T>(f.value(to_float(src[i])));
}

/// diff_src[i] = f.gradient(kept[i], diff_dst[i]); kept is src or dst, as the function asks.
template <typename F, typename T>
LOCKSTEP_INLINE void map_backward(const F& f, int64_t n, const T* kept, const T* diff_dst, T* diff_src) {
#pragma GCC ivdep
  for (int64_t i = 0; i < n; ++i)
    diff_src[i] = from_float<T>(f.gradient(to_float(kept[i]), to_float(diff_dst[i])));
}

class UnaryOp : public Op {
 public:
  UnaryOp(const TensorDesc& src, bool needs_src, bool zero_at_zero) {
    const bool padded = src.layout && src.n_bytes() > src.dense().n_bytes();
    const TensorDesc desc = padded && !zero_at_zero ? src.dense() : src;
    info_.src = {desc};
    info_.dst = {desc};
    info_.backward_needs_src = needs_src;
    info_.backward_needs_dst = !needs_src;
    n_ = desc.n_bytes() / size_of(desc.dtype);
  }

  void forward(Stream&, const OpArgs& args) override {
    in_chunks(args.src[0], [&](auto* type, int64_t begin, int64_t n) {
      using T = std::remove_pointer_t<decltype(type)>;
      map(n, args.src[0].as<const T>() + begin, args.dst[0].as<T>() + begin);
    });
  }
  void backward(Stream&, const OpArgs& args) override {
    if (args.diff_src.empty() || args.diff_src[0].empty()) return;
    const Tensor& kept = info_.backward_needs_src ? args.src[0] : args.dst[0];
    in_chunks(args.src[0], [&](auto* type, int64_t begin, int64_t n) {
      using T = std::remove_pointer_t<decltype(type)>;
      map_backward(n, kept.as<const T>() + begin, args.diff_dst[0].as<const T>() + begin,
                   args.diff_src[0].as<T>() + begin);
    });
  }

 protected:
  virtual void map(int64_t n, const float* src, float* dst) const = 0;
  virtual void map(int64_t n, const BFloat16* src, BFloat16* dst) const = 0;
  virtual void map_backward(int64_t n, const float* kept, const float* diff_dst, float* diff_src) const = 0;
  virtual void map_backward(int64_t n, const BFloat16* kept, const BFloat16* diff_dst,
                            BFloat16* diff_src) const = 0;

 private:
  static constexpr int64_t kChunk = 1 << 14;

  template <typename Body>
  void in_chunks(const Tensor& tensor, const Body& body) const {
    const int64_t n_chunks = (n_ + kChunk - 1) / kChunk;
    const bool is_float = tensor.desc.dtype == DType::kFloat32;
#pragma omp parallel for schedule(static) if (n_chunks > 1)
    for (int64_t chunk = 0; chunk < n_chunks; ++chunk) {
      const int64_t begin = chunk * kChunk, n = std::min(kChunk, n_ - begin);
      if (is_float) {
        body(static_cast<float*>(nullptr), begin, n);
      } else {
        body(static_cast<BFloat16*>(nullptr), begin, n);
      }
    }
  }

  int64_t n_ = 0;  // elements in memory, padding included
};

}  // namespace lockstep::cpu
