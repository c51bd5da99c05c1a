// The variants of a run whose bits must be equal, and a choice of them that covers all pairs.
#pragma once

#include <map>
#include <string>
#include <vector>

namespace lockstep {

/// One level of each option.
struct Variant {
  static constexpr int kOptions = 5;
  /// Of sharding, buckets, loader, wire, resumes.
  static constexpr int kLevels[kOptions] = {2, 3, 3, 3, 3};

  int levels[kOptions] = {};

  bool sharded() const { return levels[0] == 1; }
  int wire() const { return levels[3]; }  // 0: float32, 1: bfloat16, 2: bfloat16 with error feedback
  int n_resumes() const { return levels[4]; }
  /// --set … of the wire, which is a part of what is computed; and of all the rest, which is not.
  std::string wire_options() const;
  std::string other_options() const;
  /// One letter an option, as kVariantLegend explains.
  std::string code() const;
};

inline constexpr const char* kVariantLegend =
    "Each cell: one letter an option, then `=` for equal bits. Optimizer state: `-` whole, `s` sharded. "
    "Buckets: `a` "
    "measured, `t` tiny (1 KiB), `1` one for all. Loader: `d` as by itself, `n` no cache and nothing read "
    "ahead, `p` three "
    "threads and 16 micro-batches ahead. Wire: `f` float32, `b` bfloat16, `e` bfloat16 with error feedback. "
    "Then how "
    "often the run was resumed on another number of ranks.";

/// Variants one after another, for a job and a number of ranks each, so that after few of them every level of
/// every option has met every level of every other, every job and every number of ranks.
class VariantChooser {
 public:
  /// The variant with the most pairs that have not met; of equals the one whose pairs have met least.
  Variant next(int job, int ranks);
  /// Pairs of levels of two options that have met, and that there are.
  int n_option_pairs_met() const;
  static int n_option_pairs();

 private:
  /// The pairs of a variant, each as one number.
  static std::vector<int> pairs(const Variant& variant, int job, int ranks);
  std::map<int, int> uses_;  // of each pair that has met
};

}  // namespace lockstep
