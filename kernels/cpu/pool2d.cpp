// Pooling on the CPU. An image is a set of planes (H, W, inner): dense NCHW has inner = 1, a
// channel-blocked layout such as nChw16c has inner = 16, and both run the same loops. The
// workspace of max pooling keeps each maximum's place in its window, i * kw + j.
#include <algorithm>
#include <cassert>
#include <cstring>

#include "kernels/backend.h"
#include "kernels/cpu/vectorize.h"
#include "kernels/error.h"

namespace lockstep::cpu {

namespace {

struct Geometry {
  int64_t planes, inner;  // src (planes, H, W, inner)
  int64_t height, width;  // H, W
  int64_t rows, columns;  // P, Q
  int64_t kernel_h, kernel_w, stride_h, stride_w, top, left;
  bool count_padding;
};

/// The part of a window that lies inside the image, along one axis: [begin, end) of the kernel.
struct Range {
  int64_t begin, end;
};
LOCKSTEP_INLINE Range inside(int64_t start, int64_t kernel, int64_t extent) {
  return {start < 0 ? -start : 0, start + kernel > extent ? extent - start : kernel};
}

/// Whether value replaces the maximum so far: the first of equals stays, NaN wins and is passed on.
LOCKSTEP_INLINE bool replaces(float value, float best) { return (value > best) | (value != value); }

template <typename Place>
LOCKSTEP_INLINE void max_window(const Geometry& g, const float* plane, int64_t p, int64_t q, float* dst,
                                Place* place) {
  const int64_t y = p * g.stride_h - g.top, x = q * g.stride_w - g.left;
  const Range ri = inside(y, g.kernel_h, g.height), rj = inside(x, g.kernel_w, g.width);
  const float* corner = plane + (y * g.width + x) * g.inner;
  for (int64_t lane = 0; lane < g.inner; ++lane) {
    float best = corner[(ri.begin * g.width + rj.begin) * g.inner + lane];
    int64_t best_place = ri.begin * g.kernel_w + rj.begin;
    for (int64_t i = ri.begin; i < ri.end; ++i)
      for (int64_t j = rj.begin; j < rj.end; ++j) {
        const float value = corner[(i * g.width + j) * g.inner + lane];
        const bool better = replaces(value, best);
        best = better ? value : best;
        best_place = better ? i * g.kernel_w + j : best_place;
      }
    dst[lane] = best;
    if (place) place[lane] = static_cast<Place>(best_place);
  }
}

template <typename Place>
void max_forward(const Geometry& g, const float* src, float* dst, Place* places) {
  for (int64_t plane = 0; plane < g.planes; ++plane)
    for (int64_t p = 0; p < g.rows; ++p)
      for (int64_t q = 0; q < g.columns; ++q) {
        const int64_t o = ((plane * g.rows + p) * g.columns + q) * g.inner;
        max_window(g, src + plane * g.height * g.width * g.inner, p, q, dst + o,
                   places ? places + o : nullptr);
      }
}

template <typename Place>
void max_backward(const Geometry& g, const float* diff_dst, const Place* places, float* diff_src) {
  const int64_t plane_size = g.height * g.width * g.inner;
  for (int64_t plane = 0; plane < g.planes; ++plane) {
    float* target = diff_src + plane * plane_size;
    std::memset(target, 0, static_cast<size_t>(plane_size) * sizeof(float));
    for (int64_t p = 0; p < g.rows; ++p)
      for (int64_t q = 0; q < g.columns; ++q) {
        const int64_t y = p * g.stride_h - g.top, x = q * g.stride_w - g.left;
        for (int64_t lane = 0; lane < g.inner; ++lane) {
          const int64_t i = *places / g.kernel_w, j = *places % g.kernel_w;
          target[((y + i) * g.width + x + j) * g.inner + lane] += *diff_dst;
          ++places;
          ++diff_dst;
        }
      }
  }
}

LOCKSTEP_INLINE float divisor(const Geometry& g, Range ri, Range rj) {
  return static_cast<float>(g.count_padding ? g.kernel_h * g.kernel_w
                                            : (ri.end - ri.begin) * (rj.end - rj.begin));
}

void average_forward(const Geometry& g, const float* src, float* dst) {
  for (int64_t plane = 0; plane < g.planes; ++plane, src += g.height * g.width * g.inner)
    for (int64_t p = 0; p < g.rows; ++p)
      for (int64_t q = 0; q < g.columns; ++q) {
        const int64_t y = p * g.stride_h - g.top, x = q * g.stride_w - g.left;
        const Range ri = inside(y, g.kernel_h, g.height), rj = inside(x, g.kernel_w, g.width);
        for (int64_t lane = 0; lane < g.inner; ++lane) {
          float sum = 0.0f;
          for (int64_t i = ri.begin; i < ri.end; ++i)
            for (int64_t j = rj.begin; j < rj.end; ++j)
              sum += src[((y + i) * g.width + x + j) * g.inner + lane];
          *dst++ = sum / divisor(g, ri, rj);
        }
      }
}

void average_backward(const Geometry& g, const float* diff_dst, float* diff_src) {
  const int64_t plane_size = g.height * g.width * g.inner;
  for (int64_t plane = 0; plane < g.planes; ++plane, diff_src += plane_size) {
    std::memset(diff_src, 0, static_cast<size_t>(plane_size) * sizeof(float));
    for (int64_t p = 0; p < g.rows; ++p)
      for (int64_t q = 0; q < g.columns; ++q, diff_dst += g.inner) {
        const int64_t y = p * g.stride_h - g.top, x = q * g.stride_w - g.left;
        const Range ri = inside(y, g.kernel_h, g.height), rj = inside(x, g.kernel_w, g.width);
        const float count = divisor(g, ri, rj);
        for (int64_t i = ri.begin; i < ri.end; ++i)
          for (int64_t j = rj.begin; j < rj.end; ++j)
            for (int64_t lane = 0; lane < g.inner; ++lane)
              diff_src[((y + i) * g.width + x + j) * g.inner + lane] += diff_dst[lane] / count;
      }
  }
}

class Pool2d : public Op {
 public:
  Pool2d(const OpConfig& config, const Pool2dDesc& desc) : pooling_(desc.pooling) {
    if (desc.src.dtype != DType::kFloat32)
      throw Error("pool2d", "src is " + std::string(name_of(desc.src.dtype)) + ", the CPU pools float32");
    const TensorDesc src = desc.src.dense();
    const Shape& shape = src.shape;
    g_ = {shape[0] * shape[1],
          1,
          shape[2],
          shape[3],
          0,
          0,
          desc.kernel[0],
          desc.kernel[1],
          desc.stride[0],
          desc.stride[1],
          desc.padding[0],
          desc.padding[2],
          desc.count_padding};
    g_.rows = conv_output_extent(g_.height, g_.kernel_h, g_.stride_h, 1, desc.padding[0], desc.padding[1]);
    g_.columns = conv_output_extent(g_.width, g_.kernel_w, g_.stride_w, 1, desc.padding[2], desc.padding[3]);
    info_.src = {src};
    info_.dst = {{Shape{shape[0], shape[1], g_.rows, g_.columns}, DType::kFloat32, nullptr}};
    info_.backward_needs_src = false;
    info_.backward_needs_dst = false;
    small_window_ = g_.kernel_h * g_.kernel_w <= 256;
    if (pooling_ == Pooling::kMax && config.training)
      info_.workspace_bytes = g_.planes * g_.rows * g_.columns * g_.inner * (small_window_ ? 1 : 4);
  }

  void forward(Stream&, const OpArgs& args) override {
    const float* src = args.src[0].as<const float>();
    float* dst = args.dst[0].as<float>();
    std::byte* workspace = info_.workspace_bytes > 0 ? args.workspace : nullptr;
    if (pooling_ == Pooling::kAverage)
      average_forward(g_, src, dst);
    else if (small_window_)
      max_forward(g_, src, dst, reinterpret_cast<uint8_t*>(workspace));
    else
      max_forward(g_, src, dst, reinterpret_cast<int32_t*>(workspace));
  }

  void backward(Stream&, const OpArgs& args) override {
    if (args.diff_src[0].empty()) return;
    const float* diff_dst = args.diff_dst[0].as<const float>();
    float* diff_src = args.diff_src[0].as<float>();
    if (pooling_ == Pooling::kAverage)
      average_backward(g_, diff_dst, diff_src);
    else if (small_window_)
      max_backward(g_, diff_dst, reinterpret_cast<const uint8_t*>(args.workspace), diff_src);
    else
      max_backward(g_, diff_dst, reinterpret_cast<const int32_t*>(args.workspace), diff_src);
  }

 private:
  Pooling pooling_;
  Geometry g_;
  bool small_window_ = true;
};

}  // namespace

std::unique_ptr<Op> make_pool2d(const OpConfig& config, const Pool2dDesc& desc) {
  return std::make_unique<Pool2d>(config, desc);
}

}  // namespace lockstep::cpu
