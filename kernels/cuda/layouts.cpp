// See layouts.h.
#include "kernels/cuda/layouts.h"

#include "kernels/backend.h"

namespace lockstep::cuda {

bool ChannelsLast::equals(const Layout& other) const {
  return dynamic_cast<const ChannelsLast*>(&other) != nullptr && other.n_bytes() == n_bytes_;
}

TensorDesc channels_last(const TensorDesc& desc) {
  if (desc.shape.rank() < 3 || desc.shape[1] == 1) return desc.dense();
  if (desc.n_elements() == desc.shape[0] * desc.shape[1]) return desc.dense();
  TensorDesc last = desc.dense();
  last.layout = std::make_shared<ChannelsLast>(last.n_bytes());
  return last;
}

bool is_channels_last(const TensorDesc& desc) { return desc.layout != nullptr; }

TensorDesc like_layout(const TensorDesc& like, const Shape& shape, DType dtype) {
  const TensorDesc desc{shape, dtype, nullptr};
  return is_channels_last(like) ? channels_last(desc) : desc;
}

std::shared_ptr<const Layout> ChannelsLast::with_shape(const Shape& shape, DType dtype) const {
  return channels_last({shape, dtype, nullptr}).layout;
}

ChannelView channel_view(const TensorDesc& desc) {
  const Shape& shape = desc.shape;
  ChannelView view{shape.rank() > 0 ? shape[0] : 1, shape.rank() > 1 ? shape[1] : 1, 1};
  for (int i = 2; i < shape.rank(); ++i) view.inner *= shape[i];
  if (is_channels_last(desc)) {
    view.outer *= view.inner;
    view.inner = 1;
  }
  return view;
}

ImageView image_view(const TensorDesc& desc) {
  const Shape& shape = desc.shape;
  const bool is_image = shape.rank() == 4;
  ImageView v{.n = shape[0], .c = shape[1], .h = is_image ? shape[2] : 1, .w = shape[is_image ? 3 : 2]};
  if (is_channels_last(desc)) {
    v.stride_c = 1;
    v.stride_w = v.c;
    v.stride_h = v.w * v.stride_w;
    v.stride_n = v.h * v.stride_h;
  } else {
    v.stride_w = 1;
    v.stride_h = v.w;
    v.stride_c = v.h * v.stride_h;
    v.stride_n = v.c * v.stride_c;
  }
  return v;
}

}  // namespace lockstep::cuda
