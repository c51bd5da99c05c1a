// Naive concatenation and slices of dense arrays, element by element through coordinates.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/shape.h"

namespace lockstep::reference {

/// Row-major position of the element at `at`.
inline int64_t position(const Shape& shape, const std::vector<int64_t>& at) {
  int64_t result = 0;
  for (int i = 0; i < shape.rank(); ++i) result = result * shape[i] + at[static_cast<size_t>(i)];
  return result;
}

/// Calls visit(coordinates) for every element in row-major order.
template <typename Visit>
void for_each_element(const Shape& shape, const Visit& visit) {
  std::vector<int64_t> at(static_cast<size_t>(shape.rank()), 0);
  for (int64_t n = shape.n_elements(); n > 0; --n) {
    visit(at);
    for (int i = shape.rank() - 1; i >= 0 && ++at[static_cast<size_t>(i)] == shape[i]; --i)
      at[static_cast<size_t>(i)] = 0;
  }
}

/// Elements [begin, begin + part[axis]) of `whole` along `axis`.
inline std::vector<double> slice(const Shape& whole, const std::vector<double>& values, const Shape& part,
                                 int axis, int64_t begin) {
  std::vector<double> result;
  for_each_element(part, [&](std::vector<int64_t> at) {
    at[static_cast<size_t>(axis)] += begin;
    result.push_back(values[static_cast<size_t>(position(whole, at))]);
  });
  return result;
}

/// Writes `part` into `whole`, from `begin` on along `axis`.
inline void paste(const Shape& part, const std::vector<double>& values, int axis, int64_t begin,
                  const Shape& whole, std::vector<double>& result) {
  size_t next = 0;
  for_each_element(part, [&](std::vector<int64_t> at) {
    at[static_cast<size_t>(axis)] += begin;
    result[static_cast<size_t>(position(whole, at))] = values[next++];
  });
}

}  // namespace lockstep::reference
