// Decoders of the compressions that HDF5 files are written with beside deflate: lzf of h5py, and lz4, zstd
// and bitshuffle as the filters of hdf5plugin frame them. Any number of threads at a time. All return false
// where the bytes are damaged or do not give exactly n_dst bytes.
#pragma once

#include <cstddef>
#include <cstdint>

namespace lockstep {

/// LibLZF's format: a literal run or a reference back, one after the other.
bool decode_lzf(const std::byte* src, int64_t n_src, std::byte* dst, int64_t n_dst);
/// The filter 32004: the size (8 bytes) and the size of a block (4), then blocks behind their stored sizes
/// (4), all big-endian.
bool decode_lz4(const std::byte* src, int64_t n_src, std::byte* dst, int64_t n_dst);
/// The filter 32015: one frame.
bool decode_zstd(const std::byte* src, int64_t n_src, std::byte* dst, int64_t n_dst);

/// The filter 32008: bits of the same weight lie together, block by block; then each block is compressed or
/// not.
struct BitshuffleSettings {
  enum class Codec : uint8_t { kNone, kLz4, kZstd } codec = Codec::kNone;
  int64_t element_bytes = 1;
  int64_t block_elements = 0;  // 0: the filter's default; compressed data tell theirs themselves
};
bool decode_bitshuffle(const BitshuffleSettings& settings, const std::byte* src, int64_t n_src,
                       std::byte* dst, int64_t n_dst);

/// What comes out, as the first bytes of lz4's and of compressed bitshuffle's framing tell; -1: they do not.
int64_t framed_bytes(const std::byte* src, int64_t n_src);
/// The same for zstd.
int64_t zstd_bytes(const std::byte* src, int64_t n_src);

}  // namespace lockstep
