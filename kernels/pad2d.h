// Padding of images with pixels of their own, for convolutions that are not to meet zeros at the edge.
#pragma once

#include <array>
#include <memory>

#include "kernels/op.h"

namespace lockstep {

/// What lies beyond the edge of the row a b c d:
///   kZeros      0 0 | a b c d | 0 0    left to the convolution itself
///   kReflect    c b | a b c d | c b    less than the extent
///   kReplicate  a a | a b c d | d d
///   kCircular   c d | a b c d | a b    at most the extent
enum class PaddingMode : uint8_t { kZeros, kReflect, kReplicate, kCircular };

/// "zeros", "reflect", … as job files spell them.
const char* name_of(PaddingMode mode);
/// How many pixels one side can get where there are `extent`.
int64_t largest_padding(PaddingMode mode, int64_t extent);

struct Pad2dDesc {
  TensorDesc src;                              // (N, C, H, W)
  std::array<int64_t, 4> padding{0, 0, 0, 0};  // top, bottom, left, right
  PaddingMode mode = PaddingMode::kReflect;
};

/// dst (N, C, top + H + bottom, left + W + right). diff_src sums, for each pixel, the gradients of its
/// copies: rows from the top, in a row the left border, then the inside, then the right border.
std::unique_ptr<Op> make_pad2d(const OpConfig& config, const Pad2dDesc& desc);

}  // namespace lockstep
