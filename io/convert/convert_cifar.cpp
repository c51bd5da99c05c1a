// CIFAR's binary batches -> shards. A record is one label (CIFAR-10), or a coarse and a fine one (CIFAR-100),
// and 3,072 bytes: the red, green and blue plane of 32 x 32 pixels (the data set's page, "Binary version").
#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <memory>

#include "comm/agreement.h"
#include "io/convert/convert_rows.h"
#include "io/files/gzip.h"
#include "kernels/error.h"

namespace lockstep {

namespace fs = std::filesystem;

namespace {

constexpr int64_t kCifarImageBytes = 3 * 32 * 32;

/// The batches of a folder's part, or the files themselves.
std::vector<std::string> cifar_files(const CifarOptions& options) {
  if (options.paths.empty())
    throw Error("convert cifar", "no file is given", "name the folder of the batches");
  if (!fs::is_directory(options.paths[0])) return options.paths;
  const std::string& folder = options.paths[0];
  if (options.paths.size() > 1)
    throw Error(folder, "is a folder among several paths", "give one folder, or files");
  std::vector<std::string> files;
  for (const auto& entry : fs::directory_iterator(folder)) {
    const std::string name = entry.path().filename().string();
    if (!name.ends_with(".bin")) continue;
    const bool is_test = name.starts_with("test");
    if (is_test == options.test && (is_test || name.starts_with("data_batch") || name == "train.bin"))
      files.push_back(entry.path().string());
  }
  std::sort(files.begin(), files.end());
  if (files.empty())
    throw Error(
        folder,
        options.test ? "holds no test_batch.bin or test.bin" : "holds no data_batch_1.bin … or train.bin",
        "unpack the binary version of CIFAR and name the folder cifar-10-batches-bin or cifar-100-binary");
  return files;
}

/// One name a line; none where there is no such file.
std::vector<std::string> lines_of(const fs::path& path) {
  std::vector<std::string> lines;
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    while (!line.empty() && (line.back() == '\r' || line.back() == ' ')) line.pop_back();
    if (!line.empty()) lines.push_back(line);
  }
  return lines;
}

class CifarFiles {
 public:
  CifarFiles(const std::vector<std::string>& paths, bool coarse) {
    for (const std::string& path : paths) {
      files_.emplace_back(path);
      const InputFile& file = files_.back();
      const bool is_10 = file.n_bytes() % (kCifarImageBytes + 1) == 0;
      const bool is_100 = file.n_bytes() % (kCifarImageBytes + 2) == 0;
      if (file.n_bytes() == 0 || is_10 == is_100)
        throw Error(path,
                    fmt::format("has {} bytes, which are no records of 3,073 (CIFAR-10) or 3,074 (CIFAR-100)",
                                file.n_bytes()),
                    "give files of the binary version, unpacked and whole");
      const int64_t n_labels = is_10 ? 1 : 2;
      if (n_labels_ > 0 && n_labels_ != n_labels)
        throw Error(path, "is of another CIFAR than " + paths[0],
                    "convert CIFAR-10 and CIFAR-100 by themselves");
      n_labels_ = n_labels;
      n_rows_ += file.n_bytes() / record_bytes();
    }
    if (coarse && n_labels_ == 1)
      throw Error(paths[0], "is CIFAR-10, which has no coarse labels", "leave --labels out");
    place_ = n_labels_ == 2 && !coarse ? 1 : 0;
    n_classes_ = n_labels_ == 1 ? 10 : coarse ? 20 : 100;
    const char* names = n_labels_ == 1 ? "batches.meta.txt"
                        : coarse       ? "coarse_label_names.txt"
                                       : "fine_label_names.txt";
    const fs::path beside = fs::path(paths[0]).parent_path() / names;
    class_names_ = lines_of(beside);
    if (!class_names_.empty() && static_cast<int64_t>(class_names_.size()) != n_classes_)
      throw Error(beside.string(), fmt::format("names {} classes, not {}", class_names_.size(), n_classes_),
                  "unpack the archive again");
    note_ = fmt::format(
        "taken: {} images of CIFAR-{} in {} file{}{}", n_rows_, n_labels_ == 1 ? 10 : 100, paths.size(),
        paths.size() == 1 ? "" : "s",
        class_names_.empty() ? fmt::format("; classes are numbers, as {} is not beside them", names) : "");
    if (class_names_.empty()) class_names_ = numbered_classes(n_classes_ - 1);
  }

  int64_t n_rows() const { return n_rows_; }
  const std::vector<std::string>& class_names() const { return class_names_; }
  const std::string& note() const { return note_; }

  void read(int64_t row, std::byte* image, int64_t* label) const {
    int64_t in_file = row;
    size_t f = 0;
    for (; in_file >= files_[f].n_bytes() / record_bytes(); ++f)
      in_file -= files_[f].n_bytes() / record_bytes();
    unsigned char record[kCifarImageBytes + 2];
    files_[f].read(in_file * record_bytes(), record, record_bytes());
    *label = record[place_];
    if (*label >= n_classes_)
      throw Error(files_[f].name(),
                  fmt::format("row {} has the label {} of {} classes", in_file, *label, n_classes_),
                  "give files of the binary version, unpacked and whole");
    std::memcpy(image, record + n_labels_, static_cast<size_t>(kCifarImageBytes));
  }

 private:
  int64_t record_bytes() const { return kCifarImageBytes + n_labels_; }

  std::vector<InputFile> files_;
  std::vector<std::string> class_names_;
  std::string note_;
  int64_t n_labels_ = 0, n_rows_ = 0, n_classes_ = 0;
  int place_ = 0;  // of the label among a record's
};

ConvertInput open_cifar(Communicator& comm, const CifarOptions& options) {
  ConvertInput source;
  all_or_none(comm, [&] {
    const auto files = std::make_shared<const CifarFiles>(cifar_files(options), options.coarse);
    source.source = "CIFAR";
    source.n_rows = files->n_rows();
    source.fields = {{"image", DType::kUInt8, {3, 32, 32}}, {"label", DType::kInt64, {}}};
    source.class_names = files->class_names();
    source.notes = {files->note()};
    source.read = [files](std::span<const int64_t> rows, std::span<std::byte* const> dst) {
      for (size_t i = 0; i < rows.size(); ++i) {
        int64_t label = 0;
        files->read(rows[i], dst[0] + static_cast<int64_t>(i) * kCifarImageBytes, &label);
        std::memcpy(dst[1] + i * sizeof label, &label, sizeof label);
      }
    };
  });
  return source;
}

}  // namespace

ConvertResult convert_cifar(Communicator& comm, const CifarOptions& cifar, const ConvertOptions& options) {
  return convert_rows(comm, options, [&](const std::string&) { return open_cifar(comm, cifar); });
}

}  // namespace lockstep
