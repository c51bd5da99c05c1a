// Locally connected layer on GPUs, channels-last: the windows of all samples at a place are gathered into
// a matrix (N, C * kh * kw), and one batch of matrix products, one per place, computes each pass. diff_src
// collects the gradients of the windows in float32, taps in row-major order.
#include "kernels/local_conv2d.h"

#include <algorithm>

#include "kernels/backend.h"
#include "kernels/conv2d.h"
#include "kernels/cuda/column_sums.h"
#include "kernels/cuda/element.h"
#include "kernels/cuda/layouts.h"
#include "kernels/cuda/matmul.h"
#include "kernels/cuda/pack_weights.h"
#include "kernels/cuda/scratch.h"
#include "kernels/cuda/windows.h"

namespace lockstep::cuda {

namespace {

struct LocalShape {
  ImageView src;
  int64_t p, q, window;  // places, elements of a window
  int kernel_h, kernel_w, stride_h, stride_w, top, left;
};

/// windows (P * Q, N, C * kh * kw): src at each place, zero outside.
template <typename T>
__global__ void __launch_bounds__(kThreads)
    gather_windows_kernel(LocalShape s, int64_t n, const T* src, T* windows) {
  const int64_t i = global_thread();
  if (i >= n) return;
  const int64_t element = i % s.window, row = i / s.window;
  const int64_t sample = row % s.src.n, place = row / s.src.n;
  const int tap = static_cast<int>(element % (s.kernel_h * s.kernel_w));
  const int64_t channel = element / (s.kernel_h * s.kernel_w);
  const int y = static_cast<int>(place / s.q) * s.stride_h - s.top + tap / s.kernel_w;
  const int x = static_cast<int>(place % s.q) * s.stride_w - s.left + tap % s.kernel_w;
  const bool inside = y >= 0 && y < s.src.h && x >= 0 && x < s.src.w;
  windows[i] =
      inside
          ? src[sample * s.src.stride_n + channel * s.src.stride_c + y * s.src.stride_h + x * s.src.stride_w]
          : from_float<T>(0.0f);
}

/// diff_src: for each pixel the sum over the windows that read it.
template <typename T>
__global__ void __launch_bounds__(kThreads)
    scatter_windows_kernel(LocalShape s, int64_t n, const float* diff_windows, T* diff_src) {
  const int64_t i = global_thread();
  if (i >= n) return;
  const int64_t channel = i % s.src.c;
  int64_t rest = i / s.src.c;
  const int x = static_cast<int>(rest % s.src.w);
  rest /= s.src.w;
  const int y = static_cast<int>(rest % s.src.h);
  const int64_t sample = rest / s.src.h;
  float sum = 0;
  for (int a = 0; a < s.kernel_h; ++a) {
    const int p = reader_of(y, a - s.top, s.stride_h, static_cast<unsigned>(s.p));
    if (p < 0) continue;
    for (int b = 0; b < s.kernel_w; ++b) {
      const int q = reader_of(x, b - s.left, s.stride_w, static_cast<unsigned>(s.q));
      if (q < 0) continue;
      const int64_t element = (channel * s.kernel_h + a) * s.kernel_w + b;
      sum += diff_windows[((p * s.q + q) * s.src.n + sample) * s.window + element];
    }
  }
  diff_src[sample * s.src.stride_n + channel * s.src.stride_c + y * s.src.stride_h + x * s.src.stride_w] =
      from_float<T>(sum);
}

/// dst (N, P * Q, K) += bias (K, P * Q)
template <typename T>
__global__ void __launch_bounds__(kThreads)
    add_place_bias_kernel(int64_t n, int64_t places, int64_t channels, const float* bias, T* dst) {
  const int64_t i = global_thread();
  if (i >= n) return;
  const int64_t place = i / channels % places;
  dst[i] = from_float<T>(to_float(dst[i]) + bias[i % channels * places + place]);
}

class LocalConv2dOp : public Op {
 public:
  LocalConv2dOp(const OpConfig& config, const LocalConv2dDesc& d)
      : has_bias_(d.has_bias), dtype_(config.compute), k_(d.out_channels) {
    const Shape& src = d.src.shape;
    const auto extent = [&](int i) {
      return conv_output_extent(src[2 + i], d.kernel[i], d.stride[i], 1, d.padding[2 * i],
                                d.padding[2 * i + 1]);
    };
    info_.src = {channels_last({src, dtype_, nullptr})};
    info_.dst = {channels_last({Shape{src[0], k_, extent(0), extent(1)}, dtype_, nullptr})};
    info_.backward_needs_dst = false;
    shape_ = {.src = image_view(info_.src[0]),
              .p = extent(0),
              .q = extent(1),
              .window = src[1] * d.kernel[0] * d.kernel[1],
              .kernel_h = static_cast<int>(d.kernel[0]),
              .kernel_w = static_cast<int>(d.kernel[1]),
              .stride_h = static_cast<int>(d.stride[0]),
              .stride_w = static_cast<int>(d.stride[1]),
              .top = static_cast<int>(d.padding[0]),
              .left = static_cast<int>(d.padding[2])};
    if (copies()) weights_ = Memory(config.device, n_weights() * size_of(dtype_));
    make_products(config);
  }

  void prepare(Stream& stream, std::span<const Tensor> params) override {
    if (copies()) convert_weights(stream, dtype_, n_weights(), params[0].as<const float>(), weights_.data());
  }

  void forward(Stream& stream, const OpArgs& args) override {
    std::byte* windows = args.scratchpad + windows_;
    gather(stream, args.src[0].data, windows);
    product_.run(stream, windows, weights(args), nullptr, args.dst[0].data, args.scratchpad + workspace_);
    if (!has_bias_) return;
    const int64_t n = info_.dst[0].n_elements();
    with_element(dtype_, [&]<typename T>() {
      launch(stream, blocks_for(n), kThreads, add_place_bias_kernel<T>, n, places(), k_,
             args.params[1].as<const float>(), args.dst[0].as<T>());
    });
  }

  void backward(Stream& stream, const OpArgs& args) override {
    const void* diff_dst = args.diff_dst[0].data;
    std::byte* windows = args.scratchpad + windows_;
    std::byte* workspace = args.scratchpad + workspace_;
    if (has_bias_) {
      float* by_place = reinterpret_cast<float*>(windows);  // (P * Q, K)
      column_sums(stream, dtype_, shape_.src.n, places() * k_, diff_dst, by_place, workspace);
      unpack_weights(stream, DType::kFloat32, 1, k_, places(), by_place, args.diff_params[1].as<float>());
    }
    gather(stream, args.src[0].data, windows);
    diff_weights_.run(stream, diff_dst, windows, nullptr, args.diff_params[0].data, workspace);
    if (args.diff_src.empty() || args.diff_src[0].empty()) return;
    diff_windows_.run(stream, diff_dst, weights(args), nullptr, windows, workspace);
    const int64_t n = info_.src[0].n_elements();
    with_element(dtype_, [&]<typename T>() {
      launch(stream, blocks_for(n), kThreads, scatter_windows_kernel<T>, shape_, n,
             reinterpret_cast<const float*>(windows), args.diff_src[0].as<T>());
    });
  }

 private:
  bool copies() const { return dtype_ != DType::kFloat32; }
  int64_t places() const { return shape_.p * shape_.q; }
  int64_t n_weights() const { return places() * k_ * shape_.window; }
  int64_t n_windows() const { return places() * shape_.src.n * shape_.window; }  // elements
  const void* weights(const OpArgs& args) const { return copies() ? weights_.data() : args.params[0].data; }

  void gather(Stream& stream, const void* src, void* windows) const {
    with_element(dtype_, [&]<typename T>() {
      launch(stream, blocks_for(n_windows()), kThreads, gather_windows_kernel<T>, shape_, n_windows(),
             static_cast<const T*>(src), static_cast<T*>(windows));
    });
  }

  void make_products(const OpConfig& config) {
    const int64_t n = shape_.src.n, window = shape_.window, row = places() * k_;  // of dst and diff_dst
    const int64_t of_windows = n * window, of_weights = k_ * window;              // per place
    product_ = Matmul(config.device, {.m = n,
                                      .n = k_,
                                      .k = window,
                                      .transpose_b = true,
                                      .src = dtype_,
                                      .dst = dtype_,
                                      .tf32 = config.tf32,
                                      .row_d = row,
                                      .batch = places(),
                                      .stride_a = of_windows,
                                      .stride_b = of_weights,
                                      .stride_d = k_});
    int64_t workspace = product_.workspace_bytes();
    int64_t windows = n_windows() * size_of(dtype_);
    if (config.training) {
      diff_weights_ = Matmul(config.device, {.m = k_,
                                             .n = window,
                                             .k = n,
                                             .transpose_a = true,
                                             .src = dtype_,
                                             .dst = DType::kFloat32,
                                             .tf32 = config.tf32,
                                             .row_a = row,
                                             .batch = places(),
                                             .stride_a = k_,
                                             .stride_b = of_windows,
                                             .stride_d = of_weights});
      diff_windows_ = Matmul(config.device, {.m = n,
                                             .n = window,
                                             .k = k_,
                                             .src = dtype_,
                                             .dst = DType::kFloat32,
                                             .tf32 = config.tf32,
                                             .row_a = row,
                                             .batch = places(),
                                             .stride_a = k_,
                                             .stride_b = of_weights,
                                             .stride_d = of_windows});
      workspace = std::max({workspace, diff_weights_.workspace_bytes(), diff_windows_.workspace_bytes(),
                            has_bias_ ? column_sums_bytes(n, row) : 0});
      windows = std::max(n_windows(), has_bias_ ? row : 0) * int64_t{sizeof(float)};
    }
    Scratch scratch;
    windows_ = scratch.take(windows);
    workspace_ = scratch.take(workspace);
    info_.scratchpad_bytes = scratch.n_bytes();
  }

  bool has_bias_;
  DType dtype_;
  int64_t k_;  // channels of dst
  LocalShape shape_;
  Matmul product_, diff_weights_, diff_windows_;
  Memory weights_;                       // in dtype_
  int64_t windows_ = 0, workspace_ = 0;  // in the scratchpad
};

}  // namespace

std::unique_ptr<Op> make_local_conv2d(const OpConfig& config, const LocalConv2dDesc& desc) {
  return std::make_unique<LocalConv2dOp>(config, desc);
}

}  // namespace lockstep::cuda
