// What a Slurm cluster offers, as sinfo tells it, and whether a request fits. The judgement knows no
// processes; ask_slurm() is the thin part that runs sinfo.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "jobs/slurm/batch_request.h"

namespace lockstep {

struct Partition {
  std::string name;
  bool is_default = false;
  int64_t time_limit_s = 0;                                   // 0: none, or unknown
  int64_t n_nodes = 0, cpus_per_node = 0, gpus_per_node = 0;  // of the largest node
};

/// Of the lines of `sinfo --noheader --format='%P|%l|%D|%c|%G'`; a partition's lines, one for each kind of
/// node, become one. What cannot be read is left out.
std::vector<Partition> read_partitions(const std::string& sinfo);

/// The partitions of the cluster that this machine belongs to; none where no Slurm answers within some
/// seconds.
std::vector<Partition> ask_slurm();

/// Throws Error naming what exists: an unknown partition, more nodes, cores or GPUs than it has, more time
/// than it gives.
void check_cluster(const std::vector<Partition>& partitions, const BatchRequest& request);

}  // namespace lockstep
