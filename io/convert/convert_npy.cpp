// .npy and .npz -> shards: arrays of inputs and, beside them, arrays of labels.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <vector>

#include "comm/agreement.h"
#include "io/convert/npy_rows.h"
#include "io/formats/zip_file.h"
#include "kernels/error.h"

namespace lockstep {

namespace {

std::vector<NpyFile> open_npy_files(const std::vector<std::string>& paths) {
  std::vector<NpyFile> files;
  for (const std::string& path : paths) files.emplace_back(path);
  return files;
}

/// What people call inputs and targets, the training part of an archive with two first.
struct NpzNames {
  const char *input, *target;
};
constexpr std::array kNpzNames{NpzNames{"x_train", "y_train"},
                               NpzNames{"X_train", "y_train"},
                               NpzNames{"train_images", "train_labels"},
                               NpzNames{"train_x", "train_y"},
                               NpzNames{"images", "labels"},
                               NpzNames{"image", "label"},
                               NpzNames{"x", "y"},
                               NpzNames{"X", "y"},
                               NpzNames{"X", "Y"},
                               NpzNames{"data", "labels"},
                               NpzNames{"data", "label"},
                               NpzNames{"data", "target"},
                               NpzNames{"inputs", "targets"},
                               NpzNames{"input", "target"},
                               NpzNames{"input", "label"},
                               NpzNames{"features", "labels"},
                               NpzNames{"features", "targets"},
                               NpzNames{"arr_0", "arr_1"}};

/// The arrays of an archive, by their names without .npy.
class NpzFile {
 public:
  explicit NpzFile(const std::string& path) : zip_(path) {
    for (const ZipFile::Entry& entry : zip_.entries())
      if (entry.name.ends_with(".npy")) names_.push_back(entry.name.substr(0, entry.name.size() - 4));
    if (names_.empty())
      throw Error(path, "is an archive without arrays of NumPy", "save it by numpy.savez(FILE, x=x, y=y)");
  }

  bool has(const std::string& array) const { return zip_.find(array + ".npy") != nullptr; }
  std::string list() const { return fmt::format("{}", fmt::join(names_, ", ")); }
  void extract(const std::string& array, const std::string& destination) const {
    const ZipFile::Entry* entry = zip_.find(array + ".npy");
    if (entry == nullptr)
      throw Error(zip_.name(), fmt::format("holds no array '{}'; it holds: {}", array, list()),
                  "name one of them");
    zip_.extract(*entry, destination);
  }

  /// Fills in what the options leave open.
  void choose(std::string& input, std::string& target) const {
    if (target == "none") {
      target.clear();
      if (input.empty() && names_.size() == 1) input = names_[0];
      for (const NpzNames& usual : kNpzNames)
        if (input.empty() && has(usual.input)) input = usual.input;
    } else {
      for (const NpzNames& usual : kNpzNames) {
        const bool fits = (input.empty() ? has(usual.input) : input == usual.input) &&
                          (target.empty() ? has(usual.target) : target == usual.target);
        if (!fits) continue;
        input = usual.input;
        target = usual.target;
        return;
      }
      if (input.empty() && target.empty() && names_.size() == 1)
        input = names_[0];
      else if (!input.empty() && target.empty())
        throw Error(zip_.name(),
                    fmt::format("holds several arrays, and none is known to be the target of '{}': {}", input,
                                list()),
                    "say --target NAME, or --target none");
    }
    if (input.empty())
      throw Error(zip_.name(), "holds arrays of which none is known to be the input: " + list(),
                  "say --input NAME --target NAME (or --target none)");
  }

 private:
  ZipFile zip_;
  std::vector<std::string> names_;
};

}  // namespace

ConvertInput open_npy(Communicator& comm, const NpyOptions& npy) {
  ConvertInput source;
  all_or_none(comm, [&] {
    if (npy.files.empty()) throw Error("convert npy", "no file is given", "name one or more .npy files");
    source = open_npy_rows(open_npy_files(npy.files), open_npy_files(npy.labels),
                           {npy.layout, npy.shape, npy.as_stored});
  });
  return source;
}

ConvertResult convert_npy(Communicator& comm, const NpyOptions& npy, const ConvertOptions& options) {
  return convert_rows(comm, options, [&](const std::string&) { return open_npy(comm, npy); });
}

/// Root unpacks the two arrays, so that every rank reads rows at their places.
static ConvertInput open_npz(Communicator& comm, const NpzOptions& npz, const std::string& scratch) {
  std::string input = npz.input, target = npz.target;
  const std::string input_path = scratch + "/input.npy", target_path = scratch + "/target.npy";
  check_on_root(comm, [&] {
    const NpzFile file(npz.path);
    file.choose(input, target);
    file.extract(input, input_path);
    if (!target.empty()) file.extract(target, target_path);
  });
  input = comm.broadcast_string(input);
  target = comm.broadcast_string(target);
  ConvertInput source;
  all_or_none(comm, [&] {
    std::vector<NpyFile> inputs, targets;
    inputs.emplace_back(input_path, npz.path + ": " + input);
    if (!target.empty()) targets.emplace_back(target_path, npz.path + ": " + target);
    source = open_npy_rows(std::move(inputs), std::move(targets), {npz.layout, npz.shape, false});
  });
  source.notes[0] += target.empty() ? " (" + input + ")" : fmt::format(" ({} and {})", input, target);
  return source;
}

ConvertResult convert_npz(Communicator& comm, const NpzOptions& npz, const ConvertOptions& options) {
  return convert_rows(comm, options,
                      [&](const std::string& scratch) { return open_npz(comm, npz, scratch); });
}

}  // namespace lockstep
