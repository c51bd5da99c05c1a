// Image files as rows of a dataset: decoded by all cores of the rank, resized, (C, H, W). A file that cannot
// be read does not end the work: all of them are reported together.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <vector>

#include "comm/communicator.h"
#include "io/dataset/dataset.h"
#include "io/files/gzip.h"
#include "kernels/error.h"

namespace lockstep {

/// Where an image lies that is no file of its own.
struct ImagePlace {
  int64_t archive = 0, offset = 0, n_bytes = 0;
};

class ImageRows {
 public:
  struct Options {
    std::string folder;             // of the files; empty: they have paths of their own
    int64_t channels = 3;           // 1: grey, 3: RGB
    int64_t height = 0, width = 0;  // of the rows; 0: not known yet
    bool resizes = false;           // else files of another size are errors
    int64_t bits = 8;               // of the rows: 8: uint8, 16: int32 of 0 … 65535
    bool may_scale = true;          // 16 bits in a file to 8; else find_bits() decides
  };
  ImageRows(Options options, std::vector<std::string> files, const Communicator& comm);
  /// Files within archives: `places`, one per file, names one of `archives` (paths).
  ImageRows(Options options, std::vector<std::string> files, std::vector<std::string> archives,
            std::vector<ImagePlace> places, const Communicator& comm);
  ~ImageRows();

  int64_t n_rows() const { return static_cast<int64_t>(files_.size()); }
  const std::vector<std::string>& files() const { return files_; }
  Field field() const;

  /// Collective. Decides options.bits where the files do: 16 if any holds 16 bits.
  void find_bits(Communicator& comm);
  /// Collective. Decodes every file and forgets those that cannot be read; returns their rows, ascending, and
  /// their errors.
  std::vector<std::pair<int64_t, std::string>> drop_damaged(Communicator& comm);
  /// Collective. Takes height and width from the first file, where they are not given.
  void find_size(Communicator& comm);

  /// Copies the rows, of field(), to dst. Rows of files that cannot be read stay as they are, for check().
  void read(std::span<const int64_t> rows, std::byte* dst);
  /// Collective, after the rows were read: throws one AgreedError that names all files that could not be
  /// read.
  void check(Communicator& comm) const;

 private:
  class Reader;
  template <typename Work>
  void for_each(int64_t n, const Work& work);  // work(reader, i) on all threads
  /// What errors show.
  std::string path_of(int64_t row) const;
  /// The file's first bytes, up to n_most; all of them by default.
  void fetch(int64_t row, std::vector<uint8_t>& content, int64_t n_most = INT64_MAX) const;
  void keep_failure(int64_t row, const Error& error);
  std::map<int64_t, std::string> all_failures(Communicator& comm) const;

  Options options_;
  std::vector<std::string> files_;
  std::vector<InputFile> archives_;
  std::vector<ImagePlace> places_;  // one per file, or none
  std::vector<std::unique_ptr<Reader>> readers_;
  std::mutex mutex_;
  std::map<int64_t, Error> failures_;  // by row, of this rank
};

}  // namespace lockstep
