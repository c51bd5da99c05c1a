// Optimizer updates of whole parameters: by formulas of norm_formulas.h, and the limit on the norms of rows.
// Sums of squares are taken in float64 over chunks of 4096 elements from the parameter's begin, each in one
// fixed order, and added in order: the bits depend on the parameter alone, not on ranks or threads.
#pragma once

#include <span>

#include "kernels/device.h"
#include "kernels/norm_formulas.h"

namespace lockstep {

struct NormUpdate {
  float grad_scale = 1;    // the gradient is multiplied by it first
  float weight_decay = 0;  // the formula's
  double decoupled = 0;    // w -= decoupled w before all else
};

/// Bytes of `scratch` below for a parameter of n elements.
int64_t norm_update_scratch_bytes(int64_t n);

/// One parameter of n elements, arrays as in element_update.h. scratch: memory of the device.
void norm_update(Stream& stream, const NormUpdate& update, const LambFormula& formula, int64_t n,
                 const float* grad, float* weights, std::span<float* const> states, Memory& scratch);
void norm_update(Stream& stream, const NormUpdate& update, const LarsFormula& formula, int64_t n,
                 const float* grad, float* weights, std::span<float* const> states, Memory& scratch);

/// Each row of weights (rows, columns) whose Euclidean norm is above `most` times most / (norm + 1e-7), as
/// torch.renorm does; the others stay, bit for bit.
void limit_row_norms(Stream& stream, int64_t rows, int64_t columns, float most, float* weights);

/// The parts of a parameter over which sums are taken.
inline constexpr int64_t kNormChunk = 4096;

#define LOCKSTEP_NORM_SIBLINGS                                                                   \
  void norm_update(Stream&, const NormUpdate&, const LambFormula&, int64_t n, const float* grad, \
                   float* weights, std::span<float* const> states, double* scratch);             \
  void norm_update(Stream&, const NormUpdate&, const LarsFormula&, int64_t n, const float* grad, \
                   float* weights, std::span<float* const> states, double* scratch);             \
  void limit_row_norms(Stream&, int64_t rows, int64_t columns, float most, float* weights);
namespace cpu {
LOCKSTEP_NORM_SIBLINGS
}  // namespace cpu
namespace cuda {
LOCKSTEP_NORM_SIBLINGS
}  // namespace cuda
#undef LOCKSTEP_NORM_SIBLINGS

}  // namespace lockstep
