#include "tests/campaign/matrix_variants.h"

#include <iterator>
#include <utility>

namespace lockstep {

namespace {

constexpr int kJobsAndRanks = 1000000;  // pairs with a job or a number of ranks are numbered from here

}  // namespace

std::string Variant::wire_options() const {
  static constexpr const char* kWires[] = {"", " --set batch.wire=bfloat16",
                                           " --set batch.wire=bfloat16 --set batch.error_feedback=true"};
  return kWires[wire()];
}

std::string Variant::other_options() const {
  static constexpr const char* kBuckets[] = {
      "", " --set batch.bucket_mb=0.001 --set batch.first_bucket_mb=0.0001",
      " --set batch.bucket_mb=1000 --set batch.first_bucket_mb=1000"};
  static constexpr const char* kLoaders[] = {
      "", " --set data.cache_mb=0 --set data.prefetch=1 --set data.prefetch_mb=0",
      " --set data.threads=3 --set data.prefetch=16 --set data.cache_mb=0"};
  return std::string(sharded() ? " --set batch.shard_optimizer=true" : "") + kBuckets[levels[1]] +
         kLoaders[levels[2]];
}

std::string Variant::code() const {
  static constexpr const char* kLetters[kOptions] = {"-s", "at1", "dnp", "fbe", "012"};
  std::string text;
  for (int option = 0; option < kOptions; ++option) text += kLetters[option][levels[option]];
  return text;
}

std::vector<int> VariantChooser::pairs(const Variant& variant, int job, int ranks) {
  std::vector<int> all;
  for (int a = 0; a < Variant::kOptions; ++a) {
    const int level = 10 * a + variant.levels[a];
    for (int b = 0; b < a; ++b) all.push_back(100 * level + 10 * b + variant.levels[b]);
    all.push_back(kJobsAndRanks + 10000 * job + level);
    all.push_back(2 * kJobsAndRanks + 10000 * ranks + level);
  }
  return all;
}

Variant VariantChooser::next(int job, int ranks) {
  Variant variant, best;
  // New pairs first, then pairs that have met rarely, so that no variant comes back while others wait.
  std::pair<int, int> best_value{-1, 0};
  for (bool carry = false; !carry;) {
    int n_new = 0, n_uses = 0;
    for (const int pair : pairs(variant, job, ranks)) {
      const auto uses = uses_.find(pair);
      if (uses == uses_.end())
        ++n_new;
      else
        n_uses += uses->second;
    }
    if (const std::pair value{n_new, -n_uses}; value > best_value) best_value = value, best = variant;
    carry = true;
    for (int option = 0; carry && option < Variant::kOptions; ++option) {
      carry = ++variant.levels[option] == Variant::kLevels[option];
      if (carry) variant.levels[option] = 0;
    }
  }
  for (const int pair : pairs(best, job, ranks)) ++uses_[pair];
  return best;
}

int VariantChooser::n_option_pairs_met() const {
  return static_cast<int>(std::distance(uses_.begin(), uses_.lower_bound(kJobsAndRanks)));
}

int VariantChooser::n_option_pairs() {
  int n = 0;
  for (int a = 0; a < Variant::kOptions; ++a) {
    for (int b = 0; b < a; ++b) n += Variant::kLevels[a] * Variant::kLevels[b];
  }
  return n;
}

}  // namespace lockstep
