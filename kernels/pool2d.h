// Max, average and weighted pooling over windows of an image or of a sequence.
#pragma once

#include <array>
#include <memory>
#include <vector>

#include "kernels/op.h"

namespace lockstep {

enum class Pooling : uint8_t { kMax, kAverage, kWeighted };

struct Pool2dDesc {
  TensorDesc src;  // (N, C, H, W), or (N, C, T): only the second entries of kernel … count
  Pooling pooling = Pooling::kMax;
  std::array<int64_t, 2> kernel{2, 2};
  std::array<int64_t, 2> stride{2, 2};
  std::array<int64_t, 4> padding{0, 0, 0, 0};  // top, bottom, left, right
  bool count_padding = false;                  // average: padding counts as zeros, and in the divisor
  bool ceil = false;                           // a last window may hang over the edge
  /// Average over P x Q windows that cover the image: [floor(p H / P), ceil((p + 1) H / P)), as PyTorch;
  /// kernel, stride and padding do not matter. 0: no.
  std::array<int64_t, 2> adaptive{0, 0};
  std::vector<float> weights = {};  // kWeighted: of the window, (kh, kw)
  bool normalize = true;            // kWeighted: divide by the sum of the weights that count
};

/// ceil: PyTorch's ceil_mode, where the last window must begin inside the image or before it.
int64_t pool_output_extent(int64_t extent, int64_t kernel, int64_t stride, int64_t pad_before,
                           int64_t pad_after, bool ceil);

/// dst (N, C, P, Q) or (N, C, Q). Max: the gradient goes to the first maximum of a window in row-major
/// order. Average: the divisor is the number of elements inside the image or, with count_padding, inside
/// the padded one. Windows may overlap.
std::unique_ptr<Op> make_pool2d(const OpConfig& config, const Pool2dDesc& desc);

}  // namespace lockstep
