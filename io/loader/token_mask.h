// Tokens that a network is to guess (Devlin et al. 2019): which ones follows from the seed, the epoch and the
// sample alone.
#pragma once

#include <cstdint>

#include "kernels/dtype.h"

namespace lockstep {

/// Each token of a row is chosen with `probability`. Of the chosen ones 80 % become `mask`, 10 % any id of
/// [0, n_ids), and the others stay. As a target, tokens that were not chosen become -1, which counts nothing.
struct TokenMask {
  double probability = 0;
  int64_t mask = 0, n_ids = 0;
  bool is_target = false;

  bool is_on() const { return probability > 0; }
};

/// In place: the row of one sample, n ids of that type (int32 or int64).
void mask_tokens(const TokenMask& mask, uint64_t seed, int64_t epoch, int64_t sample, int64_t n, DType dtype,
                 void* ids);

}  // namespace lockstep
