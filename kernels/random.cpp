// RandomStream spreads (seed, purpose, major, minor, index) over the key and counter of
// Philox4x32-10: equal inputs give equal numbers, and two streams of one seed that differ in
// purpose, major or minor share no block.
#include "kernels/random.h"

#include <numbers>

namespace lockstep {

RandomStream::RandomStream(uint64_t seed, RandomPurpose purpose, uint32_t major, uint64_t minor)
    : key_(stream_key(seed, purpose, major)), base_(minor) {}

// counter = (minor, index / 4): exact. Words of one block are used in turn.
std::array<uint32_t, 4> RandomStream::block(uint64_t index) const {
  return philox(key_, {static_cast<uint32_t>(index), static_cast<uint32_t>(index >> 32),
                       static_cast<uint32_t>(base_), static_cast<uint32_t>(base_ >> 32)});
}

uint32_t RandomStream::bits(uint64_t index) const { return block(index / 4)[index % 4]; }

float RandomStream::uniform(uint64_t index) const { return static_cast<float>(bits(index) >> 8) * 0x1p-24f; }

// Box and Muller 1958: indices 2k and 2k + 1 are the cosine and sine of one pair. In float64,
// rounded once, so that the last bit of a float32 does not hang on the quality of libm.
float RandomStream::normal(uint64_t index) const {
  const std::array<uint32_t, 4> words = block(index / 4);
  const size_t pair = index % 4 / 2 * 2;
  const double u = (words[pair] + 1.0) * 0x1p-32;  // (0, 1]: the logarithm stays finite
  const double angle = 2.0 * std::numbers::pi * (words[pair + 1] * 0x1p-32);
  const double radius = std::sqrt(-2.0 * std::log(u));
  return static_cast<float>(radius * (index % 2 == 0 ? std::cos(angle) : std::sin(angle)));
}

}  // namespace lockstep
