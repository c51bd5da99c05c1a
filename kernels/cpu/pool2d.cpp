// Pooling on the CPU in own loops (pool2d_loops.h), dense or blocked by channels. Not oneDNN's
// primitive: version 2.6 turns a window of NaN into -3.4e38, and took 2 to 11 times as long for
// the 2 x 2 windows of LeNet-5, about as long for 3 x 3 (bench/memory_bench.cpp).
#include "kernels/pool2d.h"

#include <algorithm>

#include "kernels/backend.h"
#include "kernels/conv2d.h"
#include "kernels/cpu/onednn.h"
#include "kernels/cpu/pool2d_loops.h"
#include "kernels/error.h"

namespace lockstep::cpu {

namespace {

constexpr int64_t kParallelElements = 1 << 15;  // below, a second thread costs more than it brings

/// A layout whose planes are (H, W, inner).
struct PlaneLayout {
  dnnl::memory::format_tag tag;
  int64_t planes, inner;
};

MemoryDesc tagged_desc(const Shape& shape, dnnl::memory::format_tag tag) {
  return MemoryDesc({shape.begin(), shape.end()}, dnnl::memory::data_type::f32, tag);
}

/// What `src` is blocked by; inner = 1 and an undefined tag for dense tensors and for layouts
/// that the loops do not know, which the plan then reorders.
PlaneLayout plane_layout(const TensorDesc& src) {
  using Tag = dnnl::memory::format_tag;
  const int64_t n = src.shape[0], c = src.shape[1];
  if (src.layout)
    for (const PlaneLayout candidate : {PlaneLayout{Tag::nChw16c, n * ((c + 15) / 16), 16},
                                        {Tag::nChw8c, n * ((c + 7) / 8), 8},
                                        {Tag::nChw4c, n * ((c + 3) / 4), 4},
                                        {Tag::Abcd16a, (n + 15) / 16 * c, 16},  // blocked by samples
                                        {Tag::nhwc, n, c}})
      if (to_onednn(src) == tagged_desc(src.shape, candidate.tag)) return candidate;
  return {Tag::undef, n * c, 1};
}

class Pool2d : public Op {
 public:
  Pool2d(const OpConfig& config, const Pool2dDesc& desc) : pooling_(desc.pooling) {
    const Shape& shape = desc.src.shape;
    const PlaneLayout layout = plane_layout(desc.src);
    s_.planes = layout.planes;
    s_.inner = layout.inner;
    s_.height = shape[2];
    s_.width = shape[3];
    s_.rows =
        conv_output_extent(s_.height, desc.kernel[0], desc.stride[0], 1, desc.padding[0], desc.padding[1]);
    s_.columns =
        conv_output_extent(s_.width, desc.kernel[1], desc.stride[1], 1, desc.padding[2], desc.padding[3]);
    s_.kernel_h = desc.kernel[0];
    s_.kernel_w = desc.kernel[1];
    s_.stride_h = desc.stride[0];
    s_.stride_w = desc.stride[1];
    s_.top = desc.padding[0];
    s_.left = desc.padding[2];
    s_.count_padding = desc.count_padding;

    const Shape pooled{shape[0], shape[1], s_.rows, s_.columns};
    if (layout.tag == dnnl::memory::format_tag::undef) {
      info_.src = {desc.src.dense()};
      info_.dst = {{pooled}};
    } else {
      info_.src = {desc.src};
      info_.dst = {from_onednn(tagged_desc(pooled, layout.tag), pooled, DType::kFloat32)};
    }
    info_.backward_needs_src = false;
    info_.backward_needs_dst = false;
    small_window_ = s_.kernel_h * s_.kernel_w <= 256;
    if (pooling_ == Pooling::kMax && config.training)
      info_.workspace_bytes = s_.planes * s_.dst_plane() * (small_window_ ? 1 : 4);
  }

  void forward(Stream&, const OpArgs& args) override {
    const float* src = args.src[0].as<const float>();
    float* dst = args.dst[0].as<float>();
    std::byte* workspace = info_.workspace_bytes > 0 ? args.workspace : nullptr;
    for_planes([&](int64_t begin, int64_t end) {
      if (pooling_ == Pooling::kAverage)
        average_pool_forward(s_, begin, end, src, dst);
      else if (small_window_)
        max_pool_forward(s_, begin, end, src, dst, reinterpret_cast<uint8_t*>(workspace));
      else
        max_pool_forward(s_, begin, end, src, dst, reinterpret_cast<int32_t*>(workspace));
    });
  }

  void backward(Stream&, const OpArgs& args) override {
    if (args.diff_src[0].empty()) return;
    const float* diff_dst = args.diff_dst[0].as<const float>();
    float* diff_src = args.diff_src[0].as<float>();
    const std::byte* workspace = args.workspace;
    for_planes([&](int64_t begin, int64_t end) {
      if (pooling_ == Pooling::kAverage)
        average_pool_backward(s_, begin, end, diff_dst, diff_src);
      else if (small_window_)
        max_pool_backward(s_, begin, end, diff_dst, reinterpret_cast<const uint8_t*>(workspace), diff_src);
      else
        max_pool_backward(s_, begin, end, diff_dst, reinterpret_cast<const int32_t*>(workspace), diff_src);
    });
  }

 private:
  /// Cuts the planes over the threads; planes share nothing, so that the cut changes no bits.
  template <typename F>
  void for_planes(const F& f) const {
    const int64_t grain = std::max<int64_t>(1, kParallelElements / std::max<int64_t>(1, s_.src_plane()));
    const int64_t n_chunks = (s_.planes + grain - 1) / grain;
#pragma omp parallel for schedule(static) if (n_chunks > 1)
    for (int64_t chunk = 0; chunk < n_chunks; ++chunk)
      f(chunk * grain, std::min(s_.planes, (chunk + 1) * grain));
  }

  Pooling pooling_;
  PoolShape s_{};
  bool small_window_ = true;
};

}  // namespace

std::unique_ptr<Op> make_pool2d(const OpConfig& config, const Pool2dDesc& desc) {
  if (config.compute != DType::kFloat32 || desc.src.dtype != DType::kFloat32)
    throw Error("pool2d", "the CPU computes in float32 only", "set `precision: float32`");
  return std::make_unique<Pool2d>(config, desc);
}

}  // namespace lockstep::cpu
