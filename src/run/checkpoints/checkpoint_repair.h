// What a crash, a failing disk or a stray command left in a run's folder of checkpoints, put in
// order: nothing that holds data is deleted.
#pragma once

#include <string>
#include <vector>

namespace lockstep {

struct CheckpointRepair {
  std::vector<std::string> done;    // one sentence per change
  std::vector<std::string> failed;  // what could not be done
  int n_whole = 0, n_damaged = 0;
};

/// Compares every checkpoint of `folder` with its checksums; renames damaged ones to NAME.damaged
/// (a number behind where that exists); removes temporary files, which no finished save leaves;
/// points last.h5 at the newest whole checkpoint, and best.h5 at the best that is left, or removes
/// a link that points at nothing. Not while a run writes there: its temporary file would go.
/// Throws Error where the folder cannot be read.
CheckpointRepair repair_checkpoints(const std::string& folder);

}  // namespace lockstep
