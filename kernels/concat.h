// Joining tensors along an axis, and cutting one: both only move runs of elements.
#pragma once

#include <memory>
#include <vector>

#include "kernels/op.h"

namespace lockstep {

struct ConcatDesc {
  std::vector<TensorDesc> src;  // shapes equal but for `axis`
  int axis = 1;                 // of the tensor, not of a sample: 1 is channels
};

/// dst: the sources one behind the other along `axis`. Keeps a layout by channels where it can: along
/// channels, every part but the last must fill whole blocks.
std::unique_ptr<Op> make_concat(const OpConfig& config, const ConcatDesc& desc);

struct SliceDesc {
  TensorDesc src;
  int axis = 1;
  int64_t begin = 0, end = 0;
};

/// dst: elements [begin, end) along `axis`; in the layout of src where that has the cut between its
/// blocks. diff_src is zero outside.
std::unique_ptr<Op> make_slice(const OpConfig& config, const SliceDesc& desc);

}  // namespace lockstep
