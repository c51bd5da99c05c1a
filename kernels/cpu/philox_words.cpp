// See philox_words.h: eight blocks of Philox side by side. Only the low word of the block counter
// differs between lanes; a run that would carry out of it goes block by block.
#include "kernels/cpu/philox_words.h"

#include <algorithm>
#include <cassert>

#include "kernels/vectorize.h"

namespace lockstep::cpu {

namespace {

constexpr int kBlocks = 8;
constexpr uint32_t kMultiplier0 = 0xD2511F53u, kMultiplier1 = 0xCD9E8D57u;

/// 32 words from block (low, high) on. Short loops over arrays of eight become registers.
LOCKSTEP_VECTORIZE void eight_blocks(uint32_t key0, uint32_t key1, uint32_t low, uint32_t high,
                                     uint32_t minor0, uint32_t minor1, uint32_t* words) {
  uint32_t c0[kBlocks], c1[kBlocks], c2[kBlocks], c3[kBlocks];
  for (int i = 0; i < kBlocks; ++i) {
    c0[i] = low + static_cast<uint32_t>(i);
    c1[i] = high;
    c2[i] = minor0;
    c3[i] = minor1;
  }
#pragma GCC unroll 10
  for (int round = 0; round < 10; ++round) {
    uint32_t a_high[kBlocks], a_low[kBlocks], b_high[kBlocks], b_low[kBlocks];
    for (int i = 0; i < kBlocks; ++i) {
      a_high[i] = static_cast<uint32_t>(uint64_t{kMultiplier0} * c0[i] >> 32);
      a_low[i] = kMultiplier0 * c0[i];
    }
    for (int i = 0; i < kBlocks; ++i) {
      b_high[i] = static_cast<uint32_t>(uint64_t{kMultiplier1} * c2[i] >> 32);
      b_low[i] = kMultiplier1 * c2[i];
    }
    for (int i = 0; i < kBlocks; ++i) {
      c0[i] = b_high[i] ^ c1[i] ^ key0;
      c2[i] = a_high[i] ^ c3[i] ^ key1;
      c1[i] = b_low[i];
      c3[i] = a_low[i];
    }
    key0 += 0x9E3779B9u;
    key1 += 0xBB67AE85u;
  }
  for (int i = 0; i < kBlocks; ++i) {
    words[4 * i] = c0[i];
    words[4 * i + 1] = c1[i];
    words[4 * i + 2] = c2[i];
    words[4 * i + 3] = c3[i];
  }
}

}  // namespace

void philox_words(const RandomStream& stream, uint64_t first, int64_t n, uint32_t* words) {
  philox_words(stream.key(), stream.minor(), first, n, words);
}

void philox_words(std::array<uint32_t, 2> key, uint64_t minor, uint64_t first, int64_t n, uint32_t* words) {
  assert(first % 4 == 0);
  for (int64_t i = 0; i < n; i += 4 * kBlocks) {
    const uint64_t block = (first + static_cast<uint64_t>(i)) / 4;
    const uint32_t low = static_cast<uint32_t>(block), high = static_cast<uint32_t>(block >> 32);
    const uint32_t minor0 = static_cast<uint32_t>(minor), minor1 = static_cast<uint32_t>(minor >> 32);
    if (n - i >= 4 * kBlocks && low <= UINT32_MAX - kBlocks) {
      eight_blocks(key[0], key[1], low, high, minor0, minor1, words + i);
    } else {
      const int64_t end = std::min<int64_t>(n, i + 4 * kBlocks);
      for (int64_t j = i; j < end; j += 4) {
        const uint64_t at = (first + static_cast<uint64_t>(j)) / 4;
        const std::array<uint32_t, 4> four =
            philox(key, {static_cast<uint32_t>(at), static_cast<uint32_t>(at >> 32), minor0, minor1});
        std::copy_n(four.begin(), std::min<int64_t>(4, end - j), words + j);
      }
    }
  }
}

}  // namespace lockstep::cpu
