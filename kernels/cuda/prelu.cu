// PReLU in either layout. Sums of the slopes' gradients in float64: blocks take a chunk of a channel, or of
// 32 channels that lie side by side, and a warp per slope adds the chunks in order.
#include "kernels/prelu.h"

#include <algorithm>

#include "kernels/backend.h"
#include "kernels/cuda/layouts.h"
#include "kernels/cuda/rows.h"

namespace lockstep::cuda {

namespace {

/// dst = src where `chooser` is positive, else slope · src. chooser: src of the op, in both directions.
template <typename T>
struct Slopes {
  ChannelView view;
  const float* slope;
  const T *src, *chooser;
  T* dst;
  template <int W>
  __device__ void at(int64_t i) const {
    Pack<T, W> x = load<W>(src + i);
    const Pack<T, W> sign = load<W>(chooser + i);
    int64_t in_run = i % view.inner, channel = i / view.inner % view.channels;
#pragma unroll
    for (int k = 0; k < W; ++k) {
      const float v = to_float(x.at[k]);
      x.at[k] = from_float<T>(to_float(sign.at[k]) > 0.0f ? v : slope[channel] * v);
      if (++in_run == view.inner) {
        in_run = 0;
        channel = channel + 1 == view.channels ? 0 : channel + 1;
      }
    }
    store<W>(dst + i, x);
  }
};

template <typename T>
__device__ __forceinline__ double term(const T* src, const T* diff_dst, int64_t i) {
  const float x = to_float(src[i]);
  return x > 0.0f ? 0.0 : static_cast<double>(x) * to_float(diff_dst[i]);
}

/// sums[c * n_chunks + chunk] = of a chunk of channel c, whose elements are runs of view.inner.
template <typename T>
__global__ void __launch_bounds__(kThreads)
    sum_planes(ChannelView view, int64_t n_chunks, const T* src, const T* diff_dst, double* sums) {
  const int64_t channel = blockIdx.x / n_chunks, chunk = blockIdx.x % n_chunks;
  const int64_t n = view.outer * view.inner, length = (n + n_chunks - 1) / n_chunks;
  const int64_t end = min(n, (chunk + 1) * length);
  double sum = 0;
  for (int64_t p = chunk * length + threadIdx.x; p < end; p += kThreads)
    sum += term(src, diff_dst, (p / view.inner * view.channels + channel) * view.inner + p % view.inner);
  sum = block_sum(sum);
  if (threadIdx.x == 0) sums[blockIdx.x] = sum;
}

constexpr int kRowsAtOnce = kThreads / kWarp;

/// The same where view.inner is 1: a block takes 32 channels, a warp every eighth row of the chunk.
template <typename T>
__global__ void __launch_bounds__(kThreads)
    sum_side_by_side(ChannelView view, int64_t n_chunks, const T* src, const T* diff_dst, double* sums) {
  __shared__ double of_warp[kRowsAtOnce][kWarp];
  const int lane = static_cast<int>(threadIdx.x) % kWarp, warp = static_cast<int>(threadIdx.x) / kWarp;
  const int64_t channel = blockIdx.x / n_chunks * kWarp + lane, chunk = blockIdx.x % n_chunks;
  const int64_t length = (view.outer + n_chunks - 1) / n_chunks, end = min(view.outer, (chunk + 1) * length);
  double sum = 0;
  for (int64_t row = chunk * length + warp; channel < view.channels && row < end; row += kRowsAtOnce)
    sum += term(src, diff_dst, row * view.channels + channel);
  of_warp[warp][lane] = sum;
  __syncthreads();
  if (warp != 0 || channel >= view.channels) return;
  for (int w = 1; w < kRowsAtOnce; ++w) sum += of_warp[w][lane];
  sums[channel * n_chunks + chunk] = sum;
}

__global__ void __launch_bounds__(kThreads)
    add_chunks(int64_t n, int64_t n_chunks, const double* sums, float* diff_slope) {
  const GroupPlace<kWarp> at;
  if (at.group >= n) return;
  double sum = 0;
  for (int64_t chunk = at.lane; chunk < n_chunks; chunk += kWarp) sum += sums[at.group * n_chunks + chunk];
  sum = warp_reduce(sum, Sum{});
  if (at.lane == 0) diff_slope[at.group] = static_cast<float>(sum);
}

class Prelu : public Op {
 public:
  explicit Prelu(const PreluDesc& desc) {
    view_ = desc.per_channel ? channel_view(desc.src) : ChannelView{1, 1, desc.src.n_elements()};
    const int64_t n = view_.outer * view_.inner;  // of a slope
    const int64_t n_groups = side_by_side() ? blocks_for(view_.channels, kWarp) : view_.channels;
    const int64_t per_chunk = side_by_side() ? kChunk / kWarp : kChunk;
    n_chunks_ = std::clamp<int64_t>(kBlocks / n_groups, 1, blocks_for(n, per_chunk));
    info_.src = {desc.src};
    info_.dst = {desc.src};
    info_.backward_needs_dst = false;
    info_.scratchpad_bytes = view_.channels * n_chunks_ * static_cast<int64_t>(sizeof(double));
  }

  void forward(Stream& stream, const OpArgs& args) override {
    multiply(stream, args, args.src[0], args.dst[0]);
  }

  void backward(Stream& stream, const OpArgs& args) override {
    if (!args.diff_src.empty() && !args.diff_src[0].empty())
      multiply(stream, args, args.diff_dst[0], args.diff_src[0]);
    auto* sums = reinterpret_cast<double*>(args.scratchpad);
    with_element(info_.src[0].dtype, [&]<typename T>() {
      const auto *src = args.src[0].as<const T>(), *diff_dst = args.diff_dst[0].as<const T>();
      if (side_by_side()) {
        launch(stream, blocks_for(view_.channels, kWarp) * n_chunks_, kThreads, sum_side_by_side<T>, view_,
               n_chunks_, src, diff_dst, sums);
      } else {
        launch(stream, view_.channels * n_chunks_, kThreads, sum_planes<T>, view_, n_chunks_, src, diff_dst,
               sums);
      }
    });
    launch(stream, blocks_for(view_.channels, kThreads / kWarp), kThreads, add_chunks, view_.channels,
           n_chunks_, sums, args.diff_params[0].as<float>());
  }

 private:
  static constexpr int64_t kChunk = 1 << 12;   // elements of a block, at least
  static constexpr int64_t kBlocks = 1 << 10;  // beyond which chunks grow

  bool side_by_side() const { return view_.inner == 1 && view_.channels > 1; }

  void multiply(Stream& stream, const OpArgs& args, const Tensor& src, const Tensor& dst) const {
    with_element(info_.src[0].dtype, [&]<typename T>() {
      const Slopes<T> slopes{view_, args.params[0].as<const float>(), src.as<const T>(),
                             args.src[0].as<const T>(), dst.as<T>()};
      stream_over<kPack<T>>(stream, info_.src[0].n_elements(), slopes, slopes.src, slopes.chooser,
                            slopes.dst);
    });
  }

  ChannelView view_;
  int64_t n_chunks_ = 1;
};

}  // namespace

std::unique_ptr<Op> make_prelu(const OpConfig&, const PreluDesc& desc) {
  return std::make_unique<Prelu>(desc);
}

}  // namespace lockstep::cuda
