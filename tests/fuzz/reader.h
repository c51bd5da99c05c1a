// Fuzzing: every reader of foreign bytes as one function of bytes. A reader may accept its input or throw
// lockstep::Error; anything else (another exception, a signal, a sanitizer's finding, too much memory or
// time) is a fault. The same functions run under libFuzzer (fuzzer_main.cpp) and, over the stored corpus,
// as a plain test (corpus_test.cpp).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "io/files/files.h"

namespace lockstep::fuzz {

struct Reader {
  std::string name;  // of its folder in corpus/
  void (*read)(std::string_view bytes);
};

/// In the reader's own source file: const bool registered = register_reader("csv", read_csv);
bool register_reader(const std::string& name, void (*read)(std::string_view bytes));
const std::vector<Reader>& readers();  // in name order
/// Null where there is none of that name.
const Reader* find_reader(const std::string& name);

/// Calls the reader. Error is one of its answers, if it says what is wrong.
void run(const Reader& reader, std::string_view bytes);

/// Bytes as a file in memory. Files are used again, since making one costs more than most readers do.
class MemoryFile {
 public:
  explicit MemoryFile(std::string_view bytes);
  ~MemoryFile();
  MemoryFile(const MemoryFile&) = delete;
  MemoryFile& operator=(const MemoryFile&) = delete;
  const std::string& path() const { return file_.path(); }

 private:
  FileHandle file_;
};

/// Takes decisions from the front of the input: a structured reader builds its file from them. At the end
/// of the input every decision is 0.
class Choices {
 public:
  explicit Choices(std::string_view bytes) : bytes_(bytes) {}
  bool empty() const { return bytes_.empty(); }
  uint8_t byte();
  /// In [0, n).
  int64_t below(int64_t n) { return byte() % n; }
  bool flag() { return byte() & 1; }
  uint64_t word();  // eight bytes
  /// Small most of the time, any 64 bits now and then.
  int64_t number();
  std::string_view take(size_t n_bytes);
  std::string_view rest() { return take(bytes_.size()); }

 private:
  std::string_view bytes_;
};

/// Runs `read` and goes on where it throws Error: for several calls on one damaged file.
template <typename Read>
void attempt(Read&& read);

/// Throws std::logic_error where an Error says nothing.
void check_error(const std::exception& error);

}  // namespace lockstep::fuzz

#include "kernels/error.h"

template <typename Read>
void lockstep::fuzz::attempt(Read&& read) {
  try {
    read();
  } catch (const Error& error) {
    check_error(error);
  }
}
