// tar archives (POSIX.1-2017 pax, ustar, GNU): which files lie where in one. Contents stay in the archive and
// are read from there, by any thread.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace lockstep {

struct TarEntry {
  std::string name;  // as stored: folders by '/'
  int64_t offset = 0, n_bytes = 0;
};

/// The regular files of an archive, in its order; folders and links are passed over. `name` is what errors
/// show, where it differs from the path (an unpacked .tar.gz). Throws Error: no tar archive, cut short, a
/// header whose checksum does not fit, sparse files.
std::vector<TarEntry> list_tar(const std::string& path, const std::string& name = {});

}  // namespace lockstep
