// Plain or gzip-compressed input files behind one random-access reader. The content decides
// (magic bytes 1f 8b), not the name: browsers like to unpack .gz files and keep the name.
#pragma once

#include <cstdint>
#include <string>

#include "io/files/files.h"

namespace lockstep {

/// True if the file starts as gzip does. Throws Error if it cannot be read.
bool is_gzip(const std::string& path);

/// Writes the uncompressed content of `source` (all members) to `destination`. Throws Error
/// naming `source` if it is truncated or its CRC does not fit.
void inflate_file(const std::string& source, const std::string& destination);

/// A regular file opened for reading at any position.
class InputFile {
 public:
  InputFile() = default;
  /// `name` is the path that errors show, where it differs (an unpacked .gz). Throws Error.
  explicit InputFile(const std::string& path, const std::string& name = {});

  int64_t n_bytes() const { return n_bytes_; }
  const std::string& name() const { return name_; }
  /// Bytes [offset, offset + n_bytes). Throws Error if the file ends earlier.
  void read(int64_t offset, void* dst, int64_t n_bytes) const { file_.read_at(dst, n_bytes, offset); }

 private:
  FileHandle file_;
  int64_t n_bytes_ = 0;
  std::string name_;
};

}  // namespace lockstep
