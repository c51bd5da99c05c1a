// Ranges of elements, and the parts of a vector that ranks own.
#pragma once

#include <cstdint>
#include <vector>

namespace lockstep {

/// Elements [begin, end).
struct ElementRange {
  int64_t begin = 0, end = 0;
  int64_t n() const { return end - begin; }
  bool operator==(const ElementRange&) const = default;
};

/// Parts begin at multiples of so many elements, for wide loads and whole cache lines.
inline constexpr int64_t kPartAlignment = 16;

/// Part k of n_parts of n elements: nearly equal, the rest with the last; some are empty where n is small.
/// Empty for k >= n_parts.
inline ElementRange part_of(int64_t n, int k, int n_parts) {
  const auto border = [&](int p) {
    return p == n_parts ? n : n * p / n_parts / kPartAlignment * kPartAlignment;
  };
  return k < n_parts ? ElementRange{border(k), border(k + 1)} : ElementRange{n, n};
}

}  // namespace lockstep
