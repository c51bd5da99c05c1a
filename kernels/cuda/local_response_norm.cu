// Local response normalisation on GPUs, dense or channels-last: each thread sums the windows of its elements
// from their first channel on, without running sums, which would gather rounding errors; the reads of
// neighbours meet in the caches. Backward first leaves diff_dst * dst / d of each element in the scratchpad.
#include "kernels/local_response_norm.h"

#include "kernels/backend.h"
#include "kernels/cuda/layouts.h"
#include "kernels/cuda/streaming.h"

namespace lockstep::cuda {

namespace {

struct Windows {
  int64_t channels, inner, size;
  float factor, k, beta;  // factor: alpha / size

  /// from ^ -beta
  __device__ __forceinline__ float inverse_power(float from) const {
    if (beta == 0.75f) {
      const float root = 1.0f / sqrtf(from);
      return root * sqrtf(root);
    }
    return beta == 0.5f ? 1.0f / sqrtf(from) : powf(from, -beta);
  }

  /// sums (W) = of value<W>(place) over the channels from c - below to c + above that exist; `at`: of channel
  /// c.
  template <int W, typename Value>
  __device__ __forceinline__ void sum(int64_t at, int64_t below, int64_t above, const Value& value,
                                      float (&sums)[W]) const {
    const int64_t c = at / inner % channels;
    const int64_t begin = max(c - below, int64_t{0}), end = min(channels, c + above + 1);
#pragma unroll
    for (int i = 0; i < W; ++i) sums[i] = 0.0f;
    for (int64_t j = begin; j < end; ++j) value(at + (j - c) * inner, sums);
  }

  /// d (W): denominators before the power.
  template <int W, typename T>
  __device__ __forceinline__ void denominators(const T* src, int64_t at, float (&d)[W]) const {
    sum<W>(
        at, size / 2, (size - 1) / 2,
        [&](int64_t place, float(&sums)[W]) {
          const Pack<T, W> x = load<W>(src + place);
#pragma unroll
          for (int i = 0; i < W; ++i) sums[i] = fmaf(to_float(x.at[i]), to_float(x.at[i]), sums[i]);
        },
        d);
#pragma unroll
    for (int i = 0; i < W; ++i) d[i] = fmaf(factor, d[i], k);
  }
};

template <typename T>
struct Respond {
  Windows windows;
  const T* src;
  T* dst;
  template <int W>
  __device__ void at(int64_t i) const {
    float d[W];
    windows.denominators<W>(src, i, d);
    Pack<T, W> x = load<W>(src + i);
#pragma unroll
    for (int k = 0; k < W; ++k) x.at[k] = from_float<T>(to_float(x.at[k]) * windows.inverse_power(d[k]));
    store<W>(dst + i, x);
  }
};

template <typename T>
struct Products {
  Windows windows;
  const T *src, *diff_dst;
  float* products;
  template <int W>
  __device__ void at(int64_t i) const {
    float d[W];
    windows.denominators<W>(src, i, d);
    const Pack<T, W> x = load<W>(src + i), g = load<W>(diff_dst + i);
    Pack<float, W> result;
#pragma unroll
    for (int k = 0; k < W; ++k)
      result.at[k] = to_float(g.at[k]) * windows.inverse_power(d[k]) * to_float(x.at[k]) / d[k];
    store<W>(products + i, result);
  }
};

template <typename T>
struct ResponseGradient {
  Windows windows;
  const T *src, *diff_dst;
  const float* products;
  T* diff_src;
  template <int W>
  __device__ void at(int64_t i) const {
    float d[W], sums[W];
    windows.denominators<W>(src, i, d);
    windows.sum<W>(
        i, (windows.size - 1) / 2, windows.size / 2,
        [&](int64_t place, float(&to)[W]) {
          const Pack<float, W> product = load<W>(products + place);
#pragma unroll
          for (int k = 0; k < W; ++k) to[k] += product.at[k];
        },
        sums);
    const Pack<T, W> x = load<W>(src + i), g = load<W>(diff_dst + i);
    const float slope = 2 * windows.factor * windows.beta;
    Pack<T, W> result;
#pragma unroll
    for (int k = 0; k < W; ++k)
      result.at[k] = from_float<T>(to_float(g.at[k]) * windows.inverse_power(d[k]) -
                                   slope * to_float(x.at[k]) * sums[k]);
    store<W>(diff_src + i, result);
  }
};

class LocalResponseNorm : public Op {
 public:
  LocalResponseNorm(const OpConfig& config, const LocalResponseNormDesc& desc) : n_(desc.src.n_elements()) {
    const ChannelView view = channel_view(desc.src);
    windows_ = {view.channels,
                view.inner,
                desc.size,
                static_cast<float>(desc.alpha / static_cast<double>(desc.size)),
                static_cast<float>(desc.k),
                static_cast<float>(desc.beta)};
    info_.src = {desc.src};
    info_.dst = {desc.src};
    info_.backward_needs_dst = false;
    if (config.training) info_.scratchpad_bytes = n_ * static_cast<int64_t>(sizeof(float));
  }

  void forward(Stream& stream, const OpArgs& args) override {
    with_element(info_.src[0].dtype, [&]<typename T>() {
      const T* src = args.src[0].as<const T>();
      T* dst = args.dst[0].as<T>();
      stream_groups<kPack<T>>(stream, n_, windows_.inner, Respond<T>{windows_, src, dst}, src, dst);
    });
  }

  void backward(Stream& stream, const OpArgs& args) override {
    if (args.diff_src[0].empty()) return;
    auto* products = reinterpret_cast<float*>(args.scratchpad);
    with_element(info_.src[0].dtype, [&]<typename T>() {
      const T *src = args.src[0].as<const T>(), *diff_dst = args.diff_dst[0].as<const T>();
      T* diff_src = args.diff_src[0].as<T>();
      stream_groups<kPack<T>>(stream, n_, windows_.inner, Products<T>{windows_, src, diff_dst, products}, src,
                              diff_dst);
      const ResponseGradient<T> gradient{windows_, src, diff_dst, products, diff_src};
      stream_groups<kPack<T>>(stream, n_, windows_.inner, gradient, src, diff_dst, diff_src);
    });
  }

 private:
  int64_t n_;
  Windows windows_{};
};

}  // namespace

std::unique_ptr<Op> make_local_response_norm(const OpConfig& config, const LocalResponseNormDesc& desc) {
  return std::make_unique<LocalResponseNorm>(config, desc);
}

}  // namespace lockstep::cuda
