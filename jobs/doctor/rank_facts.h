// What the doctor knows of each rank: read from this process, its host and the run folder, then shared with
// all ranks. Nothing here judges (checks.h does), so that faults can be planted in tests as plain values.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "comm/communicator.h"

namespace lockstep {

struct RankFacts {
  std::string host;
  std::string cpu;       // kind and instruction set that ops compute with
  std::string versions;  // Lockstep and its libraries
  std::string mpi;
  std::vector<int> cores;           // numbers of those that this rank may run on
  int threads = 1;                  // that ops compute with
  double quota_cores = 0;           // the cgroup's CPU quota; 0: none
  double load = 0;                  // of the host, the mean of the last minute
  std::string governor;             // of core 0; "" where the system does not say
  int64_t open_files = -1;          // limit; -1: none
  int64_t locked_bytes = -1;        // limit; -1: none
  int64_t shm_free_bytes = -1;      // of /dev/shm; -1: there is none
  std::string file_system;          // kind of the run folder's, "unknown" otherwise
  int64_t folder_free_bytes = -1;   // for this user; -1: unknown
  int64_t folder_free_inodes = -1;  // -1: unknown, or made as needed
  bool writable = false;            // whether this rank made a file in the run folder
  bool sees_root_file = false;      // whether a file that rank 0 made there is seen
};

/// Collective. The facts of all ranks, in rank order, on every rank. `folder` exists, at least on rank 0;
/// each rank makes and removes a small file in it. threads 0: those of this process.
std::vector<RankFacts> gather_facts(Communicator& comm, const std::string& folder, int threads = 0);

}  // namespace lockstep
