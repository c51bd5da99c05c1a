// The listing of a dataset's folder. What looks like a part of the dataset, but would be passed over, is an
// error: half of the data is no dataset.
#include "io/dataset/shard_paths.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <string_view>

#include "kernels/error.h"

namespace lockstep {

namespace fs = std::filesystem;

namespace {

bool is_shard_name(const fs::path& path) { return path.extension() == ".h5" || path.extension() == ".hdf5"; }

/// Of HDF5 under other names: netCDF-4, HDF-EOS, AnnData, loom, MATLAB.
bool is_named_otherwise(const fs::path& path) {
  std::string extension = path.extension().string();
  for (char& c : extension) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  static constexpr std::string_view kNames[] = {".h5",  ".hdf5", ".hdf", ".h5df", ".he5",  ".h5p", ".nc",
                                                ".nc4", ".cdf",  ".mat", ".h5ad", ".loom", ".hd5", ".h5f"};
  return std::find(std::begin(kNames), std::end(kNames), extension) != std::end(kNames);
}

bool begins_as_hdf5(const std::string& path) {
  static constexpr std::string_view kSignature = "\x89HDF\r\n\x1a\n";
  std::ifstream file(path, std::ios::binary);
  for (int64_t at = 0; at <= 2048; at = at == 0 ? 512 : 2 * at) {  // behind a user block, as MATLAB's
    char bytes[8] = {};
    file.seekg(at);
    if (!file.read(bytes, sizeof bytes)) return false;
    if (std::string_view(bytes, sizeof bytes) == kSignature) return true;
  }
  return false;
}

/// The folders right below that hold shards, for the remedy: one of them may be meant.
std::string folders_with_shards(const std::string& path) {
  std::vector<std::string> names;
  std::error_code status;
  for (fs::directory_iterator it(path, status), end; !status && it != end; it.increment(status)) {
    std::error_code ignored;
    if (!it->is_directory(ignored) || it->path().filename().string().front() == '.') continue;
    for (fs::directory_iterator file(it->path(), ignored); !ignored && file != end; file.increment(ignored)) {
      if (!is_shard_name(file->path())) continue;
      names.push_back(it->path().filename().string());
      break;
    }
  }
  std::sort(names.begin(), names.end());
  std::string text;
  for (const std::string& name : names) text += (text.empty() ? "" : ", ") + name;
  return text;
}

}  // namespace

std::vector<std::string> shard_paths(const std::string& path) {
  const char* remedy = "check `path` in the job file, or create the dataset with `lockstep convert`";
  std::error_code status;
  if (!fs::exists(path, status))
    throw Error(path, "there is no such file or folder",
                path.starts_with('~') || path.starts_with('$')
                    ? "write the path out: only a shell replaces ~ and $NAME, and not within quotes"
                    : remedy);
  if (!fs::is_directory(path, status)) return {path};
  std::vector<std::string> paths, others;
  bool is_incomplete = false;
  for (fs::directory_iterator it(path, status), end; !status && it != end; it.increment(status)) {
    const std::string name = it->path().filename().string();
    is_incomplete = is_incomplete || name == kIncompleteMarker;
    if (name.front() == '.') continue;
    if (is_shard_name(it->path())) {
      paths.push_back(it->path().string());
    } else if (is_named_otherwise(it->path())) {
      std::error_code ignored;
      if (fs::is_regular_file(it->path(), ignored) && begins_as_hdf5(it->path().string()))
        others.push_back(name);
    }
  }
  if (status) throw Error(path, "the folder cannot be listed: " + status.message(), "check its permissions");
  if (is_incomplete)
    throw Error(
        path, "holds only a part of a dataset: `lockstep convert` is moving its files there, or was stopped",
        "wait until it is done, or convert again with --overwrite");
  if (!others.empty()) {
    std::sort(others.begin(), others.end());
    throw Error(
        path,
        std::to_string(others.size()) + (others.size() == 1 ? " file is" : " files are") +
            " HDF5 but not named .h5 or .hdf5, as shards are, such as " + others.front() +
            (paths.empty() ? "" : ", beside " + std::to_string(paths.size()) + " that are"),
        "rename those that belong to the dataset, move the others away, or give one file as the path");
  }
  if (paths.empty()) {
    const std::string folders = folders_with_shards(path);
    throw Error(path, "the folder holds no .h5 or .hdf5 file",
                folders.empty() ? remedy : "give the path of one of the folders below it: " + folders);
  }
  std::sort(paths.begin(), paths.end());
  return paths;
}

}  // namespace lockstep
