// Makes small HDF5 files for tests: through the C API, so that they do not come from the
// code under test, and through h5py (Debian's python3-h5py) where that is installed.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace lockstep {

/// A new folder below the system's temporary one, deleted with everything in it at the end.
class TemporaryFolder {
 public:
  TemporaryFolder();
  ~TemporaryFolder();
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  const std::string& path() const { return path_; }
  /// path() + "/" + name
  std::string file(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

enum class Storage { kContiguous, kChunked, kGzip };  // kGzip: shuffle + deflate level 4

/// A dataset of a shard: `extents` with the sample count first; element i is values[i].
struct FixtureField {
  std::string name;
  std::vector<int64_t> extents;
  std::string type;  // uint8 int8 int16 int32 int64 uint32 float16 float32 float64, ">" in front: big-endian
  std::vector<double> values;
  Storage storage = Storage::kContiguous;
  std::vector<double> mean, stddev;  // attributes, where not empty
};

/// Writes one HDF5 file by the C API.
void write_hdf5(const std::string& path, const std::vector<FixtureField>& fields,
                const std::vector<std::string>& class_names = {}, int64_t userblock_bytes = 0);

/// Runs Python code with h5py and numpy (np) imported and `folder` set. Empty on success,
/// else what Python printed.
std::string run_h5py(const std::string& folder, const std::string& code);
/// Whether /usr/bin/python3 can import h5py.
bool has_h5py();

}  // namespace lockstep
