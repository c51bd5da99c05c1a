// Numbers that fixtures of sequences and their tests both make from a name: tests/fixtures/make_fixtures.py.
#pragma once

#include <cstdint>
#include <string>

namespace lockstep {

/// splitmix64(fnv1a(name) + i) >> 40, which is below 2^24.
inline uint64_t fixture_bits(const std::string& name, int64_t i) {
  uint64_t state = 0xCBF29CE484222325u;
  for (const unsigned char c : name) state = (state ^ c) * 0x100000001B3u;
  uint64_t z = state + static_cast<uint64_t>(i) + 0x9E3779B97F4A7C15u;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
  return (z ^ (z >> 31)) >> 40;
}

}  // namespace lockstep
