#include "kernels/cpu/channel_blocks.h"

#include <array>

#include "kernels/cpu/onednn.h"
#include "kernels/error.h"

namespace lockstep::cpu {

namespace {

using Tag = dnnl::memory::format_tag;

/// Tags of one family: rank 3 (N, C, W), 4 (N, C, H, W).
struct Family {
  Tag rank3, rank4;
  int64_t block;  // 0: all channels
};
constexpr std::array<Family, 5> kFamilies{{{Tag::nCw16c, Tag::nChw16c, 16},
                                           {Tag::nCw8c, Tag::nChw8c, 8},
                                           {Tag::nCw4c, Tag::nChw4c, 4},
                                           {Tag::nwc, Tag::nhwc, 0},
                                           {Tag::undef, Tag::Abcd16a, -1}}};  // by samples

MemoryDesc tagged(const Shape& shape, DType dtype, Tag tag) {
  return MemoryDesc({shape.begin(), shape.end()}, onednn_type(dtype), tag);
}

/// The family that `desc` belongs to; null for dense tensors and unknown layouts.
const Family* family_of(const TensorDesc& desc) {
  if (!desc.layout || desc.shape.rank() < 3 || desc.shape.rank() > 4) return nullptr;
  const MemoryDesc memory = to_onednn(desc);
  for (const Family& family : kFamilies) {
    const Tag tag = desc.shape.rank() == 3 ? family.rank3 : family.rank4;
    if (tag != Tag::undef && memory == tagged(desc.shape, desc.dtype, tag)) return &family;
  }
  return nullptr;
}

TensorDesc in_family(const Family& family, const Shape& shape, DType dtype) {
  return from_onednn(tagged(shape, dtype, shape.rank() == 3 ? family.rank3 : family.rank4), shape, dtype);
}

}  // namespace

std::optional<ChannelBlocks> channel_blocks(const TensorDesc& desc) {
  const Shape& shape = desc.shape;
  if (shape.rank() < 2) return std::nullopt;
  ChannelBlocks result{shape[0], shape[1], shape[1], 1, 1};
  for (int i = 2; i < shape.rank(); ++i) result.spatial *= shape[i];
  if (!desc.layout) return result;
  const Family* family = family_of(desc);
  if (family == nullptr || family->block < 0) return std::nullopt;
  result.block = family->block == 0 ? result.channels : family->block;
  result.blocks = (result.channels + result.block - 1) / result.block;
  return result;
}

TensorDesc like_layout(const TensorDesc& like, const Shape& shape) {
  const Family* family = family_of(like);
  if (family == nullptr || family->block < 0) return {shape, like.dtype, nullptr};
  return in_family(*family, shape, like.dtype);
}

TensorDesc with_dtype(const TensorDesc& desc, DType dtype) {
  if (!desc.layout || desc.dtype == dtype) return {desc.shape, dtype, desc.layout};
  if (const Family* family = family_of(desc)) return in_family(*family, desc.shape, dtype);
  if (const auto converted = with_type(to_onednn(desc), dtype)) {
    return from_onednn(*converted, desc.shape, dtype);
  }
  throw Error("cpu", "the layout " + desc.layout->name() + " has no form in " + std::string(name_of(dtype)),
              "reorder the tensor to a dense one first (make_reorder)");
}

}  // namespace lockstep::cpu
