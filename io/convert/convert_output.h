// The folder that a conversion writes to: held by a lock, so that two converters do not mix their shards;
// with a scratch folder of this process; and replaced so that no kill leaves a mixture that opens as whole.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "io/convert/convert.h"
#include "io/files/files.h"

namespace lockstep {

inline constexpr int64_t kMaxShards = 100000;  // five digits in the name keep name order = number order

/// The name of shard `index`: "shard-00000.h5".
std::string shard_name(int64_t index);

/// Held by one process of a conversion (root).
class ConvertOutput {
 public:
  /// Checks the options, creates the folder, takes its lock and makes an empty scratch folder in it. Throws
  /// Error: the folder is not empty (without `overwrite`), holds foreign .h5 files, or another converter has
  /// it.
  explicit ConvertOutput(const ConvertOptions& options);
  /// Removes scratch folder and lock, and the folder itself where nothing came of it.
  ~ConvertOutput();
  ConvertOutput(const ConvertOutput&) = delete;
  ConvertOutput& operator=(const ConvertOutput&) = delete;

  const std::string& scratch() const { return scratch_; }

  /// Shards 0 … n_shards - 1 of the scratch folder, complete and synced, take the place of those that the
  /// folder holds. If it fails the folder is as it was; a kill leaves kIncompleteMarker unless all or nothing
  /// happened.
  void publish(int64_t n_shards);

 private:
  void lock();
  void remove_leftovers();

  std::string out_, scratch_;
  FileHandle lock_;
  bool created_ = false, published_ = false;
};

}  // namespace lockstep
