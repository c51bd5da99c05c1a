// Whether a batch script can do what is asked: by the job, and by what the cluster says of itself.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "jobs/slurm/batch_script.h"
#include "src/run/job.h"

namespace lockstep {

/// A partition as `sinfo -h -o '%R|%l|%G|%c|%D'` prints it.
struct Partition {
  std::string name;
  int64_t limit_s = 0;  // 0: none
  int gpus_per_node = 0, cpus_per_node = 0, nodes = 0;
};
std::vector<Partition> read_partitions(const std::string& sinfo_output);

/// Throws Error naming what would do: ranks that the job's batch can be shared among, and threads as cores.
void check_batch_of_job(const BatchRequest& request, const Job& job);
/// Throws Error where no partition, or not the named one, has such nodes or grants such a time.
void check_cluster(const BatchRequest& request, const std::vector<Partition>& partitions);
/// Throws Error where nothing would be left between the start and the signal, or between the signal and the
/// limit.
void check_times(const BatchRequest& request, double checkpoint_s);

/// Whether another start is of no use: the last two began at the same newest checkpoint, and it is still
/// that. Steps of the newest checkpoint at earlier starts, -1: there was none.
bool makes_no_progress(const std::vector<int64_t>& earlier, int64_t now);

}  // namespace lockstep
