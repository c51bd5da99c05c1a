// Pooling on GPUs over planes (H, W, inner), inner 1 or, channels-last, all channels. Each thread computes
// one output (a pack of channels where they are innermost), backward one element of diff_src, which gathers
// from the windows that it lies in: outputs in row-major order, sums in float32, nothing is added to memory.
#include "kernels/pool2d.h"

#include <limits>

#include "kernels/backend.h"
#include "kernels/cuda/layouts.h"
#include "kernels/cuda/streaming.h"
#include "kernels/pool_shape.h"

namespace lockstep::cuda {

namespace {

/// What kernels read of a PoolShape, in numbers that take one register.
struct Pool {
  int64_t inner;
  int height, width, rows, columns, kernel_h, kernel_w, stride_h, stride_w, top, bottom, left, right;
  bool count_padding, adaptive, normalize;
  const float* weights;  // may be null
  float weight_sum;
};

Pool pool_of(const PoolShape& s) {
  const auto number = [](int64_t extent) {
    if (extent > std::numeric_limits<int>::max())
      throw Error("pool2d", "an extent of " + std::to_string(extent) + " is more than a kernel counts",
                  "use smaller images");
    return static_cast<int>(extent);
  };
  return {1,
          number(s.height),
          number(s.width),
          number(s.rows),
          number(s.columns),
          number(s.kernel_h),
          number(s.kernel_w),
          number(s.stride_h),
          number(s.stride_w),
          number(s.top),
          number(s.bottom),
          number(s.left),
          number(s.right),
          s.count_padding,
          s.adaptive,
          s.normalize,
          nullptr,
          s.weight_sum};
}

/// a * b / c, rounded down, or up where `above` is c - 1.
__device__ __forceinline__ int part(int a, int b, int c, int above = 0) {
  return static_cast<int>((static_cast<int64_t>(a) * b + above) / c);
}

/// The part of a window inside the image: kernel rows [i0, i1) and columns [j0, j1).
struct Window {
  int y, x;  // image position of the kernel's (0, 0); negative in the padding
  int i0, i1, j0, j1;
};

__device__ __forceinline__ Window window_at(const Pool& s, int p, int q) {
  if (s.adaptive) {
    const int y = part(p, s.height, s.rows), x = part(q, s.width, s.columns);
    return {y, x,
            0, part(p + 1, s.height, s.rows, s.rows - 1) - y,
            0, part(q + 1, s.width, s.columns, s.columns - 1) - x};
  }
  const int y = p * s.stride_h - s.top, x = q * s.stride_w - s.left;
  return {y, x, max(-y, 0), min(s.kernel_h, s.height - y), max(-x, 0), min(s.kernel_w, s.width - x)};
}

/// What a window's sum is divided by. With count_padding a window counts as far as the padding goes.
__device__ __forceinline__ float divisor(const Pool& s, const Window& w) {
  int i0 = w.i0, i1 = w.i1, j0 = w.j0, j1 = w.j1;
  if (s.count_padding) {
    i0 = j0 = 0;
    i1 = min(s.kernel_h, s.height + s.bottom - w.y);
    j1 = min(s.kernel_w, s.width + s.right - w.x);
  }
  if (!s.weights) return static_cast<float>(static_cast<int64_t>(i1 - i0) * (j1 - j0));
  if (!s.normalize) return 1.0f;
  if (i1 - i0 == s.kernel_h && j1 - j0 == s.kernel_w) return s.weight_sum;
  float sum = 0.0f;
  for (int i = i0; i < i1; ++i)
    for (int j = j0; j < j1; ++j) sum += s.weights[i * s.kernel_w + j];
  return sum;
}

/// Outputs [begin, end) of an axis whose windows hold the pixel `at`.
struct Outputs {
  int begin, end;
};
__device__ __forceinline__ Outputs outputs_of(int at, bool adaptive, int extent, int n, int kernel,
                                              int stride, int before) {
  if (adaptive) return {part(at, n, extent), part(at + 1, n, extent, extent - 1)};
  const int past = at + before - kernel;  // the last start whose window ends before the pixel
  return {past < 0 ? 0 : past / stride + 1, min(n, (at + before) / stride + 1)};
}

/// Where the element i of a tensor (planes, rows, columns, inner) is.
struct Place {
  int64_t plane, lane;
  int row, column;
  __device__ __forceinline__ Place(int64_t i, int rows, int columns, int64_t inner) {
    const int64_t pixel = i / inner, line = pixel / columns;
    lane = i - pixel * inner;
    column = static_cast<int>(pixel - line * columns);
    plane = line / rows;
    row = static_cast<int>(line - plane * rows);
  }
};

/// Kept: the type of a maximum's place in its window, i * kernel_w + j.
template <typename T, typename Kept>
struct MaxPool {
  Pool s;
  const T* src;
  T* dst;
  Kept* places;  // may be null
  template <int W>
  __device__ void at(int64_t i) const {
    const Place to(i, s.rows, s.columns, s.inner);
    const Window w = window_at(s, to.row, to.column);
    Pack<T, W> best;
    Pack<Kept, W> place;
#pragma unroll
    for (int k = 0; k < W; ++k) {
      best.at[k] = from_float<T>(-std::numeric_limits<float>::infinity());
      place.at[k] = static_cast<Kept>(w.i0 * s.kernel_w + w.j0);
    }
    for (int row = w.i0; row < w.i1; ++row)
      for (int column = w.j0; column < w.j1; ++column) {
        const int64_t pixel = (to.plane * s.height + w.y + row) * s.width + w.x + column;
        const Pack<T, W> x = load<W>(src + pixel * s.inner + to.lane);
        const Kept here = static_cast<Kept>(row * s.kernel_w + column);
#pragma unroll
        for (int k = 0; k < W; ++k) {
          const float value = to_float(x.at[k]);
          // The first of equals stays; NaN is passed on.
          const bool better = value > to_float(best.at[k]) || value != value;
          best.at[k] = better ? x.at[k] : best.at[k];
          place.at[k] = better ? here : place.at[k];
        }
      }
    store<W>(dst + i, best);
    if (places) store<W>(places + i, place);
  }
};

template <typename T, typename Kept>
struct MaxPoolGradient {
  Pool s;
  const T* diff_dst;
  const Kept* places;
  T* diff_src;
  template <int W>
  __device__ void at(int64_t i) const {
    const Place to(i, s.height, s.width, s.inner);
    const Outputs rows = outputs_of(to.row, false, s.height, s.rows, s.kernel_h, s.stride_h, s.top);
    const Outputs columns = outputs_of(to.column, false, s.width, s.columns, s.kernel_w, s.stride_w, s.left);
    float sum[W] = {};
    for (int p = rows.begin; p < rows.end; ++p)
      for (int q = columns.begin; q < columns.end; ++q) {
        const int64_t from = ((to.plane * s.rows + p) * s.columns + q) * s.inner + to.lane;
        const int row = to.row - (p * s.stride_h - s.top), column = to.column - (q * s.stride_w - s.left);
        const Kept here = static_cast<Kept>(row * s.kernel_w + column);
        const Pack<T, W> g = load<W>(diff_dst + from);
        const Pack<Kept, W> place = load<W>(places + from);
#pragma unroll
        for (int k = 0; k < W; ++k) sum[k] += place.at[k] == here ? to_float(g.at[k]) : 0.0f;
      }
    Pack<T, W> result;
#pragma unroll
    for (int k = 0; k < W; ++k) result.at[k] = from_float<T>(sum[k]);
    store<W>(diff_src + i, result);
  }
};

/// Averages and weighted sums: row by row of the window, then the rows.
template <typename T>
struct AveragePool {
  Pool s;
  const T* src;
  T* dst;
  template <int W>
  __device__ void at(int64_t i) const {
    const Place to(i, s.rows, s.columns, s.inner);
    const Window w = window_at(s, to.row, to.column);
    float sum[W] = {};
    for (int row = w.i0; row < w.i1; ++row) {
      float of_row[W] = {};
      for (int column = w.j0; column < w.j1; ++column) {
        const int64_t pixel = (to.plane * s.height + w.y + row) * s.width + w.x + column;
        const Pack<T, W> x = load<W>(src + pixel * s.inner + to.lane);
        const float weight = s.weights ? s.weights[row * s.kernel_w + column] : 1.0f;
#pragma unroll
        for (int k = 0; k < W; ++k) of_row[k] += to_float(x.at[k]) * weight;
      }
#pragma unroll
      for (int k = 0; k < W; ++k) sum[k] += of_row[k];
    }
    const float count = divisor(s, w);
    Pack<T, W> result;
#pragma unroll
    for (int k = 0; k < W; ++k) result.at[k] = from_float<T>(sum[k] / count);
    store<W>(dst + i, result);
  }
};

template <typename T>
struct AveragePoolGradient {
  Pool s;
  const T* diff_dst;
  T* diff_src;
  template <int W>
  __device__ void at(int64_t i) const {
    const Place to(i, s.height, s.width, s.inner);
    const Outputs rows = outputs_of(to.row, s.adaptive, s.height, s.rows, s.kernel_h, s.stride_h, s.top);
    const Outputs columns =
        outputs_of(to.column, s.adaptive, s.width, s.columns, s.kernel_w, s.stride_w, s.left);
    float sum[W] = {};
    for (int p = rows.begin; p < rows.end; ++p)
      for (int q = columns.begin; q < columns.end; ++q) {
        const int64_t from = ((to.plane * s.rows + p) * s.columns + q) * s.inner + to.lane;
        const Window w = window_at(s, p, q);
        const float count = divisor(s, w);
        const float weight = s.weights ? s.weights[(to.row - w.y) * s.kernel_w + to.column - w.x] : 1.0f;
        const Pack<T, W> g = load<W>(diff_dst + from);
#pragma unroll
        for (int k = 0; k < W; ++k) sum[k] += to_float(g.at[k]) / count * weight;
      }
    Pack<T, W> result;
#pragma unroll
    for (int k = 0; k < W; ++k) result.at[k] = from_float<T>(sum[k]);
    store<W>(diff_src + i, result);
  }
};

class Pool2d : public Op {
 public:
  Pool2d(const OpConfig& config, const Pool2dDesc& desc) : is_max_(desc.pooling == Pooling::kMax) {
    const PoolShape s = pool_shape(desc);
    info_.src = {like_layout(desc.src, desc.src.shape, config.compute)};
    info_.dst = {like_layout(desc.src, pooled_shape(desc, s), config.compute)};
    info_.backward_needs_src = false;
    info_.backward_needs_dst = false;
    pool_ = pool_of(s);
    if (is_channels_last(desc.src)) pool_.inner = desc.src.shape[1];
    if (desc.pooling == Pooling::kWeighted) keep_weights(config.device, desc.weights);
    small_window_ = s.kernel_h * s.kernel_w <= 256;
    if (is_max_ && config.training)
      info_.workspace_bytes = info_.dst[0].n_elements() * (small_window_ ? 1 : 4);
  }

  void forward(Stream& stream, const OpArgs& args) override {
    std::byte* kept = info_.workspace_bytes > 0 ? args.workspace : nullptr;
    const int64_t n = info_.dst[0].n_elements();
    with_element(info_.src[0].dtype, [&]<typename T>() {
      const T* src = args.src[0].as<const T>();
      T* dst = args.dst[0].as<T>();
      if (!is_max_) {
        stream_groups<kPack<T>>(stream, n, pool_.inner, AveragePool<T>{pool_, src, dst}, src, dst);
      } else if (small_window_) {
        auto* places = reinterpret_cast<uint8_t*>(kept);
        stream_groups<kPack<T>>(stream, n, pool_.inner, MaxPool<T, uint8_t>{pool_, src, dst, places}, src,
                                dst);
      } else {
        auto* places = reinterpret_cast<int32_t*>(kept);
        stream_over<1>(stream, n, MaxPool<T, int32_t>{pool_, src, dst, places}, src, dst);
      }
    });
  }

  void backward(Stream& stream, const OpArgs& args) override {
    if (args.diff_src[0].empty()) return;
    const int64_t n = info_.src[0].n_elements();
    with_element(info_.src[0].dtype, [&]<typename T>() {
      const T* diff_dst = args.diff_dst[0].as<const T>();
      T* diff_src = args.diff_src[0].as<T>();
      if (!is_max_) {
        const AveragePoolGradient<T> gradient{pool_, diff_dst, diff_src};
        stream_groups<kPack<T>>(stream, n, pool_.inner, gradient, diff_dst, diff_src);
      } else if (small_window_) {
        const auto* places = reinterpret_cast<const uint8_t*>(args.workspace);
        const MaxPoolGradient<T, uint8_t> gradient{pool_, diff_dst, places, diff_src};
        stream_groups<kPack<T>>(stream, n, pool_.inner, gradient, diff_dst, diff_src);
      } else {
        const auto* places = reinterpret_cast<const int32_t*>(args.workspace);
        const MaxPoolGradient<T, int32_t> gradient{pool_, diff_dst, places, diff_src};
        stream_over<1>(stream, n, gradient, diff_dst, diff_src);
      }
    });
  }

 private:
  void keep_weights(const Device& device, const std::vector<float>& weights) {
    const auto n_bytes = static_cast<int64_t>(weights.size() * sizeof(float));
    weights_ = Memory(device, n_bytes);
    const std::unique_ptr<Stream> stream = make_stream(device.index);
    lockstep::copy(*stream, weights_.data(), weights.data(), n_bytes);
    stream->synchronize();
    pool_.weights = weights_.as<const float>();
  }

  Pool pool_{};
  Memory weights_;  // of the window
  bool is_max_, small_window_ = true;
};

}  // namespace

std::unique_ptr<Op> make_pool2d(const OpConfig& config, const Pool2dDesc& desc) {
  return std::make_unique<Pool2d>(config, desc);
}

}  // namespace lockstep::cuda
