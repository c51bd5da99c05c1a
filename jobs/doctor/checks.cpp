// The checks of facts. Where ranks differ, the first rank with the fault is named; hosts are judged by the
// ranks that they hold.
#include "jobs/doctor/checks.h"

#include <fmt/format.h>

#include <map>
#include <set>

namespace lockstep {

namespace {

using Ranks = std::vector<RankFacts>;

Finding ok(std::string meaning) { return {Verdict::kOk, std::move(meaning), ""}; }
Finding warn(std::string meaning, std::string remedy) {
  return {Verdict::kWarn, std::move(meaning), std::move(remedy)};
}
Finding fail(std::string meaning, std::string remedy) {
  return {Verdict::kFail, std::move(meaning), std::move(remedy)};
}

struct Host {
  int n_ranks = 0, n_threads = 0;
  std::set<int> cores;  // of all its ranks
};

std::map<std::string, Host> hosts_of(const Ranks& ranks) {
  std::map<std::string, Host> hosts;
  for (const RankFacts& r : ranks) {
    Host& host = hosts[r.host];
    ++host.n_ranks;
    host.n_threads += r.threads;
    host.cores.insert(r.cores.begin(), r.cores.end());
  }
  return hosts;
}

Finding judge_cores(const Ranks& ranks) {
  for (const auto& [name, host] : hosts_of(ranks))
    if (host.n_ranks > static_cast<int>(host.cores.size()))
      return fail(fmt::format("{} ranks on {} share {} cores", host.n_ranks, name, host.cores.size()),
                  "start fewer ranks, or give each a core: mpirun --bind-to core, srun --cpu-bind=cores");
  return ok("each rank has a core");
}

Finding judge_threads(const Ranks& ranks) {
  for (const auto& [name, host] : hosts_of(ranks))
    if (host.n_threads > static_cast<int>(host.cores.size()))
      return warn(fmt::format("ranks on {} compute with {} threads on {} cores", name, host.n_threads,
                              host.cores.size()),
                  "set OMP_NUM_THREADS to cores divided by ranks, or bind ranks to more cores");
  for (size_t r = 0; r < ranks.size(); ++r)
    if (ranks[r].threads > static_cast<int>(ranks[r].cores.size()))
      return warn(fmt::format("rank {} computes with {} threads on {} cores", r, ranks[r].threads,
                              ranks[r].cores.size()),
                  "bind each rank to as many cores as it has threads: mpirun --map-by slot:PE=N, srun -c N");
  return ok("threads have cores");
}

Finding judge_quota(const Ranks& ranks) {
  for (const RankFacts& r : ranks)
    if (r.quota_cores > 0 && r.quota_cores + 0.01 < static_cast<double>(r.cores.size()))
      return warn(fmt::format("{} shows {} cores, of which the cgroup grants the time of {:.1f}", r.host,
                              r.cores.size(), r.quota_cores),
                  "ask the batch system or container for more CPUs, or use fewer threads");
  return ok("no CPU quota below the cores seen");
}

/// A word that must be equal on all ranks; otherwise bits or the run itself are at stake.
Finding judge_equal(const Ranks& ranks, std::string RankFacts::*word, const std::string& what,
                    const std::string& remedy) {
  for (size_t r = 1; r < ranks.size(); ++r)
    if (ranks[r].*word != ranks[0].*word)
      return warn(fmt::format("{} of rank {} on {} differs from rank 0's on {}", what, r, ranks[r].host,
                              ranks[0].host),
                  remedy);
  return ok(what + " is the same on all ranks");
}

Finding judge_writable(const Ranks& ranks) {
  for (size_t r = 0; r < ranks.size(); ++r)
    if (!ranks[r].writable)
      return fail(fmt::format("rank {} on {} cannot write in the run folder", r, ranks[r].host),
                  "name a folder that all ranks may write, or free space on its file system");
  return ok("all ranks write in the run folder");
}

Finding judge_shared(const Ranks& ranks) {
  for (size_t r = 0; r < ranks.size(); ++r)
    if (!ranks[r].sees_root_file)
      return fail(fmt::format("rank {} on {} does not see what rank 0 on {} writes in the run folder", r,
                              ranks[r].host, ranks[0].host),
                  "put the run folder on a file system that all hosts share");
  return ok("all ranks see the same run folder");
}

Finding judge_file_system(const Ranks& ranks) {
  const std::string& kind = ranks[0].file_system;
  if (kind == "tmpfs" || kind == "overlay")
    return warn("the run folder is on " + kind + ", which may go when the job or container ends",
                "put runs on a file system that stays");
  return ok("file system of the run folder: " + kind);
}

Finding judge_space(const Ranks& ranks) {
  constexpr int64_t kLittle = int64_t{1} << 30;
  const RankFacts& root = ranks[0];
  if (root.folder_free_bytes >= 0 && root.folder_free_bytes < kLittle)
    return warn(fmt::format("{} MB are free for the run folder", root.folder_free_bytes / 1000000),
                "remove old checkpoints, or name a folder with more space");
  if (root.folder_free_inodes >= 0 && root.folder_free_inodes < 1000)
    return warn(fmt::format("{} more files fit into the run folder's file system", root.folder_free_inodes),
                "remove files, or name a folder elsewhere");
  return ok(root.folder_free_bytes < 0 ? "free space is not known"
                                       : fmt::format("{} MB are free", root.folder_free_bytes / 1000000));
}

Finding judge_shm(const Ranks& ranks) {
  for (const RankFacts& r : ranks)
    if (ranks.size() > 1 && r.shm_free_bytes < (int64_t{64} << 20))
      return warn(r.shm_free_bytes < 0
                      ? r.host + " has no /dev/shm"
                      : fmt::format("{} has {} MB free in /dev/shm", r.host, r.shm_free_bytes / 1000000),
                  "MPI and NCCL put messages there: docker run --shm-size=1g, or remove what others left");
  return ok("/dev/shm has space");
}

Finding judge_limits(const Ranks& ranks) {
  for (const RankFacts& r : ranks) {
    if (r.open_files >= 0 && r.open_files < 1024)
      return warn(fmt::format("{} allows {} open files", r.host, r.open_files), "ulimit -n 4096");
    if (hosts_of(ranks).size() > 1 && r.locked_bytes >= 0 && r.locked_bytes < (int64_t{64} << 20))
      return warn(fmt::format("{} allows {} KiB of locked memory, too little for InfiniBand", r.host,
                              r.locked_bytes / 1024),
                  "ulimit -l unlimited (limits.conf; with Slurm PropagateResourceLimitsExcept=MEMLOCK)");
  }
  return ok("limits on files and locked memory are wide enough");
}

Finding judge_load(const Ranks& ranks) {
  for (const auto& [name, host] : hosts_of(ranks))
    for (const RankFacts& r : ranks)
      if (r.host == name && r.load > static_cast<double>(host.cores.size() + host.n_ranks))
        return warn(fmt::format("{} is busy: load {:.1f} on {} cores", name, r.load, host.cores.size()),
                    "look with top who else computes there; ask for the node alone (sbatch --exclusive)");
  return ok("no host is busy with other programs");
}

Finding judge_governor(const Ranks& ranks) {
  for (const RankFacts& r : ranks)
    if (r.governor == "powersave" || r.governor == "conservative")
      return warn(r.host + " has the CPU frequency governor " + r.governor,
                  "srun --cpu-freq=performance, or cpupower frequency-set -g performance as root");
  return ok(ranks[0].governor.empty() ? "the frequency governor is not told"
                                      : "governor " + ranks[0].governor);
}

}  // namespace

const std::vector<DoctorCheck>& doctor_checks() {
  static const std::vector<DoctorCheck> checks = {
      {"cores", judge_cores},
      {"threads", judge_threads},
      {"CPU quota", judge_quota},
      {"CPU kind",
       [](const Ranks& r) {
         return judge_equal(r, &RankFacts::cpu, "the CPU kind",
                            "use nodes of one kind (sbatch --constraint): bits differ between kinds");
       }},
      {"versions",
       [](const Ranks& r) {
         return judge_equal(r, &RankFacts::versions, "the list of versions",
                            "use one installation on all nodes: bits differ between versions");
       }},
      {"MPI",
       [](const Ranks& r) {
         Finding f = judge_equal(r, &RankFacts::mpi, "the MPI library", "load one MPI module on all nodes");
         if (f.verdict == Verdict::kOk) f.meaning = r[0].mpi;
         return f;
       }},
      {"writable", judge_writable},
      {"shared folder", judge_shared},
      {"file system", judge_file_system},
      {"free space", judge_space},
      {"/dev/shm", judge_shm},
      {"limits", judge_limits},
      {"load", judge_load},
      {"governor", judge_governor},
  };
  return checks;
}

const char* verdict_word(Verdict verdict) {
  return verdict == Verdict::kOk ? "ok" : verdict == Verdict::kWarn ? "warn" : "fail";
}

}  // namespace lockstep
