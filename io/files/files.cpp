// POSIX files. Short reads and writes are continued, EINTR is repeated, and close() is
// checked, because network file systems report a full disk there.
#include "io/files/files.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <limits>
#include <system_error>

#include "io/files/regular_file.h"
#include "kernels/error.h"

namespace lockstep {

namespace {

const char* remedy_of(int error_number) {
  switch (error_number) {
    case ENOSPC:
    case EDQUOT: return "free space on that file system, or choose another output folder (--out)";
    case EACCES:
    case EPERM:
    case EROFS: return "choose a folder that you may write to (--out), or correct its permissions";
    case EFBIG: return "raise the limit of file sizes (ulimit -f), or choose another file system (--out)";
    case EMFILE:
    case ENFILE: return "raise the limit of open files before the start: ulimit -n 4096";
    case ENOMEM:
    case ENOBUFS: return "leave more memory free on this host";
    case ENOENT:
    case ENOTDIR:
    case ELOOP:
      return "check the path: a file or folder on the way to it is missing, or is a link that leads nowhere";
    case EEXIST:
    case ENOTEMPTY:
    case EISDIR: return "choose another path, or move away what is there";
    case ENAMETOOLONG: return "choose a shorter path or name";
    case ESTALE:
    case ETIMEDOUT: return "see that the file server answers, then start again";
    case EIO: return "see to the disk or file server (dmesg tells more), or choose another folder";
    default: return "see that this file system is whole and keeps ordinary files, or choose another folder";
  }
}

int sync_descriptor(int fd) {
  int result = 0;
  do result = ::fsync(fd);
  while (result != 0 && errno == EINTR);
  return result;
}

}  // namespace

void throw_file_error(const std::string& path, const char* doing, int error_number) {
  throw Error(path, std::string(doing) + " failed: " + std::generic_category().message(error_number),
              remedy_of(error_number));
}

FileHandle::FileHandle(const std::string& path, int flags, unsigned mode) : path_(path) {
  // Opening a FIFO for reading waits for a writer unless it is told not to; regular files know no difference.
  const bool wants_regular = (flags & (O_ACCMODE | O_DIRECTORY)) == O_RDONLY;
  do fd_ = ::open(path.c_str(), flags | O_CLOEXEC | (wants_regular ? O_NONBLOCK : 0), mode);
  while (fd_ < 0 && errno == EINTR);
  const int error = errno;
  struct stat status = {};
  if (fd_ >= 0 && (!wants_regular || (::fstat(fd_, &status) == 0 && S_ISREG(status.st_mode)))) return;
  const bool is_open = fd_ >= 0;
  if (is_open) ::close(std::exchange(fd_, -1));
  if (wants_regular) require_regular_file(path);
  throw_file_error(path, (flags & O_CREAT) ? "creating" : "opening", is_open ? EINVAL : error);
}

FileHandle FileHandle::in_memory(const char* name) {
  FileHandle handle;
  handle.fd_ = ::memfd_create(name, MFD_CLOEXEC);
  if (handle.fd_ < 0) throw_file_error(name, "creating a file in memory", errno);
  handle.path_ = "/proc/self/fd/" + std::to_string(handle.fd_);
  return handle;
}

FileHandle& FileHandle::operator=(FileHandle&& other) noexcept {
  if (this != &other) {
    reset();
    fd_ = std::exchange(other.fd_, -1);
    path_ = std::move(other.path_);
  }
  return *this;
}

int64_t FileHandle::n_bytes() const {
  struct stat status;
  if (::fstat(fd_, &status) != 0) throw_file_error(path_, "asking for the size", errno);
  return status.st_size;
}

void FileHandle::read_at(void* data, int64_t n_bytes, int64_t offset) const {
  for (char* out = static_cast<char*>(data); n_bytes > 0;) {
    const ssize_t n = ::pread(fd_, out, static_cast<size_t>(n_bytes), offset);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) throw_file_error(path_, "reading", errno);
    if (n == 0) throw Error(path_, "ends before byte " + std::to_string(offset + n_bytes), "it is truncated");
    out += n;
    offset += n;
    n_bytes -= n;
  }
}

void FileHandle::write_at(const void* data, int64_t n_bytes, int64_t offset) {
  for (const char* in = static_cast<const char*>(data); n_bytes > 0;) {
    const ssize_t n = ::pwrite(fd_, in, static_cast<size_t>(n_bytes), offset);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) throw_file_error(path_, "writing", errno);
    in += n;
    offset += n;
    n_bytes -= n;
  }
}

void FileHandle::resize(int64_t n_bytes) {
  int result = 0;
  do result = ::ftruncate(fd_, n_bytes);
  while (result != 0 && errno == EINTR);
  if (result != 0) throw_file_error(path_, "resizing", errno);
}

void FileHandle::sync() {
  if (sync_descriptor(fd_) != 0) throw_file_error(path_, "syncing", errno);
}

void FileHandle::start_writing_out([[maybe_unused]] int64_t offset, [[maybe_unused]] int64_t n_bytes) const {
#ifdef SYNC_FILE_RANGE_WRITE
  ::sync_file_range(fd_, offset, n_bytes, SYNC_FILE_RANGE_WRITE);
#endif
}

void FileHandle::reserve(int64_t n_bytes) {
  if (n_bytes <= 0) return;
  // Not posix_fallocate: where the file system cannot, glibc would write every block.
  int result = 0;
  do result = ::fallocate(fd_, 0, 0, n_bytes);
  while (result != 0 && errno == EINTR);
  if (result == 0 || errno == EOPNOTSUPP || errno == ENOSYS || errno == EINVAL) return;
  throw_file_error(path_, "reserving space", errno);
}

void FileHandle::reset() {
  if (fd_ >= 0) ::close(std::exchange(fd_, -1));
}

void FileHandle::close() {
  // Interrupted or not, the descriptor is gone (close(2), Linux).
  if (fd_ >= 0 && ::close(std::exchange(fd_, -1)) != 0 && errno != EINTR)
    throw_file_error(path_, "closing", errno);
}

void sync_folder(const std::string& folder) {
  FileHandle handle(folder.empty() ? "." : folder, O_RDONLY | O_DIRECTORY);
  // Some network file systems refuse to sync a folder and need no such call.
  if (sync_descriptor(handle.fd()) != 0 && errno != EINVAL && errno != ENOTSUP) {
    throw_file_error(folder, "syncing the folder", errno);
  }
}

void rename_durably(const std::string& from, const std::string& to) {
  if (::rename(from.c_str(), to.c_str()) != 0) throw_file_error(to, "renaming to it", errno);
  sync_folder(std::filesystem::path(to).parent_path().string());
}

void write_file_atomically(const std::string& path, const std::function<void(FileHandle&)>& write) {
  const std::filesystem::path target(path);
  std::string temporary = (target.parent_path() / ".").string();
  temporary += target.filename().string();
  temporary += ".tmp";
  try {
    FileHandle file(temporary, O_WRONLY | O_CREAT | O_TRUNC);
    write(file);
    file.sync();
    file.close();
    rename_durably(temporary, path);
  } catch (...) {
    ::unlink(temporary.c_str());
    throw;
  }
}

void write_text_file_atomically(const std::string& path, std::string_view text) {
  write_file_atomically(
      path, [&](FileHandle& file) { file.write_at(text.data(), static_cast<int64_t>(text.size()), 0); });
}

void check_output_file(const std::string& path, bool overwrite, const std::vector<std::string>& inputs) {
  namespace fs = std::filesystem;
  std::error_code none;
  for (const std::string& input : inputs) {
    if (fs::equivalent(path, input, none))
      throw Error(path, "the output is the input " + input, "choose another --out");
  }
  struct stat status;
  if (::stat(path.c_str(), &status) != 0) {
    if (::lstat(path.c_str(), &status) == 0)
      throw Error(path, "is a link to a file that is not there", "choose another --out, or remove the link");
    return;
  }
  if (S_ISDIR(status.st_mode)) throw Error(path, "is a folder", "name a file in it (--out)");
  if (!S_ISREG(status.st_mode)) throw Error(path, "is no regular file", "choose another --out");
  if (!overwrite)
    throw Error(path, "the file exists already", "choose another --out, or replace it with --overwrite");
}

int64_t free_bytes(const std::string& folder) {
  struct statvfs status;
  int result = 0;
  do result = ::statvfs(folder.empty() ? "." : folder.c_str(), &status);
  while (result != 0 && errno == EINTR);
  if (result != 0) {
    throw_file_error(folder, "asking for the free space", errno);
  }
  return static_cast<int64_t>(status.f_bavail) * static_cast<int64_t>(status.f_frsize);
}

int64_t file_size_limit() {
  struct rlimit limit;
  constexpr auto kMost = std::numeric_limits<int64_t>::max();
  if (::getrlimit(RLIMIT_FSIZE, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) return kMost;
  return static_cast<int64_t>(std::min<rlim_t>(limit.rlim_cur, kMost));
}

}  // namespace lockstep
