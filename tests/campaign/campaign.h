// Many runs of one small job, each disturbed by faults that a seeded generator draws, each resumed on other
// numbers of ranks until it ends, each compared with a run that nobody disturbed.
//
// Progress lost: after a fault that leaves a rank with the whole state, none that the metrics tell of; after
// all others, a checkpoint that has its name stays, and no more steps are done again than two intervals of
// checkpoints (one since the last save, and one for the save that was under way and is lost with the ranks).
#pragma once

#include <map>
#include <memory>
#include <random>
#include <string>

#include "tests/campaign/fault_kinds.h"
#include "tests/jobs/program.h"

namespace lockstep {

class Campaign {
 public:
  static constexpr int64_t kSteps = 380;   // 20 epochs of 19
  static constexpr int64_t kInterval = 7;  // steps between checkpoints, at most

  explicit Campaign(uint64_t seed) : random_(seed) {}

  /// One run whose first fault is of that kind. Returns "" or what was wrong, for people.
  std::string run(FaultKind kind);
  const FaultTally& tally(FaultKind kind) const { return tallies_[static_cast<size_t>(kind)]; }
  /// Whether a small file system may be mounted; else there are no full disks.
  bool can_mount();

 private:
  friend class DisturbedRun;

  /// Uniform in [low, high].
  int64_t draw(int64_t low, int64_t high);
  bool toss() { return draw(0, 1) == 1; }
  /// --set … of a run.
  std::string draw_options();
  /// The bytes of the last checkpoint of an undisturbed run on one rank.
  const std::string& reference(const std::string& options);

  std::mt19937_64 random_;
  Workplace place_;
  std::map<std::string, std::string> references_;
  std::array<FaultTally, kFaultKinds> tallies_;
  int n_runs_ = 0;
};

}  // namespace lockstep
