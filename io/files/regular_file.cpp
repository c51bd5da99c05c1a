#include "io/files/regular_file.h"

#include <fcntl.h>
#include <sys/stat.h>

#include "io/files/files.h"
#include "kernels/error.h"

namespace lockstep {

void require_regular_file(const std::string& path) {
  struct stat status;
  if (::stat(path.c_str(), &status) != 0 || S_ISREG(status.st_mode)) return;
  const char* kind = S_ISDIR(status.st_mode)    ? "a folder"
                     : S_ISFIFO(status.st_mode) ? "a named pipe (FIFO)"
                     : S_ISSOCK(status.st_mode) ? "a socket"
                                                : "a device";
  throw Error(path, std::string("is ") + kind + ", not a file",
              S_ISDIR(status.st_mode) ? "name a file in it" : "store the content in a regular file");
}

std::string read_text_file(const std::string& path, int64_t most_bytes) {
  const FileHandle file(path, O_RDONLY);
  const int64_t n_bytes = file.n_bytes();
  if (n_bytes > most_bytes)
    throw Error(
        path,
        "has " + std::to_string(n_bytes) + " bytes; at most " + std::to_string(most_bytes) + " are read",
        "see whether it is the file that is meant");
  std::string text(static_cast<size_t>(n_bytes), '\0');
  file.read_at(text.data(), n_bytes, 0);
  return text;
}

}  // namespace lockstep
