// A random permutation without a table. A position is a cell (row, column) of a near-square
// grid; each Feistel round adds a keyed hash of one coordinate to the other, modulo its
// extent, which is invertible whatever the hash. Cells beyond n_samples are walked: apply the
// network again until the cell is inside (Black and Rogaway 2002, "Ciphers with arbitrary
// finite domains"). The grid has at most about sqrt(n) spare cells, so walking is rare.
//
// The order is part of what a run reproduces: any change here changes every trained weight.
#include "io/sampler.h"

#include <array>
#include <cassert>
#include <cmath>

#include "kernels/random.h"

namespace lockstep {

namespace {

// Four rounds make a Feistel network pseudo-random (Luby and Rackoff 1988); the others are
// for small grids, where a round's hash has few values. Below kFewSamples all rounds are used.
constexpr int kRounds = 8, kMaxRounds = 16;
constexpr uint64_t kFewSamples = 1024;

struct OrderKeys {
  std::array<uint64_t, kMaxRounds> round;
  int n_rounds;
  uint64_t swapped_below;  // 2: cells 0 and 1 change places, else 0. All rounds are even
                           // permutations where an extent is odd; this reaches the odd ones.
};

OrderKeys order_keys(uint64_t seed, int64_t epoch, uint64_t n_samples) {
  OrderKeys keys;
  keys.n_rounds = n_samples < kFewSamples ? kMaxRounds : kRounds;
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
  keys.swapped_below = n_samples >= 2 && (words_of(kMaxRounds / 2)[0] & 1) ? 2 : 0;
  return keys;
}

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

inline uint64_t permute(uint64_t cell, const OrderKeys& keys, uint64_t n_rows, uint64_t n_columns) {
  uint64_t row, column;
  if (cell >> 32) {
    row = cell / n_columns;
    column = cell % n_columns;
  } else {  // 32-bit division is several times faster
    row = static_cast<uint32_t>(cell) / static_cast<uint32_t>(n_columns);
    column = static_cast<uint32_t>(cell) % static_cast<uint32_t>(n_columns);
  }
  for (int i = 0; i < keys.n_rounds; i += 2) {
    row = add_modulo(row, hash_below(column, keys.round[i], n_rows), n_rows);
    column = add_modulo(column, hash_below(row, keys.round[i + 1], n_columns), n_columns);
  }
  return row * n_columns + column;
}

}  // namespace

Sampler::Sampler(int64_t n_samples, uint64_t seed, bool shuffle)
    : n_samples_(n_samples), seed_(seed), shuffle_(shuffle) {
  assert(n_samples >= 1 && n_samples <= int64_t{1} << 62);
  const auto n = static_cast<uint64_t>(n_samples);
  // The integer square root, rounded up; the floating-point one only starts the search.
  uint64_t root = static_cast<uint64_t>(std::sqrt(static_cast<double>(n)));
  while (root * root < n) ++root;
  while (root > 1 && (root - 1) * (root - 1) >= n) --root;
  n_columns_ = root;
  n_rows_ = (n + root - 1) / root;
}

void Sampler::samples_at(int64_t epoch, int64_t first, int64_t count, int64_t* ids) const {
  assert(epoch >= 0 && first >= 0 && count >= 0 && first + count <= n_samples_);
  if (!shuffle_) {
    for (int64_t i = 0; i < count; ++i) ids[i] = first + i;
    return;
  }
  const auto n = static_cast<uint64_t>(n_samples_);
  const OrderKeys keys = order_keys(seed_, epoch, n);
  for (int64_t i = 0; i < count; ++i) {
    auto cell = static_cast<uint64_t>(first + i);
    do cell = permute(cell, keys, n_rows_, n_columns_);
    while (cell >= n);
    ids[i] = static_cast<int64_t>(cell ^ (cell < keys.swapped_below ? 1u : 0u));
  }
}

int64_t Sampler::sample_at(int64_t epoch, int64_t position) const {
  int64_t id;
  samples_at(epoch, position, 1, &id);
  return id;
}

}  // namespace lockstep
