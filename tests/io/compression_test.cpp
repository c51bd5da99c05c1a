// Decoders of lzf, lz4, zstd and bitshuffle against encoders of the libraries, or written down here from the
// formats; every cut and many flips of what they read must be refused or give as many bytes, and no byte
// more.
#include "io/hdf5/compression.h"

#include <gtest/gtest.h>
#include <lz4.h>
#include <zstd.h>

#include <cstring>
#include <functional>
#include <vector>

namespace lockstep {
namespace {

using Bytes = std::vector<std::byte>;
using Decode = std::function<bool(const std::byte*, int64_t, std::byte*, int64_t)>;

Bytes sample(int64_t n, int kind) {
  Bytes bytes(static_cast<size_t>(n));
  uint32_t random = 9;
  for (size_t i = 0; i < bytes.size(); ++i) {
    random = random * 1664525 + 1013904223;
    const uint32_t value = kind == 0 ? random >> 24 : kind == 1 ? i % 7 : i / 100;
    bytes[i] = static_cast<std::byte>(value);
  }
  return bytes;
}

void append(Bytes& to, uint64_t value, int n_bytes) {  // big-endian
  for (int i = n_bytes; i-- > 0;) to.push_back(static_cast<std::byte>(value >> (8 * i)));
}

Bytes lz4_of(const std::byte* src, int64_t n) {
  Bytes packed(static_cast<size_t>(LZ4_compressBound(static_cast<int>(n))));
  const int size =
      LZ4_compress_default(reinterpret_cast<const char*>(src), reinterpret_cast<char*>(packed.data()),
                           static_cast<int>(n), static_cast<int>(packed.size()));
  packed.resize(static_cast<size_t>(size));
  return packed;
}

Bytes zstd_of(const std::byte* src, int64_t n) {
  Bytes packed(ZSTD_compressBound(static_cast<size_t>(n)));
  packed.resize(ZSTD_compress(packed.data(), packed.size(), src, static_cast<size_t>(n), 3));
  return packed;
}

/// The framing of the filter 32004.
Bytes framed_lz4(const Bytes& content, int64_t block) {
  Bytes out;
  append(out, content.size(), 8);
  append(out, static_cast<uint64_t>(block), 4);
  for (size_t at = 0; at < content.size(); at += static_cast<size_t>(block)) {
    const auto n = static_cast<int64_t>(std::min(content.size() - at, static_cast<size_t>(block)));
    Bytes packed = lz4_of(content.data() + at, n);
    if (static_cast<int64_t>(packed.size()) >= n)
      packed.assign(content.begin() + at, content.begin() + at + n);
    append(out, packed.size(), 4);
    out.insert(out.end(), packed.begin(), packed.end());
  }
  return out;
}

/// Bit k of byte b of element i goes to bit i % 8 of byte (8 b + k) n / 8 + i / 8.
Bytes shuffled_bits(const std::byte* src, int64_t n, int64_t element_bytes) {
  Bytes out(static_cast<size_t>(n * element_bytes));
  for (int64_t i = 0; i < n; ++i)
    for (int64_t b = 0; b < element_bytes; ++b)
      for (int64_t k = 0; k < 8; ++k)
        if (std::to_integer<int>(src[i * element_bytes + b]) >> k & 1)
          out[static_cast<size_t>((8 * b + k) * (n / 8) + i / 8)] |= std::byte{1} << (i % 8);
  return out;
}

Bytes bitshuffled(const Bytes& content, const BitshuffleSettings& settings, int64_t block) {
  const bool packs = settings.codec != BitshuffleSettings::Codec::kNone;
  const int64_t size = settings.element_bytes, n_elements = static_cast<int64_t>(content.size()) / size;
  Bytes out;
  if (packs) {
    append(out, content.size(), 8);
    append(out, static_cast<uint64_t>(block * size), 4);
  }
  const int64_t n_shuffled = n_elements / 8 * 8;
  for (int64_t first = 0; first < n_shuffled; first += block) {
    const int64_t n = std::min(block, n_shuffled - first);
    Bytes bits = shuffled_bits(content.data() + first * size, n, size);
    if (packs) {
      bits = settings.codec == BitshuffleSettings::Codec::kLz4 ? lz4_of(bits.data(), n * size)
                                                               : zstd_of(bits.data(), n * size);
      append(out, bits.size(), 4);
    }
    out.insert(out.end(), bits.begin(), bits.end());
  }
  out.insert(out.end(), content.begin() + n_shuffled * size, content.end());
  return out;
}

/// The right content, from memory that ends where the bytes end; then cuts and flips.
void check(const Bytes& packed, const Bytes& content, const Decode& decode, const std::string& title) {
  constexpr size_t kGuard = 16;
  const auto run = [&](const Bytes& src) {
    Bytes dst(content.size() + kGuard, std::byte{0xA5});
    const bool is_good = decode(src.data(), static_cast<int64_t>(src.size()), dst.data(),
                                static_cast<int64_t>(content.size()));
    for (size_t i = content.size(); i < dst.size(); ++i) EXPECT_EQ(dst[i], std::byte{0xA5}) << title;
    return is_good && std::equal(content.begin(), content.end(), dst.begin());
  };
  EXPECT_TRUE(run(packed)) << title;
  for (size_t n = 0; n < packed.size(); n += 1 + packed.size() / 50)
    EXPECT_FALSE(run(Bytes(packed.begin(), packed.begin() + static_cast<int64_t>(n))))
        << title << " cut at " << n;
  for (size_t i = 0; i < packed.size(); i += 1 + packed.size() / 200) {
    Bytes flipped = packed;
    flipped[i] ^= std::byte{0x10};
    run(flipped);  // no write beyond the end
  }
  Bytes small(content.size() > 1 ? content.size() - 1 : 0);
  if (!content.empty()) {
    EXPECT_FALSE(decode(packed.data(), static_cast<int64_t>(packed.size()), small.data(),
                        static_cast<int64_t>(small.size())))
        << title;
  }
}

constexpr int64_t kSizes[] = {1, 7, 8, 64, 1000, 1023, 8192, 30000};

TEST(Compression, Lz4) {
  int n_checked = 0;
  for (const int64_t n : kSizes)
    for (int kind = 0; kind < 3; ++kind)
      for (const int64_t block : {int64_t{100}, int64_t{1} << 20}) {
        const Bytes content = sample(n, kind);
        check(framed_lz4(content, block), content, decode_lz4, "lz4 of " + std::to_string(n));
        ++n_checked;
      }
  EXPECT_EQ(n_checked, 48);
}

TEST(Compression, Zstd) {
  for (const int64_t n : kSizes)
    for (int kind = 0; kind < 3; ++kind) {
      const Bytes content = sample(n, kind), packed = zstd_of(content.data(), n);
      EXPECT_EQ(zstd_bytes(packed.data(), static_cast<int64_t>(packed.size())), n);
      check(packed, content, decode_zstd, "zstd of " + std::to_string(n));
    }
}

TEST(Compression, Bitshuffle) {
  using Codec = BitshuffleSettings::Codec;
  int n_checked = 0;
  for (const Codec codec : {Codec::kNone, Codec::kLz4, Codec::kZstd})
    for (const int64_t element_bytes : {1, 2, 3, 4, 8, 12})
      for (const int64_t n : {1, 7, 8, 65, 1000, 4099})
        for (const int64_t block :
             {int64_t{8}, int64_t{64}, std::max<int64_t>(128, 8192 / element_bytes / 8 * 8)}) {
          const BitshuffleSettings settings{codec, element_bytes,
                                            codec == Codec::kNone && block > 64 ? 0 : block};
          const Bytes content = sample(n * element_bytes, 2);
          const Bytes packed = bitshuffled(content, settings, block);
          const auto decode = [&](const std::byte* src, int64_t n_src, std::byte* dst, int64_t n_dst) {
            return decode_bitshuffle(settings, src, n_src, dst, n_dst);
          };
          check(packed, content, decode,
                "bitshuffle of " + std::to_string(n) + " x " + std::to_string(element_bytes));
          ++n_checked;
        }
  EXPECT_EQ(n_checked, 3 * 6 * 6 * 3);
}

TEST(Compression, Lzf) {
  // A literal run, a reference that repeats itself, one of more than 8 bytes, one far back.
  Bytes packed, content;
  const auto literal = [&](const Bytes& bytes) {
    packed.push_back(static_cast<std::byte>(bytes.size() - 1));
    packed.insert(packed.end(), bytes.begin(), bytes.end());
    content.insert(content.end(), bytes.begin(), bytes.end());
  };
  const auto reference = [&](int64_t back, int64_t n) {
    const int64_t offset = back - 1, length = n - 2;
    packed.push_back(static_cast<std::byte>(std::min<int64_t>(length, 7) << 5 | offset >> 8));
    if (length >= 7) packed.push_back(static_cast<std::byte>(length - 7));
    packed.push_back(static_cast<std::byte>(offset & 255));
    for (int64_t i = 0; i < n; ++i) content.push_back(content[content.size() - static_cast<size_t>(back)]);
  };
  literal(sample(32, 0));
  literal(sample(1, 0));
  reference(1, 20);
  reference(33, 3);
  reference(50, 264);
  for (int i = 0; i < 40; ++i) literal(sample(32, 0));
  reference(1500, 100);
  check(packed, content, decode_lzf, "lzf");
}

}  // namespace
}  // namespace lockstep
