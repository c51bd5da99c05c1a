// ZIP archives (PKWARE's APPNOTE 6.3.10), as numpy.savez writes them: the table at the end says what is in
// it; entries are stored or deflated, of any size (ZIP64).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "io/files/gzip.h"

namespace lockstep {

class ZipFile {
 public:
  struct Entry {
    std::string name;
    int64_t n_bytes = 0, n_packed_bytes = 0;
    int64_t header = 0;  // its place in the file
    uint32_t crc = 0;
    uint16_t method = 0, flags = 0;
  };

  /// Throws Error: no ZIP archive, cut short, in several volumes.
  explicit ZipFile(const std::string& path);

  const std::string& name() const { return file_.name(); }
  const std::vector<Entry>& entries() const { return entries_; }
  /// Null where there is none of that name.
  const Entry* find(const std::string& name) const;

  /// Writes the content of an entry to a new file. Throws Error naming archive and entry: encrypted, packed
  /// by another method, damaged (its CRC is compared), or the disk is full.
  void extract(const Entry& entry, const std::string& destination) const;

 private:
  void read_table(int64_t begin, int64_t n_bytes, int64_t n_entries);

  InputFile file_;
  std::vector<Entry> entries_;  // in the table's order
};

}  // namespace lockstep
