// Plain files through POSIX calls that say what failed: every function throws Error with
// the path, the system's own text and, for a full disk or missing permission, the remedy.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace lockstep {

/// Throws Error{path, "<doing> failed: <text of error_number>", remedy}.
[[noreturn]] void throw_file_error(const std::string& path, const char* doing, int error_number);

/// An owned file descriptor.
class FileHandle {
 public:
  FileHandle() = default;
  /// open(2) with close-on-exec.
  FileHandle(const std::string& path, int flags, unsigned mode = 0666);
  /// A file in memory (memfd); path() opens it again within this process.
  static FileHandle in_memory(const char* name);
  ~FileHandle() { reset(); }
  FileHandle(FileHandle&& other) noexcept
      : fd_(std::exchange(other.fd_, -1)), path_(std::move(other.path_)) {}
  FileHandle& operator=(FileHandle&& other) noexcept;
  FileHandle(const FileHandle&) = delete;
  FileHandle& operator=(const FileHandle&) = delete;

  int fd() const { return fd_; }
  const std::string& path() const { return path_; }
  int64_t n_bytes() const;
  /// Reads exactly n_bytes at `offset`; a shorter file is an Error.
  void read_at(void* data, int64_t n_bytes, int64_t offset) const;
  void write_at(const void* data, int64_t n_bytes, int64_t offset);
  void resize(int64_t n_bytes);
  /// Waits until content and size are on the disk.
  void sync();
  /// Has the system begin to write these bytes to the disk, which it would otherwise put off. A hint:
  /// nothing is waited for or reported.
  void start_writing_out(int64_t offset, int64_t n_bytes) const;
  /// Sets aside room for `n_bytes` (and extends the file to that size), so that a full disk
  /// is met here and not halfway. Does nothing on file systems that cannot.
  void reserve(int64_t n_bytes);
  void reset();  // closes; quiet
  void close();  // throws

 private:
  int fd_ = -1;
  std::string path_;
};

/// Makes the names in a folder (a rename) durable.
void sync_folder(const std::string& folder);

/// Renames and makes the new name durable. Replaces `to`.
void rename_durably(const std::string& from, const std::string& to);

/// Readers see the old or the new file, never a part: temporary name beside it, sync, rename. `write` fills
/// the file; what it throws leaves the old one.
void write_file_atomically(const std::string& path, const std::function<void(FileHandle&)>& write);
/// The same of a text.
void write_text_file_atomically(const std::string& path, std::string_view text);

/// Throws Error where `path` exists and is not to be overwritten, is no regular file, or is one of `inputs`
/// (which are never written over). For commands, before they read anything large.
void check_output_file(const std::string& path, bool overwrite, const std::vector<std::string>& inputs = {});

/// Bytes that this process may still write to the file system of `folder`.
int64_t free_bytes(const std::string& folder);

/// The largest file that this process may write (ulimit -f).
int64_t file_size_limit();

}  // namespace lockstep
