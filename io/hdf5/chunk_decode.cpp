// Filters are undone in reverse order, from the bytes as stored back and forth between two buffers; the last
// one writes to dst. Sizes are known on the way: before a compression it is what the filters in front of it
// made of the chunk.
#include "io/hdf5/chunk_decode.h"

#include <zlib.h>

#include <cstring>

namespace lockstep {

namespace {

constexpr int64_t kChecksumBytes = 4;

/// A zlib stream that is kept: setting one up costs as much as a small chunk.
class Inflater {
 public:
  Inflater() : is_ready_(inflateInit(&stream_) == Z_OK) {}
  ~Inflater() {
    if (is_ready_) inflateEnd(&stream_);
  }
  Inflater(const Inflater&) = delete;
  Inflater& operator=(const Inflater&) = delete;

  /// All of src must give exactly n_dst bytes.
  bool run(const std::byte* src, int64_t n_src, std::byte* dst, int64_t n_dst) {
    if (!is_ready_ || inflateReset(&stream_) != Z_OK) return false;
    if (n_src > UINT32_MAX || n_dst > UINT32_MAX) return false;
    stream_.next_in = reinterpret_cast<Bytef*>(const_cast<std::byte*>(src));
    stream_.avail_in = static_cast<uInt>(n_src);
    stream_.next_out = reinterpret_cast<Bytef*>(dst);
    stream_.avail_out = static_cast<uInt>(n_dst);
    return inflate(&stream_, Z_FINISH) == Z_STREAM_END && stream_.avail_out == 0;
  }

 private:
  z_stream stream_ = {};
  bool is_ready_;
};

template <int64_t kBytes>
void unshuffle(const std::byte* src, std::byte* dst, int64_t n_elements) {
  for (int64_t i = 0; i < n_elements; ++i) {
    for (int64_t b = 0; b < kBytes; ++b) dst[i * kBytes + b] = src[b * n_elements + i];
  }
}

/// Byte b of element i lies at b * n_elements + i; what is left over after the last whole element stays.
void unshuffle(const std::byte* src, std::byte* dst, int64_t n_bytes, int64_t element_bytes) {
  const int64_t n_elements = n_bytes / element_bytes;
  switch (element_bytes) {
    case 2: unshuffle<2>(src, dst, n_elements); break;
    case 4: unshuffle<4>(src, dst, n_elements); break;
    case 8: unshuffle<8>(src, dst, n_elements); break;
    default: std::memcpy(dst, src, static_cast<size_t>(n_elements * element_bytes)); break;  // single bytes
  }
  const int64_t whole = n_elements * element_bytes;
  std::memcpy(dst + whole, src + whole, static_cast<size_t>(n_bytes - whole));
}

/// Fletcher's sums over big-endian 16-bit words, modulo 65535 with 65535 for a sum that is not zero but
/// congruent to it; an odd last byte is the upper half of a word.
uint32_t fletcher32(const std::byte* data, int64_t n_bytes) {
  const auto fold = [](uint64_t sum) {
    while (sum >> 16) sum = (sum & 0xFFFF) + (sum >> 16);
    return sum;
  };
  constexpr int64_t kWordsBetweenFolds = 1 << 16;  // sums stay far below 2^64
  uint64_t sum1 = 0, sum2 = 0;
  for (int64_t at = 0; at < n_bytes;) {
    for (int64_t k = 0; k < kWordsBetweenFolds && at < n_bytes; ++k, at += 2) {
      const auto low = at + 1 < n_bytes ? std::to_integer<uint64_t>(data[at + 1]) : 0;
      sum1 += std::to_integer<uint64_t>(data[at]) << 8 | low;
      sum2 += sum1;
    }
    sum1 = fold(sum1);
    sum2 = fold(sum2);
  }
  return static_cast<uint32_t>(sum2 << 16 | sum1);
}

bool decompress(const ChunkIndex& index, ChunkFilter filter, const std::byte* src, int64_t n_src,
                std::byte* dst, int64_t n_dst) {
  thread_local Inflater inflater;
  switch (filter) {
    case ChunkFilter::kDeflate: return inflater.run(src, n_src, dst, n_dst);
    case ChunkFilter::kLzf: return decode_lzf(src, n_src, dst, n_dst);
    case ChunkFilter::kLz4: return decode_lz4(src, n_src, dst, n_dst);
    case ChunkFilter::kZstd: return decode_zstd(src, n_src, dst, n_dst);
    case ChunkFilter::kBitshuffle: return decode_bitshuffle(index.bitshuffle, src, n_src, dst, n_dst);
    default: return false;
  }
}

}  // namespace

std::byte* ChunkScratch::decoded(const std::byte* src, int64_t n_bytes) {
  std::vector<std::byte>& buffer = src == between[0].data() ? between[1] : between[0];
  if (buffer.size() < static_cast<size_t>(n_bytes)) buffer.resize(static_cast<size_t>(n_bytes));
  return buffer.data();
}

bool decode_chunk(const ChunkIndex& index, const StoredChunk& chunk, ChunkScratch& scratch, std::byte* dst) {
  const auto is_on = [&](size_t i) { return !(chunk.filter_mask >> i & 1); };
  // Sizes before each filter, as far as they are known; at most one filter is a compression.
  const int64_t chunk_bytes = index.chunk_bytes();
  int64_t n_before_compression = chunk_bytes, n_left = 0;
  for (size_t i = 0; i < index.filters.size(); ++i) {
    if (!is_on(i)) continue;
    if (is_compression(index.filters[i], index)) break;
    if (index.filters[i] == ChunkFilter::kFletcher32) n_before_compression += kChecksumBytes;
  }
  for (size_t i = 0; i < index.filters.size(); ++i) n_left += is_on(i);

  const std::byte* src = scratch.stored.data();
  auto n_bytes = static_cast<int64_t>(chunk.n_bytes);
  for (size_t i = index.filters.size(); i-- > 0;) {
    if (!is_on(i)) continue;
    if (n_bytes == 0) return false;  // no filter makes something of nothing
    const bool is_last = --n_left == 0;
    switch (index.filters[i]) {
      case ChunkFilter::kFletcher32: {
        uint32_t expected = 0;
        n_bytes -= kChecksumBytes;
        if (n_bytes < 0) return false;
        std::memcpy(&expected, src + n_bytes, kChecksumBytes);
        if (fletcher32(src, n_bytes) != expected) return false;
        break;  // the bytes stay where they are
      }
      case ChunkFilter::kDeflate:
      case ChunkFilter::kLzf:
      case ChunkFilter::kLz4:
      case ChunkFilter::kZstd:
      case ChunkFilter::kBitshuffle: {
        const int64_t n_out = is_compression(index.filters[i], index) ? n_before_compression : n_bytes;
        if (is_last && n_out != chunk_bytes) return false;
        std::byte* to = is_last ? dst : scratch.decoded(src, n_out);
        if (!decompress(index, index.filters[i], src, n_bytes, to, n_out)) return false;
        src = to;
        n_bytes = n_out;
        break;
      }
      case ChunkFilter::kShuffle: {
        if (is_last && n_bytes != chunk_bytes) return false;
        std::byte* to = is_last ? dst : scratch.decoded(src, n_bytes);
        unshuffle(src, to, n_bytes, index.element_bytes);
        src = to;
        break;
      }
    }
  }
  if (n_bytes != chunk_bytes) return false;
  if (src != dst) std::memcpy(dst, src, static_cast<size_t>(n_bytes));
  return true;
}

}  // namespace lockstep
