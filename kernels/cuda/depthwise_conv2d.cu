// Depthwise convolution, channels-last: dst channel k sees src channel k / multiplier alone, multiplier =
// K / C. Weights lie as (kh, kw, K), so that neighbouring threads read neighbouring channels of
// everything. One thread computes a pack of channels of one pixel, taps in row-major order. The
// gradient of the weights sums chunks of pixels per block, then the chunks (column_sums).
#include <limits>
#include <string>

#include "kernels/cuda/column_lanes.h"
#include "kernels/cuda/column_sums.h"
#include "kernels/cuda/convolutions.h"
#include "kernels/cuda/scratch.h"
#include "kernels/cuda/streaming.h"
#include "kernels/cuda/windows.h"
#include "kernels/error.h"

namespace lockstep::cuda {

namespace {

using Pass = Convolution::Pass;

/// Extents as kernels want them: 32 bits divide fast.
struct Depthwise {
  unsigned h, w, c, p, q, k;
  int kernel_h, kernel_w, stride_h, stride_w, dilation_h, dilation_w, top, left;
  unsigned multiplier;

  explicit Depthwise(const ConvolutionDesc& d)
      : h(to_32(d.h)),
        w(to_32(d.w)),
        c(to_32(d.c)),
        p(to_32(d.p)),
        q(to_32(d.q)),
        k(to_32(d.k)),
        kernel_h(static_cast<int>(d.kernel[0])),
        kernel_w(static_cast<int>(d.kernel[1])),
        stride_h(static_cast<int>(d.stride[0])),
        stride_w(static_cast<int>(d.stride[1])),
        dilation_h(static_cast<int>(d.dilation[0])),
        dilation_w(static_cast<int>(d.dilation[1])),
        top(static_cast<int>(d.padding[0])),
        left(static_cast<int>(d.padding[2])),
        multiplier(to_32(d.k / d.c)) {}

 private:
  static unsigned to_32(int64_t extent) { return static_cast<unsigned>(extent); }
};

/// Which pixel and first channel element i of a (n, rows, columns, channels / W) tensor is.
template <int W>
struct Place {
  unsigned channel;
  int x, y;
  int64_t n;
  __device__ __forceinline__ Place(unsigned i, unsigned rows, unsigned columns, unsigned channels) {
    const unsigned packs = channels / W;
    channel = i % packs * W;
    i /= packs;
    x = static_cast<int>(i % columns);
    i /= columns;
    y = static_cast<int>(i % rows);
    n = i / rows;
  }
};

/// W > 1 with multiplier 1 only.
template <int W, typename T>
__global__ void __launch_bounds__(kThreads)
    depthwise_forward_kernel(Depthwise d, unsigned n_packs, const T* src, const T* weights, const T* bias,
                             bool relu, T* dst) {
  const int64_t i = global_thread();
  if (i >= n_packs) return;
  const Place<W> at(static_cast<unsigned>(i), d.p, d.q, d.k);
  const unsigned channel = at.channel / d.multiplier;
  float sums[W] = {};
  for (int a = 0; a < d.kernel_h; ++a) {
    const int y = at.y * d.stride_h + a * d.dilation_h - d.top;
    if (!is_inside(y, d.h)) continue;
    const T* row = src + (at.n * d.h + y) * d.w * d.c + channel;
    const T* taps = weights + static_cast<int64_t>(a) * d.kernel_w * d.k + at.channel;
    for (int b = 0; b < d.kernel_w; ++b) {
      const int x = at.x * d.stride_w + b * d.dilation_w - d.left;
      if (!is_inside(x, d.w)) continue;
      const Pack<T, W> value = load<W>(row + static_cast<int64_t>(x) * d.c);
      const Pack<T, W> weight = load<W>(taps + static_cast<int64_t>(b) * d.k);
#pragma unroll
      for (int j = 0; j < W; ++j) sums[j] += to_float(value.at[j]) * to_float(weight.at[j]);
    }
  }
  Pack<T, W> result;
#pragma unroll
  for (int j = 0; j < W; ++j) {
    float value = sums[j] + (bias ? to_float(bias[at.channel + j]) : 0.0f);
    if (relu && value < 0.0f) value = 0.0f;
    result.at[j] = from_float<T>(value);
  }
  store<W>(dst + i * W, result);
}

template <int W, typename T>
__global__ void __launch_bounds__(kThreads, 4)
    depthwise_backward_data_kernel(Depthwise d, unsigned n_packs, const T* diff_dst, const T* weights,
                                   T* diff_src) {
  const int64_t i = global_thread();
  if (i >= n_packs) return;
  const Place<W> at(static_cast<unsigned>(i), d.h, d.w, d.c);
  float sums[W] = {};
  for (int a = 0; a < d.kernel_h; ++a) {
    const int p = reader_of(at.y, a * d.dilation_h - d.top, d.stride_h, d.p);
    if (p < 0) continue;
    for (int b = 0; b < d.kernel_w; ++b) {
      const int q = reader_of(at.x, b * d.dilation_w - d.left, d.stride_w, d.q);
      if (q < 0) continue;
      const int64_t pixel = (at.n * d.p + p) * d.q + q;
      for (unsigned m = 0; m < d.multiplier; ++m) {
        const unsigned channel = at.channel * d.multiplier + m;
        const Pack<T, W> gradient = load<W>(diff_dst + pixel * d.k + channel);
        const Pack<T, W> weight = load<W>(weights + static_cast<int64_t>(a * d.kernel_w + b) * d.k + channel);
#pragma unroll
        for (int j = 0; j < W; ++j) sums[j] += to_float(gradient.at[j]) * to_float(weight.at[j]);
      }
    }
  }
  Pack<T, W> result;
#pragma unroll
  for (int j = 0; j < W; ++j) result.at[j] = from_float<T>(sums[j]);
  store<W>(diff_src + i * W, result);
}

constexpr int kTaps = 9;  // that one thread sums at once: a 3 x 3 kernel reads diff_dst once

/// to (chunks, kh * kw, K). split: rows are the pixels of dst, columns its channels.
template <int W, typename T>
__global__ void __launch_bounds__(kThreads)
    depthwise_backward_weights_kernel(Depthwise d, ColumnLanes split, const T* src, const T* diff_dst,
                                      float* to) {
  __shared__ float shared[kThreads * W];
  const int taps = d.kernel_h * d.kernel_w;
  const int first_tap = static_cast<int>(blockIdx.x / split.blocks()) * kTaps;
  const ColumnLane<W> lane(split, blockIdx.x % split.blocks());
  const bool inside = lane.column < split.columns;
  const unsigned channel = static_cast<unsigned>(lane.column) / d.multiplier;
  int offset_y[kTaps], offset_x[kTaps];
#pragma unroll
  for (int t = 0; t < kTaps; ++t) {
    const int tap = first_tap + t;
    // A tap behind the last one reads far outside of src: nothing.
    offset_y[t] = tap < taps ? tap / d.kernel_w * d.dilation_h - d.top : static_cast<int>(d.h);
    offset_x[t] = tap % d.kernel_w * d.dilation_w - d.left;
  }
  float sums[kTaps][W] = {};
  if (inside) {
    for (int64_t row = lane.row; row < lane.end; row += lane.step) {
      unsigned pixel = static_cast<unsigned>(row);
      const int x0 = static_cast<int>(pixel % d.q) * d.stride_w;
      pixel /= d.q;
      const int y0 = static_cast<int>(pixel % d.p) * d.stride_h;
      const int64_t n = pixel / d.p;
      const Pack<T, W> gradient = load<W>(diff_dst + row * split.columns + lane.column);
#pragma unroll
      for (int t = 0; t < kTaps; ++t) {
        const int y = y0 + offset_y[t], x = x0 + offset_x[t];
        if (!is_inside(y, d.h) || !is_inside(x, d.w)) continue;
        const Pack<T, W> value = load<W>(src + ((n * d.h + y) * d.w + x) * d.c + channel);
#pragma unroll
        for (int j = 0; j < W; ++j) sums[t][j] += to_float(value.at[j]) * to_float(gradient.at[j]);
      }
    }
  }
#pragma unroll
  for (int t = 0; t < kTaps; ++t) {
    const int64_t tap = first_tap + t;
    add_row_groups<W>(split, sums[t], shared, inside && tap < taps,
                      to + (lane.chunk * taps + tap) * split.columns + lane.column);
  }
}

class DepthwiseConvolution : public Convolution {
 public:
  DepthwiseConvolution(Pass pass, const ConvolutionDesc& desc) : pass_(pass), desc_(desc), shape_(desc) {
    const int64_t most = std::max(desc.n * desc.h * desc.w * desc.c, desc.n * desc.p * desc.q * desc.k);
    if (most > std::numeric_limits<unsigned>::max())
      throw Error("depthwise convolution", std::to_string(most) + " elements are more than its kernels count",
                  "use a smaller micro-batch");
    const bool packs = desc.k == desc.c;
    width_ =
        packs && desc.k % (16 / size_of(desc.dtype)) == 0 ? static_cast<int>(16 / size_of(desc.dtype)) : 1;
    if (pass != Pass::kBackwardWeightsFloat32) return;
    width_ = packs && desc.k % kWeightsPack == 0 ? kWeightsPack : 1;
    split_ = ColumnLanes::of(desc.n * desc.p * desc.q, desc.k, width_);
    const int64_t n_weights = taps() * desc.k;
    if (split_.chunks == 1) return;
    partials_ = scratch_.take(split_.chunks * n_weights * int64_t{sizeof(float)});
    sums_ = scratch_.take(column_sums_bytes(split_.chunks, n_weights));
  }

  int64_t workspace_bytes() const override { return scratch_.n_bytes(); }

  void run(Stream& stream, void* src, void* weights, const void* bias, void* dst, void* workspace) override {
    with_element(desc_.dtype, [&]<typename T>() {
      if (pass_ == Pass::kBackwardWeightsFloat32) {
        width_ == 1 ? backward_weights<1, T>(stream, src, weights, dst, workspace)
                    : backward_weights<kWeightsPack, T>(stream, src, weights, dst, workspace);
      } else {
        width_ == 1 ? forward_or_data<1, T>(stream, src, weights, bias, dst)
                    : forward_or_data<kPack<T>, T>(stream, src, weights, bias, dst);
      }
    });
  }

 private:
  static constexpr int kWeightsPack = 4;
  int64_t taps() const { return desc_.kernel[0] * desc_.kernel[1]; }

  template <int W, typename T>
  void forward_or_data(Stream& stream, void* src, const void* weights, const void* bias, void* dst) const {
    const ConvolutionDesc& d = desc_;
    const T* const w = static_cast<const T*>(weights);
    if (pass_ == Pass::kBackwardData) {
      const int64_t n = d.n * d.h * d.w * d.c / W;
      launch(stream, blocks_for(n), kThreads, depthwise_backward_data_kernel<W, T>, shape_,
             static_cast<unsigned>(n), static_cast<const T*>(dst), w, static_cast<T*>(src));
      return;
    }
    const int64_t n = d.n * d.p * d.q * d.k / W;
    const bool has_bias = pass_ == Pass::kForwardBias || pass_ == Pass::kForwardBiasRelu;
    const bool relu = pass_ == Pass::kForwardRelu || pass_ == Pass::kForwardBiasRelu;
    launch(stream, blocks_for(n), kThreads, depthwise_forward_kernel<W, T>, shape_, static_cast<unsigned>(n),
           static_cast<const T*>(src), w, has_bias ? static_cast<const T*>(bias) : nullptr, relu,
           static_cast<T*>(dst));
  }

  template <int W, typename T>
  void backward_weights(Stream& stream, const void* src, void* diff_weights, const void* diff_dst,
                        void* workspace) const {
    std::byte* const parts = static_cast<std::byte*>(workspace);
    float* const result = static_cast<float*>(diff_weights);
    float* const to = split_.chunks > 1 ? reinterpret_cast<float*>(parts + partials_) : result;
    launch(stream, split_.blocks() * blocks_for(taps(), kTaps), kThreads,
           depthwise_backward_weights_kernel<W, T>, shape_, split_, static_cast<const T*>(src),
           static_cast<const T*>(diff_dst), to);
    if (split_.chunks > 1)
      column_sums(stream, DType::kFloat32, split_.chunks, taps() * desc_.k, to, result, parts + sums_);
  }

  Pass pass_;
  ConvolutionDesc desc_;
  Depthwise shape_;
  int width_ = 1;      // channels of a thread
  ColumnLanes split_;  // of the gradient of the weights, as the rest
  Scratch scratch_;
  int64_t partials_ = 0, sums_ = 0;
};

}  // namespace

std::unique_ptr<Convolution> make_depthwise(Pass pass, const ConvolutionDesc& desc) {
  return std::make_unique<DepthwiseConvolution>(pass, desc);
}

}  // namespace lockstep::cuda
