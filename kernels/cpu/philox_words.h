// The words of a RandomStream (random.h), many at a time.
#pragma once

#include "kernels/random.h"

namespace lockstep::cpu {

/// words[i] = stream.bits(first + i) for i < n; `first` is a multiple of 4.
void philox_words(const RandomStream& stream, uint64_t first, int64_t n, uint32_t* words);

}  // namespace lockstep::cpu
