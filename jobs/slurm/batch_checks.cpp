#include "jobs/slurm/batch_checks.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cstdlib>
#include <sstream>

#include "kernels/error.h"

namespace lockstep {

namespace {

/// The number of GPUs in a list of generic resources such as "gpu:a100:4(S:0-1),shard:8".
int gpus_in(const std::string& resources) {
  int n = 0;
  std::stringstream parts(resources.substr(0, resources.find("null")));
  for (std::string part; std::getline(parts, part, ',');) {
    if (!part.starts_with("gpu")) continue;
    part = part.substr(0, part.find('('));
    const size_t colon = part.rfind(':');
    n += colon == std::string::npos ? 1 : std::max(1, std::atoi(part.c_str() + colon + 1));
  }
  return n;
}

int64_t limit_of(const std::string& text) {
  if (text.empty() || text == "infinite" || text == "UNLIMITED" || text == "n/a") return 0;
  return read_walltime(text);
}

std::string names_of(const std::vector<Partition>& partitions) {
  std::vector<std::string> names;
  for (const Partition& partition : partitions)
    if (std::find(names.begin(), names.end(), partition.name) == names.end()) names.push_back(partition.name);
  return fmt::format("{}", fmt::join(names, ", "));
}

}  // namespace

std::vector<Partition> read_partitions(const std::string& sinfo_output) {
  std::vector<Partition> partitions;
  std::stringstream lines(sinfo_output);
  for (std::string line; std::getline(lines, line);) {
    std::vector<std::string> parts;
    std::stringstream fields(line);
    for (std::string part; std::getline(fields, part, '|');) parts.push_back(part);
    if (parts.size() < 5 || parts[0].empty()) continue;
    partitions.push_back({parts[0], limit_of(parts[1]), gpus_in(parts[2]), std::atoi(parts[3].c_str()),
                          std::atoi(parts[4].c_str())});
  }
  return partitions;
}

void check_batch_of_job(const BatchRequest& request, const Job& job) {
  const int ranks = request.ranks();
  const int64_t n_micro = job.n_micro();
  const bool by_tree = job.reduction == Reduction::kTree;
  const std::string where = fmt::format("{} nodes of {} ranks", request.nodes, request.ranks_per_node);
  if (by_tree && !std::has_single_bit(static_cast<unsigned>(ranks)))
    throw Error(
        where, fmt::format("the sum over ranks needs a power of two of them, not {}", ranks),
        fmt::format("take {} or {} ranks, or `batch.reduction: native` (its bits depend on their number)",
                    std::bit_floor(static_cast<unsigned>(ranks)),
                    std::bit_ceil(static_cast<unsigned>(ranks))));
  if (ranks > n_micro || n_micro % ranks != 0) {
    const int64_t global = job.micro_batch * n_micro;
    throw Error(
        where,
        fmt::format("the job's batch of {} has {} micro-batch{} of {}, which {} ranks cannot share equally",
                    global, n_micro, n_micro > 1 ? "es" : "", job.micro_batch, ranks),
        global % ranks == 0
            ? fmt::format("--set batch.micro={} (or fewer ranks); both change what is computed",
                          global / ranks)
            : fmt::format("--set batch.global={} (or fewer ranks); both change what is computed",
                          job.micro_batch * ranks));
  }
  if (job.device.kind == Device::Kind::kCpu && job.threads > request.cpus_per_rank)
    throw Error("--cpus-per-task",
                fmt::format("the job computes with {} threads, a rank would have {} cores", job.threads,
                            request.cpus_per_rank),
                fmt::format("--cpus-per-task {}, or --set threads={}", job.threads, request.cpus_per_rank));
}

void check_cluster(const BatchRequest& request, const std::vector<Partition>& partitions) {
  std::vector<Partition> candidates;
  for (const Partition& partition : partitions)
    if (request.partition.empty() || partition.name == request.partition) candidates.push_back(partition);
  if (candidates.empty())
    throw Error("--partition " + request.partition, "this cluster has none of that name",
                "take one of " + names_of(partitions));
  const std::string where = request.partition.empty() ? "this cluster" : "partition " + request.partition;
  int most_gpus = 0, most_cpus = 0, most_nodes = 0;
  int64_t longest = 0;
  for (const Partition& partition : candidates) {
    most_gpus = std::max(most_gpus, partition.gpus_per_node);
    most_cpus = std::max(most_cpus, partition.cpus_per_node);
    most_nodes += partition.nodes;
    longest = partition.limit_s == 0 || longest < 0 ? -1 : std::max(longest, partition.limit_s);
  }
  if (request.gpus_per_node > most_gpus)
    throw Error(
        "--gpus-per-node " + std::to_string(request.gpus_per_node),
        fmt::format("the nodes of {} have {}", where, most_gpus == 0 ? "none" : std::to_string(most_gpus)),
        most_gpus == 0 ? "leave it out, or name a --partition with GPUs"
                       : fmt::format("--gpus-per-node {} and more --nodes", most_gpus));
  const int cpus = request.ranks_per_node * request.cpus_per_rank;
  if (cpus > most_cpus)
    throw Error(fmt::format("{} ranks of {} cores on a node", request.ranks_per_node, request.cpus_per_rank),
                fmt::format("the nodes of {} have {} cores", where, most_cpus),
                "fewer --ranks-per-node or --cpus-per-task, and more --nodes");
  if (request.nodes > most_nodes)
    throw Error("--nodes " + std::to_string(request.nodes), fmt::format("{} has {}", where, most_nodes),
                fmt::format("--nodes {} or fewer", most_nodes));
  if (longest > 0 && request.time_s > longest)
    throw Error(
        "--time " + walltime_text(request.time_s), fmt::format("{} grants {}", where, walltime_text(longest)),
        fmt::format("--time {}: the run goes on by itself in the next start", walltime_text(longest)));
}

void check_times(const BatchRequest& request, double checkpoint_s) {
  const auto needed = static_cast<int64_t>(checkpoint_s) + 1;
  if (request.signal_before_s < needed)
    throw Error(fmt::format("--signal-before {}", request.signal_before_s),
                fmt::format("a checkpoint of this job takes about {} s", needed),
                fmt::format("--signal-before {}", 2 * needed));
  if (request.time_s < request.signal_before_s + needed)
    throw Error(
        "--time " + walltime_text(request.time_s),
        fmt::format("{} s before the limit the ranks save, which takes about {} s: no time is left to train",
                    request.signal_before_s, needed),
        fmt::format("a --time of at least {}", walltime_text(2 * (request.signal_before_s + needed))));
}

bool makes_no_progress(const std::vector<int64_t>& earlier, int64_t now) {
  const size_t n = earlier.size();
  return n >= 2 && earlier[n - 1] == now && earlier[n - 2] == now;
}

}  // namespace lockstep
