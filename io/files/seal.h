// The seal behind an HDF5 file, where HDF5 does not look: the ranges of the datasets' content, and a hash of
// every other byte. It is checked before HDF5 parses anything, because HDF5 can crash or loop for ever on
// damaged structures. Content has checksums of its own. HDF5 cuts the seal off when it writes to the file,
// so that what other programs change has none.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace lockstep {

/// Bytes [offset, offset + n_bytes) of the file that hold a dataset's content.
struct ContentRange {
  uint64_t offset = 0, n_bytes = 0;
};

/// Calls visit(first, end) for every range of bytes of [0, n_bytes) outside `content`, which
/// is ascending.
template <typename Visit>
void for_each_outside(const std::vector<ContentRange>& content, int64_t n_bytes, Visit&& visit) {
  int64_t first = 0;
  for (const ContentRange& range : content) {
    if (static_cast<int64_t>(range.offset) > first) visit(first, static_cast<int64_t>(range.offset));
    first = static_cast<int64_t>(range.offset + range.n_bytes);
  }
  if (n_bytes > first) visit(first, n_bytes);
}

/// Appends the seal to a closed HDF5 file and syncs it. `content` is ascending.
void append_seal(const std::string& path, const std::vector<ContentRange>& content);

/// kBareTail: bytes behind HDF5's end that are no seal. A seal that was damaged looks so, too.
enum class Seal { kNone, kWhole, kBareTail };

/// Throws Error{path, …, remedy} where the file does not agree with its seal, or cannot be read.
Seal check_seal(const std::string& path, const std::string& remedy);

}  // namespace lockstep
