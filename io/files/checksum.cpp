// Checksums of dataset content in 1 MiB pieces. The outer hash sees only the pieces' values,
// so its result does not depend on how the content was delivered.
#define XXH_INLINE_ALL
#include "io/files/checksum.h"

#include <xxhash.h>

#include <algorithm>
#include <bit>
#include <cassert>

namespace lockstep {

static_assert(std::endian::native == std::endian::little, "checksums and pread assume little-endian hosts");

struct ChunkedChecksum::Impl {
  XXH3_state_t piece, outer;
  int64_t n_in_piece = 0;

  Impl() {
    XXH3_64bits_reset(&piece);
    XXH3_64bits_reset(&outer);
  }
};

ChunkedChecksum::ChunkedChecksum() : impl_(std::make_unique<Impl>()) {}
ChunkedChecksum::~ChunkedChecksum() = default;
ChunkedChecksum::ChunkedChecksum(ChunkedChecksum&&) noexcept = default;
ChunkedChecksum& ChunkedChecksum::operator=(ChunkedChecksum&&) noexcept = default;

void ChunkedChecksum::update(const void* data, int64_t n_bytes) {
  Impl& s = *impl_;
  auto* bytes = static_cast<const unsigned char*>(data);
  while (n_bytes > 0) {
    if (s.n_in_piece == 0 && n_bytes >= kPieceBytes) {  // whole pieces need no inner state
      update_piece(piece_checksum(bytes, kPieceBytes));
      bytes += kPieceBytes;
      n_bytes -= kPieceBytes;
      continue;
    }
    const int64_t n = std::min(n_bytes, kPieceBytes - s.n_in_piece);
    XXH3_64bits_update(&s.piece, bytes, static_cast<size_t>(n));
    bytes += n;
    n_bytes -= n;
    s.n_in_piece += n;
    if (s.n_in_piece == kPieceBytes) {
      const uint64_t value = XXH3_64bits_digest(&s.piece);
      XXH3_64bits_reset(&s.piece);
      s.n_in_piece = 0;
      update_piece(value);
    }
  }
}

void ChunkedChecksum::update_piece(uint64_t piece) {
  assert(impl_->n_in_piece == 0);
  XXH3_64bits_update(&impl_->outer, &piece, sizeof piece);
}

uint64_t ChunkedChecksum::digest() const {
  const Impl& s = *impl_;
  if (s.n_in_piece == 0) return XXH3_64bits_digest(&s.outer);
  XXH3_state_t outer;
  XXH3_copyState(&outer, &s.outer);
  const uint64_t last = XXH3_64bits_digest(&s.piece);
  XXH3_64bits_update(&outer, &last, sizeof last);
  return XXH3_64bits_digest(&outer);
}

uint64_t piece_checksum(const void* data, int64_t n_bytes) {
  return XXH3_64bits(data, static_cast<size_t>(n_bytes));
}

Hash128 hash128(const void* data, int64_t n_bytes) {
  const XXH128_hash_t hash = XXH3_128bits(data, static_cast<size_t>(n_bytes));
  return {hash.low64, hash.high64};
}

}  // namespace lockstep
