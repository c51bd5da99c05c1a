// zlib's gzread does the unpacking: it handles several members and checks every CRC. It
// takes an incomplete last member for the end of the file, so gzclose has the last word.
#include "io/files/gzip.h"

#include <fcntl.h>
#include <zlib.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <memory>
#include <system_error>
#include <vector>

#include "io/files/files.h"
#include "io/files/regular_file.h"
#include "kernels/error.h"

namespace lockstep {

namespace {

struct CloseFile {
  void operator()(std::FILE* file) const { std::fclose(file); }
};
struct CloseGzip {
  void operator()(gzFile_s* file) const { gzclose(file); }
};

}  // namespace

bool is_gzip(const std::string& path) {
  InputFile file(path);
  unsigned char magic[2];
  if (file.n_bytes() < 2) return false;
  file.read(0, magic, 2);
  return magic[0] == 0x1f && magic[1] == 0x8b;
}

void inflate_file(const std::string& source, const std::string& destination) {
  require_regular_file(source);
  std::unique_ptr<gzFile_s, CloseGzip> in(gzopen(source.c_str(), "rb"));
  if (!in)
    throw Error(source, std::string("cannot be opened: ") + std::strerror(errno),
                "check the path and its permissions");
  gzbuffer(in.get(), 1 << 18);
  std::unique_ptr<std::FILE, CloseFile> out(std::fopen(destination.c_str(), "wb"));
  if (!out)
    throw Error(destination, std::string("cannot be created: ") + std::strerror(errno),
                "choose a folder that you may write to (--out)");

  const std::string remedy = "fetch the file again; `gzip -t` tests it";
  std::vector<char> block(1 << 20);
  for (;;) {
    const int n = gzread(in.get(), block.data(), static_cast<unsigned>(block.size()));
    if (n < 0) {
      int code = 0;
      const std::string text = gzerror(in.get(), &code);
      throw Error(source, "is a damaged gzip file: " + text, remedy);
    }
    if (n == 0) break;
    if (std::fwrite(block.data(), 1, static_cast<size_t>(n), out.get()) != static_cast<size_t>(n))
      throw Error(destination, std::string("cannot be written: ") + std::strerror(errno),
                  "free some disk space");
  }
  if (gzclose(in.release()) != Z_OK) throw Error(source, "is a truncated gzip file", remedy);
  if (std::fclose(out.release()) != 0)
    throw Error(destination, std::string("cannot be written: ") + std::strerror(errno),
                "free some disk space");
}

InputFile::InputFile(const std::string& path, const std::string& name) : name_(name.empty() ? path : name) {
  std::error_code ignored;
  const std::filesystem::file_status status = std::filesystem::status(path, ignored);
  if (!std::filesystem::exists(status)) throw Error(name_, "does not exist", "check the path");
  if (!std::filesystem::is_regular_file(status))
    throw Error(name_, "is not a regular file", "check the path");
  file_ = FileHandle(path, O_RDONLY);
  n_bytes_ = file_.n_bytes();
}

}  // namespace lockstep
