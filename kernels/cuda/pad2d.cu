// Padding of images by their own pixels on GPUs: a plane is (H, W, inner), inner 1 or, channels-last, all
// channels. Forward copies. Backward gathers: each pixel adds up its copies in float32, in the order that
// pad2d.h states.
#include "kernels/pad2d.h"

#include "kernels/backend.h"
#include "kernels/cuda/layouts.h"
#include "kernels/cuda/streaming.h"

namespace lockstep::cuda {

namespace {

/// One axis: `extent` pixels between `before` and `after` more.
struct Axis {
  PaddingMode mode;
  int64_t before, extent, after;

  int64_t padded() const { return before + extent + after; }

  /// The pixel that lies at `at` of the padded axis.
  __device__ __forceinline__ int64_t source_of(int64_t at) const {
    at -= before;
    if (at >= 0 && at < extent) return at;
    if (mode == PaddingMode::kReflect) return at < 0 ? -at : 2 * (extent - 1) - at;
    if (mode == PaddingMode::kCircular) return at < 0 ? at + extent : at - extent;
    return at < 0 ? 0 : extent - 1;
  }

  /// body(place in the padded axis) for the copies of a pixel, in order.
  template <typename Body>
  __device__ __forceinline__ void for_copies(int64_t pixel, const Body& body) const {
    if (mode == PaddingMode::kReplicate) {
      const int64_t begin = pixel == 0 ? 0 : before + pixel;
      const int64_t end = before + (pixel == extent - 1 ? extent + after : pixel + 1);
      for (int64_t at = begin; at < end; ++at) body(at);
      return;
    }
    const bool reflects = mode == PaddingMode::kReflect;
    const int64_t low = before + (reflects ? -pixel : pixel - extent);
    const int64_t high = before + (reflects ? 2 * (extent - 1) - pixel : pixel + extent);
    for (int copy = 0; copy < 3; ++copy) {
      const int64_t at = copy == 0 ? low : copy == 1 ? before + pixel : high;
      if (copy == 0 && (at < 0 || at >= before)) continue;
      if (copy == 2 && (at < before + extent || at >= before + extent + after)) continue;
      body(at);
    }
  }
};

struct Padding {
  Axis rows, columns;
  int64_t inner;
};

template <typename T>
struct Pad {
  Padding p;
  int64_t padded_rows, padded_columns;
  const T* src;
  T* dst;
  template <int W>
  __device__ void at(int64_t i) const {
    const int64_t pixel = i / p.inner, lane = i - pixel * p.inner;
    const int64_t row = pixel / padded_columns, plane = row / padded_rows;
    const int64_t y = p.rows.source_of(row - plane * padded_rows);
    const int64_t x = p.columns.source_of(pixel - row * padded_columns);
    const int64_t from = ((plane * p.rows.extent + y) * p.columns.extent + x) * p.inner + lane;
    store<W>(dst + i, load<W>(src + from));
  }
};

template <typename T>
struct PadGradient {
  Padding p;
  int64_t padded_rows, padded_columns;
  const T* diff_dst;
  T* diff_src;
  template <int W>
  __device__ void at(int64_t i) const {
    const int64_t pixel = i / p.inner, lane = i - pixel * p.inner;
    const int64_t row = pixel / p.columns.extent, plane = row / p.rows.extent;
    const int64_t y = row - plane * p.rows.extent, x = pixel - row * p.columns.extent;
    float sum[W] = {};
    p.rows.for_copies(y, [&](int64_t from_y) {
      p.columns.for_copies(x, [&](int64_t from_x) {
        const int64_t from = ((plane * padded_rows + from_y) * padded_columns + from_x) * p.inner + lane;
        const Pack<T, W> g = load<W>(diff_dst + from);
#pragma unroll
        for (int k = 0; k < W; ++k) sum[k] += to_float(g.at[k]);
      });
    });
    Pack<T, W> result;
#pragma unroll
    for (int k = 0; k < W; ++k) result.at[k] = from_float<T>(sum[k]);
    store<W>(diff_src + i, result);
  }
};

class Pad2d : public Op {
 public:
  Pad2d(const OpConfig& config, const Pad2dDesc& desc) {
    const Shape& s = desc.src.shape;
    const auto [top, bottom, left, right] = desc.padding;
    padding_ = {{desc.mode, top, s[2], bottom}, {desc.mode, left, s[3], right}, 1};
    info_.src = {like_layout(desc.src, s, config.compute)};
    info_.dst = {like_layout(desc.src, Shape{s[0], s[1], padding_.rows.padded(), padding_.columns.padded()},
                             config.compute)};
    info_.backward_needs_src = false;
    info_.backward_needs_dst = false;
    if (is_channels_last(info_.src[0])) padding_.inner = s[1];
  }

  void forward(Stream& stream, const OpArgs& args) override {
    with_element(info_.src[0].dtype, [&]<typename T>() {
      const T* src = args.src[0].as<const T>();
      T* dst = args.dst[0].as<T>();
      const Pad<T> pad{padding_, padding_.rows.padded(), padding_.columns.padded(), src, dst};
      stream_groups<kPack<T>>(stream, info_.dst[0].n_elements(), padding_.inner, pad, src, dst);
    });
  }

  void backward(Stream& stream, const OpArgs& args) override {
    if (args.diff_src[0].empty()) return;
    with_element(info_.src[0].dtype, [&]<typename T>() {
      const T* diff_dst = args.diff_dst[0].as<const T>();
      T* diff_src = args.diff_src[0].as<T>();
      const PadGradient<T> pad{padding_, padding_.rows.padded(), padding_.columns.padded(), diff_dst,
                               diff_src};
      stream_groups<kPack<T>>(stream, info_.src[0].n_elements(), padding_.inner, pad, diff_dst, diff_src);
    });
  }

 private:
  Padding padding_;
};

}  // namespace

std::unique_ptr<Op> make_pad2d(const OpConfig& config, const Pad2dDesc& desc) {
  return std::make_unique<Pad2d>(config, desc);
}

}  // namespace lockstep::cuda
