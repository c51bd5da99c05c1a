// The words of a RandomStream (random.h), many at a time.
#pragma once

#include <array>

#include "kernels/random.h"

namespace lockstep::cpu {

/// words[i] = stream.bits(first + i) for i < n; `first` is a multiple of 4.
void philox_words(const RandomStream& stream, uint64_t first, int64_t n, uint32_t* words);
/// The same of the stream with that key and minor.
void philox_words(std::array<uint32_t, 2> key, uint64_t minor, uint64_t first, int64_t n, uint32_t* words);

}  // namespace lockstep::cpu
