// Gradients that travel as bfloat16: half the bytes. They stay float32 in memory, but every value is one that
// bfloat16 can hold: what a micro-batch contributes is rounded, and so is every sum of two. As each node of
// the tree of sums rounds, wherever it is computed, the result does not depend on the number of ranks.
#pragma once

#include <cstdint>
#include <span>

#include "kernels/device.h"

namespace lockstep {

/// values = bfloat16(values), to the nearest, ties to even. residual (null: none) holds what rounding has
/// taken so far: it is added first, and what rounding takes now is left there (error feedback; Seide et al.,
/// "1-Bit Stochastic Gradient Descent", Interspeech 2014).
void round_to_bfloat16(Stream& stream, int64_t n, float* values, float* residual = nullptr);

/// add_chain() of elementwise.h whose every sum is rounded to bfloat16.
void add_chain_bfloat16(Stream& stream, int64_t n, std::span<const float* const> partials, const float* last,
                        float* dst);

/// The upper halves of n values that bfloat16 can hold, for the wire, and back.
void pack_bfloat16(Stream& stream, int64_t n, const float* values, uint16_t* packed);
void unpack_bfloat16(Stream& stream, int64_t n, const uint16_t* packed, float* values);
/// values = bfloat16(values + packed)
void add_packed_bfloat16(Stream& stream, int64_t n, const uint16_t* packed, float* values);

}  // namespace lockstep
