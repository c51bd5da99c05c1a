// Which shards of which conversions a folder holds: one that was removed, or is there twice, is noticed.
#pragma once

#include <cstdint>
#include <map>
#include <string>

namespace lockstep {

class ConversionParts {
 public:
  /// "ID INDEX COUNT", as the attribute lockstep_part_of tells it; other texts belong to no conversion.
  static std::string text(const std::string& id, int64_t index, int64_t count);

  void add(const std::string& shard_path, const std::string& part_of);
  /// Throws Error naming the shards of a conversion that are missing, or a file that is there twice. A folder
  /// may hold several conversions.
  void check(const std::string& folder) const;

 private:
  struct Conversion {
    int64_t count = 0;
    std::map<int64_t, std::string> paths;  // by index
    std::string twice;                     // what is wrong, where an index is there twice
  };
  std::map<std::string, Conversion> conversions_;
};

}  // namespace lockstep
