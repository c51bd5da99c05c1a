// What each rank knows of its place: gathered once, judged by checks.h.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "comm/communicator.h"

namespace lockstep {

struct RankFacts {
  std::string host, cores;      // numbers of the cores that it may run on, separated by commas
  std::string gpu;              // "cuda:0 NVIDIA H200 at …"; "" without one
  std::string cpu, program;     // the processor's name; version and libraries of this program
  int64_t n_cores = 1;          // of `cores`
  double quota_cores = 0;       // of the control group; 0: none
  int64_t threads = 1;          // OMP_NUM_THREADS, else those of the job
  double load = 0;              // of the host, over a minute, before the ranks started
  int64_t open_files = 0;       // limit
  int64_t shm_free_bytes = -1;  // of /dev/shm; -1: there is none
  std::string folder_kind;      // of the run folder's file system
  int64_t folder_free_bytes = 0, folder_free_inodes = -1;   // -1: the file system does not count them
  bool folder_is_writable = false, folder_is_seen = false;  // seen: the file that rank 0 has put there
  double clock_ahead_s = 0;  // of rank 0's, with about half a message's time of doubt
};

/// Collective. `folder`: where checkpoints would go; each rank puts a file of 64 KiB there and removes it.
std::vector<RankFacts> gather_facts(Communicator& comm, const std::string& folder, int64_t threads);

}  // namespace lockstep
