// The faults of the campaign, and what is counted of each.
#pragma once

#include <array>
#include <cstddef>
#include <vector>

namespace lockstep {

enum class FaultKind {
  // of a run that trains
  kKillRank,
  kKillInWrite,
  kKillAll,
  kKillLauncher,
  kStopSignal,
  kFreeze,
  kFullDisk,
  kRemovedFolder,
  kShardCutInRun,
  // of what lies on the disk between two runs
  kCheckpointFlipped,
  kCheckpointCut,
  kAllButOneDamaged,
  kRunRemoved,
  kLeftOverFile,
  kShardCut,
  kShardFlipped,
};
inline constexpr int kFaultKinds = 16;
inline constexpr std::array<const char*, kFaultKinds> kFaultNames = {
    "a rank killed (`SIGKILL`)",
    "a rank killed while a checkpoint is written",
    "all ranks killed",
    "the launcher killed",
    "a stop signal to one rank (`SIGTERM`, `SIGUSR1`, `SIGINT`)",
    "a rank stopped (`SIGSTOP`)",
    "a full disk",
    "the folder of checkpoints removed in mid-run",
    "a shard cut off in mid-run",
    "a bit flipped in the newest checkpoint",
    "the newest checkpoint cut off",
    "all checkpoints but one damaged",
    "the run folder removed between runs",
    "temporary files of others left over",
    "a shard cut off",
    "a bit flipped in a shard",
};
inline const char* name_of(FaultKind kind) { return kFaultNames[static_cast<size_t>(kind)]; }
inline bool is_at_rest(FaultKind kind) { return kind >= FaultKind::kCheckpointFlipped; }

/// Of one kind.
struct FaultTally {
  int n_runs = 0;      // whose first fault was of this kind
  int n_injected = 0;  // also as a further fault of other runs
  int n_hangs = 0;     // did not end in time, or left processes behind
  int n_wrong = 0;     // another status, or a report that does not name the fault
  int n_losses = 0;    // other bits in the end, or more progress lost than promised
  std::vector<double> report_s;

  bool is_clean() const { return n_hangs + n_wrong + n_losses == 0; }
};

}  // namespace lockstep
