#include "jobs/doctor/checks.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "src/run/progress.h"

namespace lockstep {

namespace {

using Ranks = std::vector<RankFacts>;

Finding ok(std::string found) { return {Health::kOk, "", std::move(found), ""}; }
Finding warn(std::string found, std::string remedy) {
  return {Health::kWarn, "", std::move(found), std::move(remedy)};
}
Finding fail(std::string found, std::string remedy) {
  return {Health::kFail, "", std::move(found), std::move(remedy)};
}

/// Ranks of each host.
std::map<std::string, std::vector<int>> by_host(const Ranks& ranks) {
  std::map<std::string, std::vector<int>> hosts;
  for (size_t r = 0; r < ranks.size(); ++r) hosts[ranks[r].host].push_back(static_cast<int>(r));
  return hosts;
}

Finding ranks_and_hosts(const Ranks& ranks, const Measured&) {
  const auto hosts = by_host(ranks);
  const std::string found = fmt::format("{} rank{} on {} host{}", ranks.size(), ranks.size() > 1 ? "s" : "",
                                        hosts.size(), hosts.size() > 1 ? "s" : "");
  size_t least = ranks.size(), most = 0;
  for (const auto& [host, own] : hosts)
    least = std::min(least, own.size()), most = std::max(most, own.size());
  if (least != most)
    return warn(
        fmt::format("{}, {} to {} on each", found, least, most),
        "give each host the same power of two of neighbouring ranks: sums within hosts are faster then");
  return ok(found);
}

Finding too_few_cores(const std::string& host, size_t n_ranks, int64_t threads, int64_t n_cores) {
  return fail(fmt::format("{}: {} ranks with {} threads share {} core{}", host, n_ranks, threads, n_cores,
                          n_cores > 1 ? "s" : ""),
              "fewer ranks or threads, or bind ranks to cores of their own: mpirun --bind-to core, srun "
              "--cpu-bind=cores");
}

Finding cores(const Ranks& ranks, const Measured&) {
  struct Use {
    size_t n_ranks = 0;
    int64_t threads = 0, n_cores = 0;
  };
  for (const auto& [host, own] : by_host(ranks)) {
    std::set<std::string> all;
    std::map<std::string, Use> by_cores;  // ranks that are bound to the same ones
    int64_t needed = 0;
    for (const int r : own) {
      const RankFacts& rank = ranks[static_cast<size_t>(r)];
      Use& use = by_cores[rank.cores];
      ++use.n_ranks;
      use.threads += rank.threads;
      needed += rank.threads;
      use.n_cores = 0;
      std::string list = rank.cores + ",";
      for (size_t comma; (comma = list.find(',')) != std::string::npos; list = list.substr(comma + 1)) {
        all.insert(list.substr(0, comma));
        ++use.n_cores;
      }
    }
    for (const auto& [list, use] : by_cores)
      if (use.threads > use.n_cores) return too_few_cores(host, use.n_ranks, use.threads, use.n_cores);
    const auto n_cores = static_cast<int64_t>(all.size());
    if (needed > n_cores) return too_few_cores(host, own.size(), needed, n_cores);
    const double quota = ranks[static_cast<size_t>(own.front())].quota_cores;
    if (quota > 0 && static_cast<double>(needed) > quota + 0.01)
      return warn(
          fmt::format("{}: {} threads, but the control group grants {:.1f} cores", host, needed, quota),
          "ask for more cores: --cpus-per-task, or the container's CPU limit");
  }
  return ok("each thread has a core");
}

Finding threads_of_ranks(const Ranks& ranks, const Measured&) {
  for (size_t r = 0; r < ranks.size(); ++r)
    if (ranks[r].threads > ranks[r].n_cores)
      return fail(
          fmt::format("rank {} has {} threads on {} core{}", r, ranks[r].threads, ranks[r].n_cores,
                      ranks[r].n_cores > 1 ? "s" : ""),
          fmt::format("OMP_NUM_THREADS={0}, --set threads={0}, or more --cpus-per-task", ranks[r].n_cores));
  return ok(fmt::format("{} each", ranks.front().threads));
}

Finding gpus(const Ranks& ranks, const Measured&) {
  std::map<std::string, int> users;
  size_t n_without = 0;
  for (const RankFacts& rank : ranks)
    rank.gpu.empty() ? ++n_without : static_cast<size_t>(++users[rank.host + " " + rank.gpu]);
  if (users.empty()) return ok("none");
  if (n_without > 0)
    return fail(fmt::format("{} of {} ranks see no GPU", n_without, ranks.size()),
                "--gpus-per-node for all nodes, and drivers on each");
  for (const auto& [gpu, n] : users)
    if (n > 1)
      return warn(fmt::format("{} ranks share {}", n, gpu),
                  "one rank for each GPU: --ntasks-per-node as --gpus-per-node");
  return ok(fmt::format("{}, one for each rank", ranks.front().gpu));
}

/// The first rank whose text is another than rank 0's; ranks.size() where none is.
template <typename Text>
size_t first_other(const Ranks& ranks, Text&& text) {
  for (size_t r = 1; r < ranks.size(); ++r)
    if (text(ranks[r]) != text(ranks[0])) return r;
  return ranks.size();
}

Finding processors(const Ranks& ranks, const Measured&) {
  const size_t other = first_other(ranks, [](const RankFacts& r) { return r.cpu; });
  if (other == ranks.size()) return ok(ranks[0].cpu);
  return warn(
      fmt::format("{} has {}, {} has {}", ranks[0].host, ranks[0].cpu, ranks[other].host, ranks[other].cpu),
      "nodes of one kind (--constraint): the bits of a run hold on one kind of processor, and the slowest "
      "sets the pace");
}

Finding versions(const Ranks& ranks, const Measured&) {
  const size_t other = first_other(ranks, [](const RankFacts& r) { return r.program; });
  if (other == ranks.size()) return ok(ranks[0].program.substr(0, ranks[0].program.find('\n')));
  return fail(fmt::format("{} and {} run different builds or libraries", ranks[0].host, ranks[other].host),
              "one installation on a file system that all nodes see, and the same modules on all");
}

Finding clocks(const Ranks& ranks, const Measured&) {
  double most = 0;
  size_t which = 0;
  for (size_t r = 0; r < ranks.size(); ++r)
    if (std::abs(ranks[r].clock_ahead_s) > std::abs(most)) most = ranks[r].clock_ahead_s, which = r;
  const std::string found = fmt::format("within {:.3g} ms", 1e3 * std::abs(most));
  if (std::abs(most) < 1) return ok(found);
  return warn(fmt::format("{} is {:.1f} s {} {}", ranks[which].host, std::abs(most),
                          most > 0 ? "ahead of" : "behind", ranks[0].host),
              "time synchronisation (chrony) on the nodes: logs and file times are out of order until then");
}

Finding all_reduce(const Ranks& ranks, const Measured& m) {
  if (ranks.size() < 2) return ok("one rank: nothing to sum");
  const std::string found =
      fmt::format("{:.1f} us for 32 bytes, {:.2f} GB/s for 16 MiB", m.small_us, m.large_gb_per_s);
  const bool one_host = by_host(ranks).size() == 1;
  // Within a host a sum copies twice and reads twice; below a tenth of a plain copy something is in its way.
  if (one_host && m.large_gb_per_s < m.copy_gb_per_s / 10)
    return warn(
        fmt::format("{}, where a plain copy makes {:.1f}", found, m.copy_gb_per_s),
        "look for oversubscribed cores above, and for containers that hide processes from each other");
  if (!one_host && m.large_gb_per_s < 0.1)
    return warn(found + ": below what Gigabit Ethernet gives",
                "see that MPI takes the fast network: ompi_info, UCX_NET_DEVICES, --mca btl_tcp_if_include");
  return ok(found);
}

Finding folder_for_all(const Ranks& ranks, const Measured&) {
  for (size_t r = 0; r < ranks.size(); ++r) {
    if (!ranks[r].folder_is_writable)
      return fail(fmt::format("rank {} on {} cannot write there", r, ranks[r].host),
                  "another --folder, its permissions, or free space");
    if (!ranks[r].folder_is_seen)
      return fail(fmt::format("{} does not see what {} writes there", ranks[r].host, ranks[0].host),
                  "a folder on a file system that all nodes share; node-local disks and /tmp are not");
  }
  return ok(ranks.size() > 1 ? "all ranks write, and see each other's files" : "can be written");
}

Finding file_system(const Ranks& ranks, const Measured& m) {
  const std::string& kind = ranks[0].folder_kind;
  const bool tried = m.checkpoint_mb_per_s > 0;
  const std::string found = tried
                                ? fmt::format("{}, {:.0f} MB/s, read back whole", kind, m.checkpoint_mb_per_s)
                                : kind + ", no checkpoint tried";
  if (kind == "tmpfs" || kind == "overlay")
    return warn(found + ": gone with the machine or the container",
                "a folder on a disk or a parallel file system");
  if (tried && m.checkpoint_mb_per_s < 20)
    return warn(found,
                "another file system, larger stripes (Lustre: lfs setstripe -c 8), or fewer checkpoints");
  return ok(found);
}

Finding free_space(const Ranks& ranks, const Measured& m) {
  const RankFacts& root = ranks[0];
  const std::string found = human_bytes(root.folder_free_bytes) + " free";
  const int64_t one = m.job_checkpoint_bytes,
                all = one * (m.job_keep + 2);  // the best one, and the one being written
  if (root.folder_free_inodes >= 0 && root.folder_free_inodes < 1000)
    return fail(fmt::format("{}, but only {} more files", found, root.folder_free_inodes),
                "remove files, or ask for more inodes");
  if (one > 0 && root.folder_free_bytes < one)
    return fail(fmt::format("{}; one checkpoint of the job takes {}", found, human_bytes(one)),
                "free space, or another folder");
  if (one > 0 && root.folder_free_bytes < all)
    return warn(fmt::format("{}; the job keeps {} checkpoints of {}", found, m.job_keep, human_bytes(one)),
                "free space, another folder, or a smaller checkpoint.keep");
  if (one == 0 && root.folder_free_bytes < (int64_t{1} << 30))
    return warn(found, "free space, or another folder");
  return ok(one > 0 ? fmt::format("{}; a checkpoint takes {}", found, human_bytes(one)) : found);
}

Finding shared_memory(const Ranks& ranks, const Measured&) {
  int64_t least = INT64_MAX;
  for (const RankFacts& rank : ranks) least = std::min(least, rank.shm_free_bytes);
  if (least < 0)
    return warn("no /dev/shm", "mount it (docker run --ipc=host): MPI and caches of datasets use it");
  if (least < (int64_t{64} << 20))
    return warn(human_bytes(least) + " free in /dev/shm", "docker run --shm-size=8g, or --ipc=host");
  return ok(human_bytes(least) + " free in /dev/shm");
}

Finding open_files(const Ranks& ranks, const Measured&) {
  int64_t least = INT64_MAX;
  for (const RankFacts& rank : ranks) least = std::min(least, rank.open_files);
  if (least < 1024)
    return warn(fmt::format("{} open files", least), "ulimit -n 4096: a dataset of many shards opens many");
  return ok(fmt::format("{} open files", least));
}

Finding other_work(const Ranks& ranks, const Measured&) {
  for (const auto& [host, own] : by_host(ranks)) {
    const RankFacts& first = ranks[static_cast<size_t>(own.front())];
    if (first.load > 0.5 * static_cast<double>(first.n_cores) + static_cast<double>(own.size()))
      return warn(
          fmt::format("{}: {:.1f} processes were running on {} cores", host, first.load, first.n_cores),
          "--exclusive, or another node: all ranks wait for the slowest");
  }
  return ok("little else is running");
}

struct Check {
  const char* name;
  Finding (*judge)(const Ranks&, const Measured&);
};

constexpr Check kChecks[] = {{"ranks", ranks_and_hosts},
                             {"cores", cores},
                             {"threads", threads_of_ranks},
                             {"GPUs", gpus},
                             {"processors", processors},
                             {"versions", versions},
                             {"clocks", clocks},
                             {"all-reduce", all_reduce},
                             {"folder", folder_for_all},
                             {"file system", file_system},
                             {"space", free_space},
                             {"shared memory", shared_memory},
                             {"open files", open_files},
                             {"load", other_work}};

}  // namespace

std::vector<Finding> judge(const std::vector<RankFacts>& ranks, const Measured& measured) {
  std::vector<Finding> findings;
  for (const Check& check : kChecks) {
    findings.push_back(check.judge(ranks, measured));
    findings.back().check = check.name;
  }
  return findings;
}

BriefFindings judge_briefly(const std::vector<RankFacts>& ranks, bool means_it) {
  BriefFindings brief;
  for (size_t r = 0; r < ranks.size() && brief.refusal.empty(); ++r)
    if (ranks[0].folder_is_writable && !ranks[r].folder_is_seen)
      brief.refusal =
          fmt::format("rank {} on {} does not see what {} writes there", r, ranks[r].host, ranks[0].host);
  const auto say = [&](const Finding& finding) {
    if (finding.health != Health::kOk) brief.warnings.push_back(finding.found + ": " + finding.remedy);
  };
  if (!means_it) say(cores(ranks, {}));
  say(processors(ranks, {}));
  say(versions(ranks, {}));
  return brief;
}

std::vector<std::string> check_names() {
  std::vector<std::string> names;
  for (const Check& check : kChecks) names.emplace_back(check.name);
  return names;
}

}  // namespace lockstep
