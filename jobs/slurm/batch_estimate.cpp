#include "jobs/slurm/batch_estimate.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "jobs/job_graph.h"
#include "jobs/scaling_runs.h"
#include "kernels/device.h"
#include "kernels/error.h"
#include "src/data/data.h"
#include "src/network/arena.h"
#include "src/run/progress.h"
#include "src/update/optimizer.h"

namespace lockstep {

namespace {

/// The last JSON object of a file.
Config last_object(const std::string& file) {
  std::ifstream stream(file);
  if (!stream) throw Error(file, "cannot be read", "name the file that bench step --json > FILE wrote");
  std::string last;
  for (std::string line; std::getline(stream, line);)
    if (line.starts_with("{")) last = line;
  if (last.empty()) throw Error(file, "holds no JSON object", "write it with bench step --json > FILE");
  return Config::from_text(last, file);
}

std::string hours(double time_s) {
  if (time_s < 90) return "about a minute";
  if (time_s < 3600) return fmt::format("{:.0f} minutes", time_s / 60);
  return time_s < 100 * 3600 ? fmt::format("{:.1f} hours", time_s / 3600)
                             : fmt::format("{:.1f} days", time_s / 86400);
}

}  // namespace

StateSize state_of(const Job& job) {
  const SizesOnly sizes_only;  // the job may be meant for a larger machine than this one
  const JobGraph built(job);
  const ParameterArena arena(built.graph, job.device);
  const Optimizer optimizer(job.optimizer, arena,
                            with_states(job.optimizer, arena, arena.n_before_trunk(built.graph)), true);
  return {arena.n_elements() * 4, optimizer.state_bytes()};
}

int64_t steps_of(const Job& job) {
  if (job.steps > 0) return job.steps;
  if (!job.train || (job.train->places.empty() && !std::filesystem::exists(job.train->path))) return 0;
  const JobData data = open_data(job);
  const LoaderOptions loading =
      make_loader_options(job, *data.train, data.train_fields, build_graph(job, data.contract), true,
                          data.contract.normalization, 0, 1, nullptr);
  return job.epochs * steps_per_epoch(loading, *data.train);
}

Estimation from_measurement(const Job& job, const BatchRequest& request, const std::string& file) {
  Config object = last_object(file);
  const int ranks = request.ranks();
  if (object.has("results")) {
    for (Config row : object.at("results").items())
      if (row.get_int("ranks") == ranks)
        return {row.get_double("step_ms"), fmt::format("{}: {} ranks measured", file, ranks)};
    throw Error(file, fmt::format("has no row of {} ranks", ranks),
                fmt::format("measure them: lockstep bench scaling … --ranks 1,{} --json > FILE", ranks));
  }
  const int64_t measured = object.get_int("ranks"), batch = object.get_int("global_batch");
  const int64_t global = job.micro_batch * job.n_micro();
  // The same work for each rank takes the same time, but for what the network adds.
  const double share =
      static_cast<double>(global) / ranks / (static_cast<double>(batch) / static_cast<double>(measured));
  return {object.get_double("step_ms") * share,
          fmt::format("{}: {} rank{} measured{}", file, measured, measured > 1 ? "s" : "",
                      measured == ranks ? "" : ", without what more ranks wait for each other")};
}

Estimation measure_here(const Job& job, const BatchRequest& request) {
  ScalingRuns runs;
  runs.job = request.job_file;
  runs.program = std::filesystem::canonical("/proc/self/exe").string();
  runs.settings = request.settings;
  runs.settings.push_back("batch.micro=" + std::to_string(job.micro_batch));
  runs.micro = job.micro_batch;
  runs.steps = 5;
  const std::optional<Config> result = runs.measure(1, job.micro_batch, 0);
  return {result->get_double("step_ms") * static_cast<double>(job.n_micro()) / request.ranks(),
          "one rank of this machine measured, without what ranks wait for each other"};
}

std::vector<std::string> estimate_lines(const Job& job, const BatchRequest& request, const StateSize& state,
                                        const Estimation& estimation) {
  std::vector<std::string> lines;
  lines.push_back(fmt::format("{} rank{} on {} node{}; a checkpoint has {}, {:.0f} s at 200 MB/s",
                              request.ranks(), request.ranks() > 1 ? "s" : "", request.nodes,
                              request.nodes > 1 ? "s" : "", human_bytes(state.bytes()),
                              std::ceil(state.save_s())));
  if (estimation.step_ms <= 0) return lines;
  const int64_t steps = steps_of(job);
  if (steps == 0) {
    lines.push_back(
        fmt::format("{:.3g} ms a step ({}); how many steps is not known, as the data are not here",
                    estimation.step_ms, estimation.rests_on));
    return lines;
  }
  const double time_s = static_cast<double>(steps) * estimation.step_ms * 1e-3;
  const double usable_s = static_cast<double>(request.time_s - request.signal_before_s);
  const bool on_gpus = request.gpus_per_node > 0;
  const double units =
      on_gpus ? request.nodes * request.gpus_per_node : request.ranks() * request.cpus_per_rank;
  lines.push_back(fmt::format(
      "{} steps of {:.3g} ms ({}): {}, {:.1f} {}-hours, {} start{} of this limit", grouped(double(steps)),
      estimation.step_ms, estimation.rests_on, hours(time_s), time_s / 3600 * units, on_gpus ? "GPU" : "core",
      static_cast<int64_t>(std::ceil(time_s / usable_s)), time_s > usable_s ? "s" : ""));
  return lines;
}

}  // namespace lockstep
