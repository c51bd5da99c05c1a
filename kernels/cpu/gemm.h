// The float32 matrix product of this folder: oneDNN's, whose sums do not depend on the thread count.
#pragma once

#include <dnnl.h>

#include <cstdint>

#include "kernels/cpu/onednn.h"

namespace lockstep::cpu {

/// So many floats that the next array begins at a multiple of 64 bytes.
inline int64_t padded_floats(int64_t n) { return (n + 15) / 16 * 16; }

/// c (m, n) = op(a) · op(b), all dense row-major; op transposes where the letter is 'T'.
inline void multiply(char op_a, char op_b, int64_t m, int64_t n, int64_t k, const float* a, const float* b,
                     float* c) {
  check(dnnl_sgemm(op_a, op_b, m, n, k, 1.0f, a, op_a == 'N' ? k : m, b, op_b == 'N' ? n : k, 0.0f, c, n),
        "dnnl_sgemm");
}

}  // namespace lockstep::cpu
