#include "io/hdf5/compression.h"

#include <lz4.h>
#include <zstd.h>

#include <algorithm>
#include <climits>
#include <cstring>
#include <memory>
#include <vector>

#include "kernels/vectorize.h"

namespace lockstep {

namespace {

constexpr int64_t kFrameBytes = 12;  // the size and the size of a block

uint64_t big_endian(const std::byte* at, int n_bytes) {
  uint64_t value = 0;
  for (int i = 0; i < n_bytes; ++i) value = value << 8 | std::to_integer<uint64_t>(at[i]);
  return value;
}

bool decode_lz4_block(const std::byte* src, int64_t n_src, std::byte* dst, int64_t n_dst) {
  if (n_src > INT_MAX || n_dst > INT_MAX) return false;
  return LZ4_decompress_safe(reinterpret_cast<const char*>(src), reinterpret_cast<char*>(dst),
                             static_cast<int>(n_src), static_cast<int>(n_dst)) == n_dst;
}

/// The 8x8 bits of `x` with rows and columns exchanged: bit k of byte i becomes bit i of byte k (Warren,
/// Hacker's Delight, section 7-3).
LOCKSTEP_INLINE uint64_t transpose_bits(uint64_t x) {
  uint64_t t = (x ^ (x >> 7)) & 0x00AA00AA00AA00AAu;
  x ^= t ^ (t << 7);
  t = (x ^ (x >> 14)) & 0x0000CCCC0000CCCCu;
  x ^= t ^ (t << 14);
  t = (x ^ (x >> 28)) & 0x00000000F0F0F0F0u;
  return x ^ t ^ (t << 28);
}

/// One byte of every element: `bits` holds 8 rows of n / 8 bytes, row k bit k of all elements; byte i of dst
/// becomes that byte of element i.
LOCKSTEP_VECTORIZE void gather_bits(const std::byte* bits, int64_t n, std::byte* dst) {
  const int64_t n_groups = n / 8;
  const auto* rows = reinterpret_cast<const unsigned char*>(bits);
  for (int64_t g = 0; g < n_groups; ++g) {
    uint64_t x = 0;
    for (int k = 0; k < 8; ++k) x |= uint64_t{rows[k * n_groups + g]} << (8 * k);
    x = transpose_bits(x);
    std::memcpy(dst + 8 * g, &x, 8);
  }
}

template <int kBytes>
LOCKSTEP_INLINE void interleave(const std::byte* planes, int64_t n, std::byte* dst) {
  for (int64_t i = 0; i < n; ++i) {
    for (int b = 0; b < kBytes; ++b) dst[i * kBytes + b] = planes[b * n + i];
  }
}
LOCKSTEP_VECTORIZE void interleave2(const std::byte* planes, int64_t n, std::byte* dst) {
  interleave<2>(planes, n, dst);
}
LOCKSTEP_VECTORIZE void interleave4(const std::byte* planes, int64_t n, std::byte* dst) {
  interleave<4>(planes, n, dst);
}
LOCKSTEP_VECTORIZE void interleave8(const std::byte* planes, int64_t n, std::byte* dst) {
  interleave<8>(planes, n, dst);
}

/// n elements, a multiple of 8, back in their order.
void unshuffle_bits(const std::byte* src, int64_t n, int64_t element_bytes, std::byte* dst) {
  if (element_bytes == 1) return gather_bits(src, n, dst);
  thread_local std::vector<std::byte> planes;
  planes.resize(static_cast<size_t>(n * element_bytes));
  for (int64_t b = 0; b < element_bytes; ++b) gather_bits(src + b * n, n, planes.data() + b * n);
  switch (element_bytes) {
    case 2: return interleave2(planes.data(), n, dst);
    case 4: return interleave4(planes.data(), n, dst);
    case 8: return interleave8(planes.data(), n, dst);
    default:
      for (int64_t i = 0; i < n; ++i) {
        for (int64_t b = 0; b < element_bytes; ++b)
          dst[i * element_bytes + b] = planes[static_cast<size_t>(b * n + i)];
      }
  }
}

/// Blocks of about 8 KiB, as the filter chooses them where nobody says otherwise.
int64_t default_block(int64_t element_bytes) { return std::max<int64_t>(128, 8192 / element_bytes / 8 * 8); }

}  // namespace

bool decode_lzf(const std::byte* src, int64_t n_src, std::byte* dst, int64_t n_dst) {
  int64_t in = 0, out = 0;
  while (in < n_src) {
    const auto control = std::to_integer<int64_t>(src[in++]);
    if (control < 32) {  // a literal run
      const int64_t n = control + 1;
      if (in + n > n_src || out + n > n_dst) return false;
      std::memcpy(dst + out, src + in, static_cast<size_t>(n));
      in += n;
      out += n;
      continue;
    }
    int64_t n = control >> 5;
    if (n == 7) {
      if (in >= n_src) return false;
      n += std::to_integer<int64_t>(src[in++]);
    }
    n += 2;
    if (in >= n_src) return false;
    const int64_t back = ((control & 31) << 8) + std::to_integer<int64_t>(src[in++]) + 1;
    if (back > out || out + n > n_dst) return false;
    if (back >= n) {
      std::memcpy(dst + out, dst + out - back, static_cast<size_t>(n));
    } else {  // it repeats what it writes
      for (int64_t i = 0; i < n; ++i) dst[out + i] = dst[out + i - back];
    }
    out += n;
  }
  return out == n_dst;
}

int64_t framed_bytes(const std::byte* src, int64_t n_src) {
  if (n_src < kFrameBytes) return -1;
  const uint64_t n_bytes = big_endian(src, 8);
  return n_bytes > static_cast<uint64_t>(INT64_MAX) ? -1 : static_cast<int64_t>(n_bytes);
}

bool decode_lz4(const std::byte* src, int64_t n_src, std::byte* dst, int64_t n_dst) {
  if (framed_bytes(src, n_src) != n_dst) return false;
  const auto block_bytes = std::min(static_cast<int64_t>(big_endian(src + 8, 4)), n_dst);
  if (block_bytes == 0) return n_dst == 0;
  int64_t in = kFrameBytes;
  for (int64_t out = 0; out < n_dst;) {
    const int64_t n_block = std::min(block_bytes, n_dst - out);
    if (in + 4 > n_src) return false;
    const auto n_stored = static_cast<int64_t>(big_endian(src + in, 4));
    in += 4;
    if (n_stored > n_src - in) return false;
    if (n_stored == n_block) {  // it did not become smaller
      std::memcpy(dst + out, src + in, static_cast<size_t>(n_block));
    } else if (!decode_lz4_block(src + in, n_stored, dst + out, n_block)) {
      return false;
    }
    in += n_stored;
    out += n_block;
  }
  return true;
}

int64_t zstd_bytes(const std::byte* src, int64_t n_src) {
  const unsigned long long n = ZSTD_getFrameContentSize(src, static_cast<size_t>(n_src));
  return n == ZSTD_CONTENTSIZE_ERROR || n == ZSTD_CONTENTSIZE_UNKNOWN || n > INT64_MAX
             ? -1
             : static_cast<int64_t>(n);
}

bool decode_zstd(const std::byte* src, int64_t n_src, std::byte* dst, int64_t n_dst) {
  // Kept: making one costs as much as a small chunk.
  thread_local const std::unique_ptr<ZSTD_DCtx, size_t (*)(ZSTD_DCtx*)> context(ZSTD_createDCtx(),
                                                                                ZSTD_freeDCtx);
  if (!context) return false;
  const size_t n =
      ZSTD_decompressDCtx(context.get(), dst, static_cast<size_t>(n_dst), src, static_cast<size_t>(n_src));
  return !ZSTD_isError(n) && n == static_cast<size_t>(n_dst);
}

bool decode_bitshuffle(const BitshuffleSettings& settings, const std::byte* src, int64_t n_src,
                       std::byte* dst, int64_t n_dst) {
  using Codec = BitshuffleSettings::Codec;
  const int64_t element_bytes = settings.element_bytes;
  if (element_bytes < 1 || n_dst % element_bytes != 0) return false;
  const bool is_compressed = settings.codec != Codec::kNone;
  int64_t block = settings.block_elements > 0 ? settings.block_elements : default_block(element_bytes),
          in = 0;
  if (is_compressed) {
    if (framed_bytes(src, n_src) != n_dst) return false;
    block = static_cast<int64_t>(big_endian(src + 8, 4)) / element_bytes;
    in = kFrameBytes;
  } else if (n_src != n_dst) {
    return false;
  }
  if (block < 8 || block % 8 != 0) return false;

  thread_local std::vector<std::byte> bits;
  const int64_t n_elements = n_dst / element_bytes, n_shuffled = n_elements / 8 * 8;
  for (int64_t first = 0; first < n_shuffled; first += block) {
    const int64_t n = std::min(block, n_shuffled - first), n_bytes = n * element_bytes;
    std::byte* to = dst + first * element_bytes;
    if (!is_compressed) {
      unshuffle_bits(src + in, n, element_bytes, to);
      in += n_bytes;
      continue;
    }
    if (in + 4 > n_src) return false;
    const auto n_stored = static_cast<int64_t>(big_endian(src + in, 4));
    in += 4;
    if (n_stored > n_src - in) return false;
    if (static_cast<int64_t>(bits.size()) < n_bytes) bits.resize(static_cast<size_t>(n_bytes));
    const bool is_good = settings.codec == Codec::kLz4
                             ? decode_lz4_block(src + in, n_stored, bits.data(), n_bytes)
                             : decode_zstd(src + in, n_stored, bits.data(), n_bytes);
    if (!is_good) return false;
    unshuffle_bits(bits.data(), n, element_bytes, to);
    in += n_stored;
  }
  // What does not fill eight elements is stored as it is.
  const int64_t n_rest = (n_elements - n_shuffled) * element_bytes;
  if (in + n_rest != n_src) return false;
  if (n_rest > 0) std::memcpy(dst + n_shuffled * element_bytes, src + in, static_cast<size_t>(n_rest));
  return true;
}

}  // namespace lockstep
