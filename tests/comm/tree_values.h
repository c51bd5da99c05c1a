// Test data and the judge of the fixed tree: deterministic values over many magnitudes (so
// that another order of additions changes bits) and the tree sum written as its definition.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

namespace lockstep::testing_support {

/// Value i of leaf `leaf` (a rank or a micro-batch), in (-128, 128).
template <typename T>
T value_of(int leaf, int64_t i) {
  uint64_t x = (uint64_t(leaf) << 40) ^ uint64_t(i) ^ 0x9e3779b97f4a7c15u;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  x ^= x >> 31;
  const double unit = double(int64_t(x >> 11)) / double(int64_t{1} << 52) - 1.0;  // [-1, 1)
  return T(std::ldexp(unit, int(x & 15) - 8));
}

template <typename T>
std::vector<T> vector_of(int leaf, int64_t n) {
  std::vector<T> values(static_cast<size_t>(n));
  for (int64_t i = 0; i < n; ++i) values[size_t(i)] = value_of<T>(leaf, i);
  return values;
}

/// The tree over leaves [first, first + count): sum of the left group + sum of the right group, where the
/// left group is the largest power of two below count.
template <typename T>
std::vector<T> tree_sum(int first, int count, int64_t n) {
  if (count == 1) return vector_of<T>(first, n);
  const int n_left = int(std::bit_floor(unsigned(count - 1)));
  std::vector<T> left = tree_sum<T>(first, n_left, n);
  const std::vector<T> right = tree_sum<T>(first + n_left, count - n_left, n);
  for (size_t i = 0; i < left.size(); ++i) left[i] = left[i] + right[i];
  return left;
}

/// A value that bfloat16 can hold: the nearest, ties to even.
inline float to_bfloat16(float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  return std::bit_cast<float>((bits + 0x7FFFu + ((bits >> 16) & 1u)) & 0xFFFF0000u);
}

/// vector_of() and tree_sum() with leaves and sums as bfloat16 has them.
inline std::vector<float> rounded_vector_of(int leaf, int64_t n) {
  std::vector<float> values = vector_of<float>(leaf, n);
  for (float& value : values) value = to_bfloat16(value);
  return values;
}
inline std::vector<float> rounded_tree_sum(int first, int count, int64_t n) {
  if (count == 1) return rounded_vector_of(first, n);
  const int n_left = int(std::bit_floor(unsigned(count - 1)));
  std::vector<float> left = rounded_tree_sum(first, n_left, n);
  const std::vector<float> right = rounded_tree_sum(first + n_left, count - n_left, n);
  for (size_t i = 0; i < left.size(); ++i) left[i] = to_bfloat16(left[i] + right[i]);
  return left;
}

template <typename T>
bool same_bits(const std::vector<T>& a, const std::vector<T>& b) {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0);
}

}  // namespace lockstep::testing_support
