// Layouts of activations on GPUs: dense row-major, or channels-last (NHWC), which tensor cores want.
// Kernels that treat each channel alike see both as (outer, channels, inner).
#pragma once

#include <cstdint>

#include "kernels/tensor.h"

namespace lockstep::cuda {

/// (N, C, d1, …) with the channels innermost: (N, d1, …, C) in memory, no padding.
class ChannelsLast : public Layout {
 public:
  explicit ChannelsLast(int64_t n_bytes) : n_bytes_(n_bytes) {}
  int64_t n_bytes() const override { return n_bytes_; }
  bool equals(const Layout& other) const override;
  std::string name() const override { return "nhwc"; }
  std::shared_ptr<const Layout> with_shape(const Shape& shape, DType dtype) const override;

 private:
  int64_t n_bytes_;
};

/// `desc` with its channels innermost. Dense, where both are the same: rank below 3, one channel, or
/// one place.
TensorDesc channels_last(const TensorDesc& desc);
bool is_channels_last(const TensorDesc& desc);

/// A tensor of another shape or type in the layout of `like`.
TensorDesc like_layout(const TensorDesc& like, const Shape& shape, DType dtype);

/// Element (o, c, i) lies at (o * channels + c) * inner + i. Dense: outer N, inner the product of the
/// extents behind C. Channels-last: outer N and those extents, inner 1.
struct ChannelView {
  int64_t outer = 0, channels = 0, inner = 0;
};
ChannelView channel_view(const TensorDesc& desc);

/// Images, or sequences as images of one row: strides in elements.
struct ImageView {
  int64_t n = 0, c = 0, h = 0, w = 0;
  int64_t stride_n = 0, stride_c = 0, stride_h = 0, stride_w = 0;
};
ImageView image_view(const TensorDesc& desc);

}  // namespace lockstep::cuda
