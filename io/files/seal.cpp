// Behind the HDF5 part of a file, little-endian:
//
//   n_ranges times {offset, n_bytes}, ascending    uint64 each
//   n_ranges, n_hdf5_bytes, header_hash            uint64 each
//   seal_hash                                      XXH3_64 of all of the above
//   magic "LOCKSEAL"
//
// header_hash is taken over every byte of [0, n_hdf5_bytes) outside the ranges.
#include "io/files/seal.h"

#include <fcntl.h>

#include <algorithm>
#include <cstring>

#include "io/files/checksum.h"
#include "io/files/files.h"
#include "kernels/error.h"

namespace lockstep {

namespace {

constexpr char kMagic[8] = {'L', 'O', 'C', 'K', 'S', 'E', 'A', 'L'};

struct Tail {
  uint64_t n_ranges = 0, n_hdf5_bytes = 0, header_hash = 0, seal_hash = 0;
  char magic[8] = {};
};
static_assert(sizeof(Tail) == 40 && sizeof(ContentRange) == 16);

uint64_t hash_outside(const FileHandle& file, const std::vector<ContentRange>& content,
                      int64_t n_hdf5_bytes) {
  ChunkedChecksum checksum;
  std::vector<char> buffer(static_cast<size_t>(std::min(ChunkedChecksum::kPieceBytes, n_hdf5_bytes)));
  for_each_outside(content, n_hdf5_bytes, [&](int64_t first, int64_t end) {
    for (int64_t n = 0; first < end; first += n) {
      n = std::min(ChunkedChecksum::kPieceBytes, end - first);
      file.read_at(buffer.data(), n, first);
      checksum.update(buffer.data(), n);
    }
  });
  return checksum.digest();
}

uint64_t hash_seal(const std::vector<ContentRange>& content, const Tail& tail) {
  ChunkedChecksum checksum;
  checksum.update(content.data(), static_cast<int64_t>(content.size() * sizeof(ContentRange)));
  checksum.update(&tail, offsetof(Tail, seal_hash));
  return checksum.digest();
}

/// Where HDF5's part of the file ends, as its superblock says (HDF5 File Format Specification, II.A;
/// addresses of 8 bytes); -1 for another file.
int64_t end_of_hdf5(const FileHandle& file) {
  constexpr char kSignature[8] = {'\x89', 'H', 'D', 'F', '\r', '\n', '\x1a', '\n'};
  char superblock[52];
  if (file.n_bytes() < static_cast<int64_t>(sizeof superblock)) return -1;
  file.read_at(superblock, sizeof superblock, 0);
  if (std::memcmp(superblock, kSignature, sizeof kSignature) != 0) return -1;
  const int version = superblock[8];
  int64_t end = -1;
  if (version <= 3) std::memcpy(&end, superblock + (version == 0 ? 40 : version == 1 ? 44 : 28), sizeof end);
  return end;
}

}  // namespace

void append_seal(const std::string& path, const std::vector<ContentRange>& content) {
  FileHandle file(path, O_RDWR);
  const int64_t n_hdf5_bytes = file.n_bytes();
  Tail tail;
  tail.n_ranges = content.size();
  tail.n_hdf5_bytes = static_cast<uint64_t>(n_hdf5_bytes);
  tail.header_hash = hash_outside(file, content, n_hdf5_bytes);
  tail.seal_hash = hash_seal(content, tail);
  std::memcpy(tail.magic, kMagic, sizeof kMagic);

  std::vector<char> seal(content.size() * sizeof(ContentRange) + sizeof tail);
  const size_t n_table_bytes = seal.size() - sizeof tail;
  if (n_table_bytes > 0) std::memcpy(seal.data(), content.data(), n_table_bytes);
  std::memcpy(seal.data() + n_table_bytes, &tail, sizeof tail);
  file.write_at(seal.data(), static_cast<int64_t>(seal.size()), n_hdf5_bytes);
  file.sync();
  file.close();
}

Seal check_seal(const std::string& path, const std::string& remedy) {
  const FileHandle file(path, O_RDONLY);
  const int64_t n_bytes = file.n_bytes();
  Tail tail;
  if (n_bytes < static_cast<int64_t>(sizeof tail)) return Seal::kNone;
  file.read_at(&tail, sizeof tail, n_bytes - static_cast<int64_t>(sizeof tail));
  if (std::memcmp(tail.magic, kMagic, sizeof kMagic) != 0) {
    const int64_t end = end_of_hdf5(file);
    return end >= 0 && n_bytes > end ? Seal::kBareTail : Seal::kNone;
  }

  const uint64_t n_before_tail = static_cast<uint64_t>(n_bytes) - sizeof tail;
  if (tail.n_ranges > n_before_tail / sizeof(ContentRange)) throw Error(path, "its seal is damaged", remedy);
  std::vector<ContentRange> content(tail.n_ranges);
  const uint64_t n_table_bytes = tail.n_ranges * sizeof(ContentRange);
  file.read_at(content.data(), static_cast<int64_t>(n_table_bytes),
               static_cast<int64_t>(n_before_tail - n_table_bytes));
  if (hash_seal(content, tail) != tail.seal_hash) throw Error(path, "its seal is damaged", remedy);
  if (tail.n_hdf5_bytes != n_before_tail - n_table_bytes) {
    throw Error(path, "its size does not agree with its seal: bytes were cut out or put in", remedy);
  }
  if (hash_outside(file, content, static_cast<int64_t>(tail.n_hdf5_bytes)) != tail.header_hash) {
    throw Error(path, "its header was changed after it was written", remedy);
  }
  return Seal::kWhole;
}

}  // namespace lockstep
