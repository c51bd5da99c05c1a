// Pooling on the CPU in own loops (pool2d_loops.h), dense or blocked by channels. Not oneDNN's
// primitive: version 2.6 turns a window of NaN into -3.4e38, and took 2 to 11 times as long for
// the 2 x 2 windows of LeNet-5, about as long for 3 x 3 (bench/memory_bench.cpp). bfloat16 is
// converted plane by plane: memory moves half the bytes, and sums are float32.
#include "kernels/pool2d.h"

#include <algorithm>

#include "kernels/backend.h"
#include "kernels/bfloat16.h"
#include "kernels/cpu/channel_blocks.h"
#include "kernels/cpu/onednn.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/pool2d_loops.h"

namespace lockstep::cpu {

namespace {

MemoryDesc by_samples(const Shape& shape, DType dtype) {
  return MemoryDesc({shape.begin(), shape.end()}, onednn_type(dtype), dnnl::memory::format_tag::Abcd16a);
}

/// src and dst, and what their planes (H, W, inner) are: dense where the loops do not know the layout.
struct Planes {
  TensorDesc src, dst;
  int64_t planes, inner;
};
Planes planes_of(const TensorDesc& src, const Shape& pooled) {
  const Shape& shape = src.shape;
  if (src.layout && shape.rank() == 4 && to_onednn(src) == by_samples(shape, src.dtype))
    return {src, from_onednn(by_samples(pooled, src.dtype), pooled, src.dtype),
            (shape[0] + 15) / 16 * shape[1], 16};
  if (const auto blocks = channel_blocks(src))
    return {src, like_layout(src, pooled), blocks->samples * blocks->blocks, blocks->block};
  return {src.dense(), {pooled, src.dtype, nullptr}, shape[0] * shape[1], 1};
}

class Pool2d : public Op {
 public:
  Pool2d(const OpConfig& config, const Pool2dDesc& desc)
      : pooling_(desc.pooling), weights_(desc.weights), s_(pool_shape(desc)) {
    const Planes planes = planes_of(with_dtype(desc.src, config.compute), pooled_shape(desc, s_));
    s_.planes = planes.planes;
    s_.inner = planes.inner;
    if (pooling_ == Pooling::kWeighted) s_.weights = weights_.data();
    info_.src = {planes.src};
    info_.dst = {planes.dst};
    info_.backward_needs_src = false;
    info_.backward_needs_dst = false;
    small_window_ = s_.kernel_h * s_.kernel_w <= 256;
    if (pooling_ == Pooling::kMax && config.training)
      info_.workspace_bytes = s_.planes * s_.dst_plane() * (small_window_ ? 1 : 4);
    const int64_t grain = std::max<int64_t>(1, kParallelElements / std::max<int64_t>(1, s_.src_plane()));
    n_parts_ = std::clamp<int64_t>(s_.planes / grain, 1, compute_threads());
    if (config.compute == DType::kBFloat16) {
      wide_bytes_ = ((s_.src_plane() + s_.dst_plane()) * 4 + 63) / 64 * 64;
      info_.scratchpad_bytes = n_parts_ * wide_bytes_;
    }
  }

  void forward(Stream&, const OpArgs& args) override {
    std::byte* places = info_.workspace_bytes > 0 ? args.workspace : nullptr;
    if (wide_bytes_ == 0)
      return for_parts([&](int64_t, int64_t begin, int64_t end) {
        forward_planes(begin, end, args.src[0].as<const float>(), args.dst[0].as<float>(), places);
      });
    const BFloat16* src = args.src[0].as<const BFloat16>();
    BFloat16* dst = args.dst[0].as<BFloat16>();
    for_parts([&](int64_t part, int64_t begin, int64_t end) {
      float* wide_src = reinterpret_cast<float*>(args.scratchpad + part * wide_bytes_);
      float* wide_dst = wide_src + s_.src_plane();
      for (int64_t plane = begin; plane < end; ++plane) {
        convert_to_float32(s_.src_plane(), src + plane * s_.src_plane(), wide_src);
        forward_planes(0, 1, wide_src, wide_dst, places_of(places, plane));
        convert_to_bfloat16(s_.dst_plane(), wide_dst, dst + plane * s_.dst_plane());
      }
    });
  }

  void backward(Stream&, const OpArgs& args) override {
    if (args.diff_src[0].empty()) return;
    std::byte* places = args.workspace;
    if (wide_bytes_ == 0)
      return for_parts([&](int64_t, int64_t begin, int64_t end) {
        backward_planes(begin, end, args.diff_dst[0].as<const float>(), args.diff_src[0].as<float>(), places);
      });
    const BFloat16* diff_dst = args.diff_dst[0].as<const BFloat16>();
    BFloat16* diff_src = args.diff_src[0].as<BFloat16>();
    for_parts([&](int64_t part, int64_t begin, int64_t end) {
      float* wide_src = reinterpret_cast<float*>(args.scratchpad + part * wide_bytes_);
      float* wide_dst = wide_src + s_.src_plane();
      for (int64_t plane = begin; plane < end; ++plane) {
        convert_to_float32(s_.dst_plane(), diff_dst + plane * s_.dst_plane(), wide_dst);
        backward_planes(0, 1, wide_dst, wide_src, places_of(places, plane));
        convert_to_bfloat16(s_.src_plane(), wide_src, diff_src + plane * s_.src_plane());
      }
    });
  }

 private:
  void forward_planes(int64_t begin, int64_t end, const float* src, float* dst, std::byte* places) const {
    if (pooling_ != Pooling::kMax)
      average_pool_forward(s_, begin, end, src, dst);
    else if (small_window_)
      max_pool_forward(s_, begin, end, src, dst, reinterpret_cast<uint8_t*>(places));
    else
      max_pool_forward(s_, begin, end, src, dst, reinterpret_cast<int32_t*>(places));
  }
  void backward_planes(int64_t begin, int64_t end, const float* diff_dst, float* diff_src,
                       const std::byte* places) const {
    if (pooling_ != Pooling::kMax)
      average_pool_backward(s_, begin, end, diff_dst, diff_src);
    else if (small_window_)
      max_pool_backward(s_, begin, end, diff_dst, reinterpret_cast<const uint8_t*>(places), diff_src);
    else
      max_pool_backward(s_, begin, end, diff_dst, reinterpret_cast<const int32_t*>(places), diff_src);
  }
  std::byte* places_of(std::byte* places, int64_t plane) const {
    return places ? places + plane * s_.dst_plane() * (small_window_ ? 1 : 4) : nullptr;
  }

  /// Cuts the planes over the threads; planes share nothing, so that the cut changes no bits.
  template <typename F>
  void for_parts(const F& f) const {
#pragma omp parallel for schedule(static) if (n_parts_ > 1)
    for (int64_t part = 0; part < n_parts_; ++part)
      f(part, part * s_.planes / n_parts_, (part + 1) * s_.planes / n_parts_);
  }

  Pooling pooling_;
  std::vector<float> weights_;
  PoolShape s_;
  bool small_window_ = true;
  int64_t n_parts_ = 1, wide_bytes_ = 0;  // wide_bytes_: of a part's planes in float32; 0: none
};

}  // namespace

std::unique_ptr<Op> make_pool2d(const OpConfig& config, const Pool2dDesc& desc) {
  return std::make_unique<Pool2d>(config, desc);
}

}  // namespace lockstep::cpu
