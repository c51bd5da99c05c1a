// Arithmetic between two values, whose shapes may broadcast, and on each element of one.
// In the rows of padding (BatchContext) dst and every gradient are zero: there a logarithm or a
// quotient has no value.
#pragma once

#include <memory>
#include <vector>

#include "kernels/op.h"

namespace lockstep {

enum class Arithmetic : uint8_t { kAdd, kSubtract, kMultiply, kDivide };

struct BinaryDesc {
  Arithmetic arithmetic = Arithmetic::kMultiply;
  TensorDesc a, b;  // (N, …) each
};

/// The shape of a sample of dst by numpy's rules: shapes are aligned at their last axes, and an axis that is
/// absent or has extent 1 repeats. Throws Error where two extents differ.
Shape broadcast_shape(const Shape& a, const Shape& b);

/// An axis of dst and how far a step along it moves in a and b: 0 where that value repeats.
struct BroadcastAxis {
  int64_t extent, a_stride, b_stride;
};
/// The axes of dst in order, those of extent 1 left out; neighbours that advance alike are one axis.
std::vector<BroadcastAxis> broadcast_axes(const Shape& a, const Shape& b, const Shape& dst);

/// dst = a + b, a - b, a · b or a / b; dense on the CPU, channels-last on a GPU where a value of the rank of
/// dst is. The gradient of a value that repeats is the sum over its copies, in row-major order of the rest
/// (CPU: 16 running sums along the last axis, added as a tree; GPU: one thread, or a warp's or block's as a
/// tree).
std::unique_ptr<Op> make_binary(const OpConfig& config, const BinaryDesc& desc);

enum class Map : uint8_t { kScale, kShift, kPower, kAbsolute, kSquareRoot, kLog, kExp };

struct MapDesc {
  TensorDesc src;  // any shape
  Map map = Map::kScale;
  double parameter = 1;  // of scale, shift and power
};

/// dst = c x, x + c, x^c, |x|, √x, ln x or e^x, element by element. Keeps a layout by channels where
/// f(0) = 0, or nothing is padded. The derivative of |x| at 0 is 0.
std::unique_ptr<Op> make_map(const OpConfig& config, const MapDesc& desc);

}  // namespace lockstep
