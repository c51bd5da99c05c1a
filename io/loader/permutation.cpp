// The order of samples is part of what a run reproduces: any change here changes every trained weight.
#include "io/loader/permutation.h"

#include <cassert>
#include <cmath>

#include "kernels/random.h"

namespace lockstep {

namespace {

// Four rounds make a Feistel network pseudo-random (Luby and Rackoff 1988); the others are
// for small grids, where a round's hash has few values. Below kFew all rounds are used.
constexpr int kRounds = 8;
constexpr uint64_t kFew = 1024;

/// A value in [0, extent), uniform over keys.
inline uint64_t hash_below(uint64_t x, uint64_t key, uint64_t extent) {
  x = (x ^ key) * 0x9E3779B97F4A7C15u;
  x = (x ^ (x >> 32)) * 0xD6E8FEB86659FD93u;
  return static_cast<uint64_t>((static_cast<unsigned __int128>(x ^ (x >> 29)) * extent) >> 64);
}

inline uint64_t add_modulo(uint64_t a, uint64_t b, uint64_t extent) {
  const uint64_t sum = a + b;
  return sum >= extent ? sum - extent : sum;
}
inline uint64_t subtract_modulo(uint64_t a, uint64_t b, uint64_t extent) {
  return a >= b ? a - b : a + extent - b;
}

struct Cell {
  uint64_t row, column;
};
inline Cell cell_of(uint64_t number, uint64_t n_columns) {
  if (number >> 32) return {number / n_columns, number % n_columns};
  const auto low = static_cast<uint32_t>(number), columns = static_cast<uint32_t>(n_columns);
  return {low / columns, low % columns};  // 32-bit division is several times faster
}

}  // namespace

Permutation::Permutation(int64_t n) : n_(static_cast<uint64_t>(n)) {
  assert(n >= 1 && n <= int64_t{1} << 62);
  // The integer square root, rounded up; the floating-point one only starts the search.
  uint64_t root = static_cast<uint64_t>(std::sqrt(static_cast<double>(n_)));
  while (root * root < n_) ++root;
  while (root > 1 && (root - 1) * (root - 1) >= n_) --root;
  n_columns_ = root;
  n_rows_ = (n_ + root - 1) / root;
}

Permutation::Keys Permutation::keys(uint64_t seed, int64_t epoch) const {
  Keys keys;
  keys.n_rounds = n_ < kFew ? Keys::kMaxRounds : kRounds;
  const std::array<uint32_t, 2> key = {static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32)};
  const auto words_of = [&](uint32_t block) {
    return philox(key, {static_cast<uint32_t>(epoch), static_cast<uint32_t>(epoch >> 32),
                        static_cast<uint32_t>(RandomPurpose::kShuffle), block});
  };
  for (int i = 0; i < keys.n_rounds; i += 2) {
    const auto words = words_of(static_cast<uint32_t>(i / 2));
    keys.round[i] = words[0] | uint64_t{words[1]} << 32;
    keys.round[i + 1] = words[2] | uint64_t{words[3]} << 32;
  }
  keys.swapped_below = n_ >= 2 && (words_of(Keys::kMaxRounds / 2)[0] & 1) ? 2 : 0;
  return keys;
}

int64_t Permutation::apply(const Keys& keys, int64_t position) const {
  auto number = static_cast<uint64_t>(position);
  do {
    auto [row, column] = cell_of(number, n_columns_);
    for (int i = 0; i < keys.n_rounds; i += 2) {
      row = add_modulo(row, hash_below(column, keys.round[i], n_rows_), n_rows_);
      column = add_modulo(column, hash_below(row, keys.round[i + 1], n_columns_), n_columns_);
    }
    number = row * n_columns_ + column;
  } while (number >= n_);
  return static_cast<int64_t>(number ^ (number < keys.swapped_below ? 1u : 0u));
}

int64_t Permutation::invert(const Keys& keys, int64_t image) const {
  auto number = static_cast<uint64_t>(image);
  number ^= number < keys.swapped_below ? 1u : 0u;
  do {
    auto [row, column] = cell_of(number, n_columns_);
    for (int i = keys.n_rounds; i > 0; i -= 2) {
      column = subtract_modulo(column, hash_below(row, keys.round[i - 1], n_columns_), n_columns_);
      row = subtract_modulo(row, hash_below(column, keys.round[i - 2], n_rows_), n_rows_);
    }
    number = row * n_columns_ + column;
  } while (number >= n_);
  return static_cast<int64_t>(number);
}

uint64_t derived_seed(uint64_t seed, uint64_t number) {
  const std::array<uint32_t, 2> key = {static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32)};
  const auto words = philox(key, {static_cast<uint32_t>(number), static_cast<uint32_t>(number >> 32),
                                  static_cast<uint32_t>(RandomPurpose::kShuffle), 0xFFFFFFFFu});
  return words[0] | uint64_t{words[1]} << 32;
}

}  // namespace lockstep
