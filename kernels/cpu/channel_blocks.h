// Layouts by channels, seen by loops that treat each channel alike (norms, sums, concatenation):
// memory is (samples, blocks, spatial, block), and channel c is lane c % block of block
// c / block. One form covers dense (N, C, H, W) with block 1, nChw8c and nChw16c, and
// channels-last with one block of C.
#pragma once

#include <optional>

#include "kernels/tensor.h"

namespace lockstep::cpu {

struct ChannelBlocks {
  int64_t samples = 0;   // N
  int64_t channels = 0;  // C, without the padding of the last block
  int64_t blocks = 0;    // ceil(C / block)
  int64_t spatial = 0;   // product of the extents behind C; 1 for (N, C)
  int64_t block = 1;     // channels side by side

  int64_t sample_stride() const { return blocks * spatial * block; }  // elements
  int64_t n_elements() const { return samples * sample_stride(); }    // padding included
};

/// The blocks of a tensor (N, C, …), or nothing for a layout that is not of this form (blocked
/// by samples, feature-major): the op then asks for the dense tensor.
std::optional<ChannelBlocks> channel_blocks(const TensorDesc& desc);

/// A tensor of another shape (N, C', …), of the same rank, in the layout family of `like` (dense,
/// nChw8c, nChw16c or channels-last).
TensorDesc like_layout(const TensorDesc& like, const Shape& shape);

/// The same tensor as another type, blocked alike.
TensorDesc with_dtype(const TensorDesc& desc, DType dtype);

}  // namespace lockstep::cpu
