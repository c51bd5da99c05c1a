// Numbers that fixtures of sequences and their tests both make from a name (tests/fixtures/make_fixtures.py),
// and those that Python wrote.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <string>
#include <vector>

#include "io/formats/safetensors.h"

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

/// A file of tests/fixtures.
inline SafetensorsFile fixture_file(const std::string& file) {
  return SafetensorsFile(std::string(LOCKSTEP_SOURCE_DIR) + "/tests/fixtures/" + file);
}

/// One of its tensors, as float32; the test fails where there is none.
inline std::vector<float> fixture_values(const std::string& file, const std::string& name) {
  const SafetensorsFile from = fixture_file(file);
  for (const SafetensorsEntry& entry : from.entries()) {
    if (entry.name != name) continue;
    std::vector<float> values(static_cast<size_t>(entry.shape.n_elements()));
    from.read(entry, values.data());
    return values;
  }
  ADD_FAILURE() << file << " lacks " << name;
  return {};
}

}  // namespace lockstep
