#include "io/dataset/conversion_parts.h"

#include <sstream>

#include "kernels/error.h"

namespace lockstep {

std::string ConversionParts::text(const std::string& id, int64_t index, int64_t count) {
  return id + " " + std::to_string(index) + " " + std::to_string(count);
}

void ConversionParts::add(const std::string& shard_path, const std::string& part_of) {
  std::istringstream in(part_of);
  std::string id;
  int64_t index = -1, count = -1;
  if (!(in >> id >> index >> count) || index < 0 || index >= count) return;
  Conversion& conversion = conversions_[id + " " + std::to_string(count)];
  conversion.count = count;
  const auto [at, is_new] = conversion.paths.emplace(index, shard_path);
  if (!is_new) conversion.twice = shard_path + " and " + at->second + " are the same shard of one conversion";
}

void ConversionParts::check(const std::string& folder) const {
  for (const auto& [id, conversion] : conversions_) {
    if (!conversion.twice.empty())
      throw Error(folder, conversion.twice, "remove one of them: its samples would count twice");
    const auto n_here = static_cast<int64_t>(conversion.paths.size());
    if (n_here == conversion.count) continue;
    constexpr int kMostListed = 5;
    std::string missing;
    int n_listed = 0;
    for (int64_t i = 0; i < conversion.count && n_listed <= kMostListed; ++i) {
      if (conversion.paths.contains(i)) continue;
      if (++n_listed <= kMostListed) missing += (missing.empty() ? "" : ", ") + std::to_string(i);
    }
    throw Error(folder,
                "holds " + std::to_string(n_here) + " of the " + std::to_string(conversion.count) +
                    " shards of a conversion; missing: number " + missing +
                    (n_listed > kMostListed ? " …" : ""),
                "copy the missing files or convert again; to use a part on purpose, say partial: true beside "
                "the path");
  }
}

}  // namespace lockstep
