// The checksum of a dataset's content: XXH3_64 over the 8-byte little-endian XXH3_64 values
// of its successive 1 MiB pieces (row-major elements, native little-endian bytes). Pieces
// are independent, so several threads or ranks may compute them. Stored in the attribute
// `checksum` as the int64 with the same bits.
#pragma once

#include <cstdint>
#include <memory>

namespace lockstep {

class ChunkedChecksum {
 public:
  static constexpr int64_t kPieceBytes = int64_t{1} << 20;

  ChunkedChecksum();
  ~ChunkedChecksum();
  ChunkedChecksum(ChunkedChecksum&&) noexcept;
  ChunkedChecksum& operator=(ChunkedChecksum&&) noexcept;

  /// Appends content; how it is cut into calls does not change the digest.
  void update(const void* data, int64_t n_bytes);
  /// Appends one piece by its own XXH3_64 value (of piece_checksum). All pieces but the last
  /// are kPieceBytes long. Only where update() has ended on a piece border.
  void update_piece(uint64_t piece);
  /// Of everything so far; may be asked for again after further updates.
  uint64_t digest() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// XXH3_64 of up to one piece.
uint64_t piece_checksum(const void* data, int64_t n_bytes);

/// XXH3_128 of any length.
struct Hash128 {
  uint64_t low, high;
};
Hash128 hash128(const void* data, int64_t n_bytes);

}  // namespace lockstep
