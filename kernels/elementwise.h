// Flat vector kernels over arena ranges (float32) and gradients. One pass each, fixed order, any n >= 0.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "kernels/device.h"
#include "kernels/dtype.h"

namespace lockstep {

/// dst = a + b. dst may be a or b.
void add(Stream& stream, int64_t n, const float* a, const float* b, float* dst);

/// Most partials of one add_chain: a micro-batch tree of 2^16 leaves.
constexpr size_t kMaxChain = 16;

/// dst = partials[0] + (partials[1] + ( … + last)): the closing chain of the micro-batch
/// tree in one pass. dst may be any of the inputs. At most 16 partials.
void add_chain(Stream& stream, int64_t n, std::span<const float* const> partials, const float* last,
               float* dst);

/// partials[0] = partials[0] + partials[1] + …, from the left, in float32: the gradient of a value with
/// several readers. dtype float32, bfloat16 or (GPUs) float16 (rounded once, at the end); all of one layout,
/// n_elements with its padding. No two overlap. At least one; one stays as it is.
void sum_gradients(Stream& stream, DType dtype, int64_t n_elements, std::span<void* const> partials);

/// dst[i] = value
void fill(Stream& stream, int64_t n, float value, float* dst);

/// Sum of squares in float64 over fixed chunks of 4096 elements, chunks added in order.
double sum_of_squares(Stream& stream, int64_t n, const float* src);

/// norm[0] = scale * the Euclidean norm of `values`; where that is above `most`, values *= most / (norm +
/// 1e-6) (PyTorch's clip_grad_norm_). Waits for nothing: `norm` is memory of Memory::on_host(), there when
/// the stream's work is done. A norm that is not finite changes nothing.
void clip_norm(Stream& stream, int64_t n, float* values, double scale, double most, double* norm);

/// values = min(max(values, -most), most); NaN stays.
void clip_values(Stream& stream, int64_t n, float* values, float most);

}  // namespace lockstep
