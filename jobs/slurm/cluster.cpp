#include "jobs/slurm/cluster.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <sstream>

#include "kernels/error.h"

namespace lockstep {

namespace {

int64_t number(const std::string& text) {
  const size_t end = std::min(text.find_first_not_of("0123456789"), text.size());
  return end == 0 || end > 9 ? 0 : std::stoll(text.substr(0, end));
}

/// "gpu:a100:4(S:0-1),gpu:t4:2" has six; "(null)" none.
int64_t gpus_in(const std::string& gres) {
  int64_t n = 0;
  std::stringstream parts(gres);
  for (std::string part; std::getline(parts, part, ',');) {
    part = part.substr(0, part.find('('));
    if (part.starts_with("gpu:")) n += number(part.substr(part.rfind(':') + 1));
  }
  return n;
}

int64_t limit_in(const std::string& text) {
  try {
    return batch_time(text);
  } catch (const Error&) {
    return 0;  // infinite, n/a
  }
}

}  // namespace

std::vector<Partition> read_partitions(const std::string& sinfo) {
  std::vector<Partition> all;
  std::stringstream lines(sinfo);
  for (std::string line; std::getline(lines, line);) {
    std::vector<std::string> words;
    std::stringstream parts(line);
    for (std::string word; std::getline(parts, word, '|');) words.push_back(word);
    if (words.size() != 5 || words[0].empty()) continue;
    const bool is_default = words[0].ends_with('*');
    if (is_default) words[0].pop_back();
    auto found = std::find_if(all.begin(), all.end(), [&](const Partition& p) { return p.name == words[0]; });
    if (found == all.end())
      found = all.insert(all.end(), {words[0], is_default, limit_in(words[1]), 0, 0, 0});
    found->n_nodes += number(words[2]);
    found->cpus_per_node = std::max(found->cpus_per_node, number(words[3]));
    found->gpus_per_node = std::max(found->gpus_per_node, gpus_in(words[4]));
  }
  return all;
}

std::vector<Partition> ask_slurm() {
  std::FILE* pipe = popen("timeout 10 sinfo --noheader --format='%P|%l|%D|%c|%G' 2>/dev/null", "r");
  if (pipe == nullptr) return {};
  std::string output;
  std::array<char, 4096> buffer;
  while (const size_t n = std::fread(buffer.data(), 1, buffer.size(), pipe)) output.append(buffer.data(), n);
  return pclose(pipe) == 0 ? read_partitions(output) : std::vector<Partition>{};
}

void check_cluster(const std::vector<Partition>& partitions, const BatchRequest& request) {
  if (partitions.empty()) return;
  std::vector<std::string> names;
  const Partition* chosen = nullptr;
  for (const Partition& partition : partitions) {
    names.push_back(partition.name);
    if (request.partition.empty() ? partition.is_default : partition.name == request.partition)
      chosen = &partition;
  }
  if (chosen == nullptr && request.partition.empty()) return;  // the site chooses in its own way
  if (chosen == nullptr)
    throw Error("--partition " + request.partition, "this cluster has no such partition",
                fmt::format("choose one of: {}", fmt::join(names, ", ")));
  const std::string place = "partition " + chosen->name;
  const auto refuse = [&](const std::string& what, const char* option, int64_t asked, int64_t most,
                          const auto& fits) {
    std::vector<std::string> others;
    for (const Partition& partition : partitions)
      if (fits(partition)) others.push_back(partition.name);
    if (asked <= most) return;
    throw Error(
        place, fmt::format("{} {}, and {} were asked for", what, most, asked),
        fmt::format("give {} at most {}{}", option, most,
                    others.empty() ? "" : fmt::format(", or --partition {}", fmt::join(others, " or "))));
  };
  refuse("has nodes:", "--nodes", request.nodes, chosen->n_nodes,
         [&](const Partition& p) { return p.n_nodes >= request.nodes; });
  refuse("has no node with more GPUs than", "--gpus-per-node", request.gpus_per_node, chosen->gpus_per_node,
         [&](const Partition& p) { return p.gpus_per_node >= request.gpus_per_node; });
  const int64_t n_cpus = request.ranks_per_node * request.cpus_per_task;
  refuse("has no node with more cores than", "ranks per node times --cpus-per-task", n_cpus,
         chosen->cpus_per_node, [&](const Partition& p) { return p.cpus_per_node >= n_cpus; });
  if (chosen->time_limit_s > 0 && request.time_s > chosen->time_limit_s)
    throw Error(place,
                fmt::format("gives a job at most {}, and {} was asked for",
                            batch_time_text(chosen->time_limit_s), batch_time_text(request.time_s)),
                fmt::format("write --time {}: the job goes on after it, as often as it needs",
                            batch_time_text(chosen->time_limit_s)));
}

}  // namespace lockstep
