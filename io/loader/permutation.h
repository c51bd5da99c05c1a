// A random permutation of [0, n) without a table. A position is a cell (row, column) of a near-square
// grid; each Feistel round adds a keyed hash of one coordinate to the other, modulo its extent, which is
// invertible whatever the hash. Cells beyond n are walked: apply the network again until the cell is
// inside (Black and Rogaway 2002, "Ciphers with arbitrary finite domains"). The grid has at most
// about sqrt(n) spare cells, so walking is rare.
#pragma once

#include <array>
#include <cstdint>

namespace lockstep {

class Permutation {
 public:
  /// n in [1, 2^62].
  explicit Permutation(int64_t n);

  struct Keys {
    static constexpr int kMaxRounds = 16;
    std::array<uint64_t, kMaxRounds> round;
    int n_rounds;
    uint64_t swapped_below;  // 2: 0 and 1 change places, else 0. All rounds are even permutations
                             // where an extent is odd; this reaches the odd ones.
  };
  /// Of the permutation that belongs to (seed, epoch).
  Keys keys(uint64_t seed, int64_t epoch) const;

  /// Where the permutation sends position, in [0, n); and back.
  int64_t apply(const Keys& keys, int64_t position) const;
  int64_t invert(const Keys& keys, int64_t image) const;
  int64_t n() const { return static_cast<int64_t>(n_); }

 private:
  uint64_t n_, n_rows_, n_columns_;  // of the grid
};

/// The seed of one of several permutations that belong to `seed`: that of `number`.
uint64_t derived_seed(uint64_t seed, uint64_t number);

}  // namespace lockstep
