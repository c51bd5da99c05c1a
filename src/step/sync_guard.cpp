#include "src/step/sync_guard.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <set>

#include "io/files/checksum.h"

namespace lockstep {

std::string SyncVerdict::str() const {
  const size_t more = tensors.size() - 1;
  return fmt::format("the weights of rank{} {} differ from those of {}, in '{}'{}",
                     ranks.size() > 1 ? "s" : "", fmt::join(ranks, ", "),
                     good_rank >= 0 ? "the other ranks" : "rank 0", tensors[0],
                     more > 0 ? fmt::format(" and {} more tensor{}", more, more > 1 ? "s" : "") : "");
}

SyncVerdict compare_replicas(const ParameterArena& arena, Communicator& comm) {
  const std::vector<Segment>& segments = arena.segments();
  const float* weights = arena.host().as<const float>();
  std::vector<uint64_t> hashes;  // two words per tensor
  for (const Segment& segment : segments) {
    const Hash128 hash = hash128(weights + segment.offset, segment.n_elements() * int64_t{sizeof(float)});
    hashes.push_back(hash.low);
    hashes.push_back(hash.high);
  }
  SyncVerdict verdict;
  if (comm.all_equal(hashes)) return verdict;

  const size_t n_bytes = hashes.size() * sizeof(uint64_t);
  const std::vector<std::string> all =
      comm.all_gather_strings({reinterpret_cast<const char*>(hashes.data()), n_bytes});
  std::map<std::string, int> n_alike;
  for (const std::string& one : all) ++n_alike[one];
  const auto most = std::max_element(n_alike.begin(), n_alike.end(),
                                     [](const auto& a, const auto& b) { return a.second < b.second; });
  const bool has_majority = 2 * most->second > comm.size();
  const std::string& expected = has_majority ? most->first : all[0];
  std::set<size_t> different;
  for (size_t r = 0; r < all.size(); ++r) {
    if (all[r] == expected) {
      if (has_majority && verdict.good_rank < 0) verdict.good_rank = static_cast<int>(r);
      continue;
    }
    verdict.ranks.push_back(static_cast<int>(r));
    for (size_t t = 0; t < segments.size(); ++t) {
      constexpr size_t kBytes = sizeof(Hash128);
      if (std::memcmp(all[r].data() + t * kBytes, expected.data() + t * kBytes, kBytes) != 0)
        different.insert(t);
    }
  }
  for (size_t t : different) verdict.tensors.push_back(segments[t].name);
  return verdict;
}

}  // namespace lockstep
