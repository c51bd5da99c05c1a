// Counter-based random numbers (Philox4x32-10, Salmon et al. 2011): a number depends on its
// key and counter alone, so any rank or thread can draw it and the result is rank-free.
#pragma once

#include <array>
#include <cmath>
#include <cstdint>
#include <string_view>

namespace lockstep {

/// What a random number is for; keeps the streams of one seed apart.
enum class RandomPurpose : uint32_t {
  kInit = 1,
  kShuffle = 2,
  kDropout = 3,
  kAugment = 4,
  kSynthetic = 5,
  kSampling = 6,
  kMasking = 7
};

/// Four 32-bit words for (key, counter).
constexpr std::array<uint32_t, 4> philox(std::array<uint32_t, 2> key, std::array<uint32_t, 4> counter) {
  for (int round = 0; round < 10; ++round) {
    const uint64_t a = uint64_t{0xD2511F53u} * counter[0];
    const uint64_t b = uint64_t{0xCD9E8D57u} * counter[2];
    counter = {static_cast<uint32_t>(b >> 32) ^ counter[1] ^ key[0], static_cast<uint32_t>(b),
               static_cast<uint32_t>(a >> 32) ^ counter[3] ^ key[1], static_cast<uint32_t>(a)};
    key[0] += 0x9E3779B9u;
    key[1] += 0xBB67AE85u;
  }
  return counter;
}

/// A 64-bit mixer (Stafford 2011, variant 13): a bijection in which each input bit moves
/// about half of the output bits.
constexpr uint64_t mix_bits(uint64_t x) {
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
  return x ^ (x >> 31);
}

/// FNV-1a: a fixed 64-bit number for the name of a layer or parameter, as a key of random numbers.
constexpr uint64_t hash_name(std::string_view name) {
  uint64_t hash = 0xcbf29ce484222325u;
  for (const char c : name) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3u;
  return hash;
}

/// The key of Philox for (seed, purpose, major): for a given seed a bijection of the other two.
constexpr std::array<uint32_t, 2> stream_key(uint64_t seed, RandomPurpose purpose, uint32_t major) {
  const uint64_t stream = (uint64_t{static_cast<uint32_t>(purpose)} << 32) | major;
  const uint64_t key = mix_bits(mix_bits(seed + 0x9E3779B97F4A7C15u) ^ stream);
  return {static_cast<uint32_t>(key), static_cast<uint32_t>(key >> 32)};
}

/// A stream of numbers keyed by (seed, purpose, major, minor): for instance layer and
/// epoch, or step and sample id. `minor` may be any 64-bit id.
class RandomStream {
 public:
  RandomStream(uint64_t seed, RandomPurpose purpose, uint32_t major, uint64_t minor);

  uint32_t bits(uint64_t index) const;  // uniform over 32 bits
  float uniform(uint64_t index) const;  // [0, 1), 24 bits
  float normal(uint64_t index) const;   // mean 0, variance 1 (Box-Muller)

  std::array<uint32_t, 2> key() const { return key_; }  // of Philox, for loops over many blocks
  uint64_t minor() const { return base_; }

 private:
  std::array<uint32_t, 4> block(uint64_t index) const;
  std::array<uint32_t, 2> key_;
  uint64_t base_;
};

}  // namespace lockstep
