// Only files with content of their own are read: opening or reading a FIFO or a device may never return.
#pragma once

#include <cstdint>
#include <string>

namespace lockstep {

/// Throws Error where `path` exists and is a folder, FIFO, socket or device. FileHandle asks it of what is
/// opened to be read only (folders with O_DIRECTORY apart).
void require_regular_file(const std::string& path);

/// The whole text of a regular file. Throws Error where it is none, cannot be read, or has more than
/// `most_bytes`.
std::string read_text_file(const std::string& path, int64_t most_bytes = int64_t{1} << 30);

}  // namespace lockstep
