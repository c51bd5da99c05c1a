// Element-wise functions of one tensor, in any layout: dst = f.value(src), and diff_src =
// f.gradient(kept, diff_dst) where kept is src or dst, as the function asks.
#pragma once

#include "kernels/cuda/streaming.h"
#include "kernels/op.h"

namespace lockstep::cuda {

template <typename T, typename F>
struct UnaryValue {
  F f;
  const T* src;
  T* dst;
  template <int W>
  __device__ void at(int64_t i) const {
    Pack<T, W> x = load<W>(src + i);
#pragma unroll
    for (int k = 0; k < W; ++k) x.at[k] = from_float<T>(f.value(to_float(x.at[k])));
    store<W>(dst + i, x);
  }
};

template <typename T, typename F>
struct UnaryGradient {
  F f;
  const T *kept, *diff_dst;
  T* diff_src;
  template <int W>
  __device__ void at(int64_t i) const {
    const Pack<T, W> x = load<W>(kept + i);
    Pack<T, W> g = load<W>(diff_dst + i);
#pragma unroll
    for (int k = 0; k < W; ++k) g.at[k] = from_float<T>(f.gradient(to_float(x.at[k]), to_float(g.at[k])));
    store<W>(diff_src + i, g);
  }
};

/// diff_src[i] = f.gradient(kept[i], diff_dst[i]) over n elements of `dtype`.
template <typename F>
void unary_gradient(Stream& stream, DType dtype, int64_t n, const F& f, const void* kept,
                    const void* diff_dst, void* diff_src) {
  with_element(dtype, [&]<typename T>() {
    stream_over<kPack<T>>(stream, n,
                          UnaryGradient<T, F>{f, static_cast<const T*>(kept), static_cast<const T*>(diff_dst),
                                              static_cast<T*>(diff_src)},
                          kept, diff_dst, diff_src);
  });
}

template <typename F>
class UnaryOp : public Op {
 public:
  /// needs_src: f.gradient wants src, else dst.
  UnaryOp(const TensorDesc& desc, const F& f, bool needs_src) : f_(f) {
    info_.src = {desc};
    info_.dst = {desc};
    info_.backward_needs_src = needs_src;
    info_.backward_needs_dst = !needs_src;
  }

  void forward(Stream& stream, const OpArgs& args) override {
    with_element(info_.src[0].dtype, [&]<typename T>() {
      const T* src = args.src[0].as<const T>();
      T* dst = args.dst[0].as<T>();
      stream_over<kPack<T>>(stream, info_.src[0].n_elements(), UnaryValue<T, F>{f_, src, dst}, src, dst);
    });
  }
  void backward(Stream& stream, const OpArgs& args) override {
    if (args.diff_src.empty() || args.diff_src[0].empty()) return;
    const Tensor& kept = info_.backward_needs_src ? args.src[0] : args.dst[0];
    unary_gradient(stream, info_.src[0].dtype, info_.src[0].n_elements(), f_, kept.data,
                   args.diff_dst[0].data, args.diff_src[0].data);
  }

 private:
  F f_;
};

}  // namespace lockstep::cuda
