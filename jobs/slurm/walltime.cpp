#include "jobs/slurm/walltime.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <optional>

#include "jobs/slurm/batch_request.h"
#include "kernels/error.h"

namespace lockstep {

namespace {

constexpr double kAssumedBytesPerSecond = 100e6;
constexpr double kValidationShare = 1.0 / 3;

void use_step(const Config& row, const char* kind, int64_t ranks, int64_t global_batch, Measured& measured) {
  const int64_t measured_ranks = row.get_int("ranks"), measured_batch = row.get_int("global_batch");
  const double factor = static_cast<double>(global_batch) / static_cast<double>(measured_batch) *
                        static_cast<double>(measured_ranks) / static_cast<double>(ranks);
  measured.step_s = factor * 1e-3 * row.get_double("step_ms");
  measured.step_from = fmt::format("{} on {} rank{}", kind, measured_ranks, measured_ranks == 1 ? "" : "s");
  if (measured_ranks != ranks || measured_batch != global_batch)
    measured.step_from +=
        fmt::format(" with global batch {}, scaled as if each rank kept its rate", measured_batch);
}

std::string hours(double time_s) {
  return time_s < 360 ? fmt::format("{:.2g}", time_s / 3600) : fmt::format("{:.2f}", time_s / 3600);
}

}  // namespace

void add_measurement(const Config& result, int64_t ranks, int64_t global_batch, Measured& measured) {
  if (result.has("step_ms")) return use_step(result, "bench step", ranks, global_batch, measured);
  if (result.has("checkpoint_mib_per_s")) {
    measured.bytes_per_s = result.get_double("checkpoint_mib_per_s") * (1 << 20);
    return;
  }
  if (!result.has("results") || !result.at("results").is_list() || result.at("results").items().empty())
    throw Error("--measured", "the file holds neither a step nor a checkpoint that was measured",
                "give it the output of lockstep bench step, bench scaling or bench checkpoint with --json");
  const std::vector<Config> rows = result.at("results").items();
  const Config* nearest = &rows.front();
  const auto distance = [&](const Config& row) {
    return std::abs(std::log(static_cast<double>(row.get_int("ranks")) / static_cast<double>(ranks)));
  };
  for (const Config& row : rows)
    if (distance(row) < distance(*nearest)) nearest = &row;
  use_step(*nearest, "bench scaling", ranks, global_batch, measured);
}

double checkpoint_s(const JobWork& work, const Measured& measured) {
  return static_cast<double>(work.checkpoint_bytes) /
         (measured.bytes_per_s > 0 ? measured.bytes_per_s : kAssumedBytesPerSecond);
}

double work_s(const JobWork& work, const Measured& measured) {
  const double per_sample = measured.step_s / static_cast<double>(work.global_batch);
  return static_cast<double>(work.steps) * measured.step_s +
         static_cast<double>(work.n_validations) * static_cast<double>(work.validation_samples) * per_sample *
             kValidationShare +
         checkpoint_s(work, measured);
}

int64_t restarts(double work_s, int64_t time_s, double leaves_before_s) {
  const double usable = static_cast<double>(time_s) - leaves_before_s - kStart_s;
  if (usable <= 0) return -1;
  return std::max<int64_t>(0, static_cast<int64_t>(std::ceil(work_s / usable)) - 1);
}

std::vector<std::string> walltime_lines(const JobWork& work, const Measured& measured, int64_t ranks,
                                        int64_t cpus_per_task, bool on_gpus, int64_t time_s,
                                        int64_t leaves_before_s) {
  const double one = checkpoint_s(work, measured);
  std::vector<std::string> lines;
  const std::string rate = measured.bytes_per_s > 0 ? "as measured" : "at an assumed 100 MB/s";
  if (work.checkpoint_bytes == 0) {
    lines.emplace_back("The size of a checkpoint is not known without the data.");
    return lines;
  }
  lines.push_back(fmt::format("A checkpoint holds {:.1f} MB and takes {:.1f} s {}.",
                              static_cast<double>(work.checkpoint_bytes) * 1e-6, one, rate));
  if (measured.step_s <= 0) return lines;
  const double total = work_s(work, measured);
  const auto n_units = static_cast<double>(on_gpus ? ranks : ranks * cpus_per_task);
  lines.push_back(fmt::format("Estimate: {} hours, {} {} hours: {} steps of {:.3g} ms ({}), {} validations.",
                              hours(total), hours(total * n_units), on_gpus ? "GPU" : "core", work.steps,
                              1e3 * measured.step_s, measured.step_from, work.n_validations));
  const int64_t n = restarts(total, time_s, static_cast<double>(leaves_before_s));
  lines.push_back(
      n < 0 ? fmt::format("A job of {} has no time left beside its start and end.", batch_time_text(time_s))
            : fmt::format("Jobs of {}: {} restart{}.", batch_time_text(time_s), n, n == 1 ? "" : "s"));
  return lines;
}

}  // namespace lockstep
