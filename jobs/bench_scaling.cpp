// lockstep bench scaling JOB.yaml --ranks 1,2,4: runs `bench step` on each number of ranks, in several
// rounds, through the launcher of the allocation or by Slurm; prints samples/s and efficiency and makes a
// page.
#include <fmt/format.h>
#include <unistd.h>

#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <optional>
#include <sstream>

#include "io/files/files.h"
#include "io/files/metrics.h"
#include "jobs/command.h"
#include "jobs/scaling_runs.h"
#include "kernels/error.h"
#include "src/config/config.h"
#include "src/report/scaling.h"
#include "src/run/progress.h"

namespace lockstep {

namespace po = boost::program_options;

namespace {

/// A micro-batch that shares the global batch among so many ranks, in the exact tree's way where it can: the
/// job's own where it fits, else the largest smaller one.
int64_t shared_micro_batch(int64_t global, int64_t micro, int n_ranks) {
  for (int64_t m = micro; m >= 1; --m) {
    if (global % m == 0 && global / m % n_ranks == 0) return m;
  }
  throw Error(fmt::format("--ranks {}", n_ranks),
              fmt::format("batch.global {} cannot be shared equally among so many ranks", global),
              "name ranks that divide it, or leave out --strong");
}

std::vector<int> read_ranks(const std::string& text) {
  std::vector<int> ranks;
  std::stringstream parts(text);
  for (std::string part; std::getline(parts, part, ',');) {
    int n = 0;
    const auto [end, error] = std::from_chars(part.data(), part.data() + part.size(), n);
    if (error != std::errc() || end != part.data() + part.size() || n < 1 || n > 1'000'000)
      throw UsageError(
          fmt::format("--ranks {}: expected whole numbers of at least 1 separated by commas", text),
          "write for instance --ranks 1,2,4");
    ranks.push_back(n);
  }
  return ranks;
}

ScalingSample sample_of(const Config& result) {
  return {result.get_double("step_ms"), result.get_double("samples_per_s"),
          result.get_double("communication_ms"), result.get_double("data_wait_ms", 0),
          result.get_double("joules", 0)};
}

void print_table(const ScalingStudy& study) {
  fmt::print("{} scaling of {}\n\n{:>6} {:>14} {:>12} {:>12} {:>12} {:>18} {:>13} {:>12}\n", study.mode,
             study.job, "ranks", "global batch", "step ms", "samples/s", "speed-up", "efficiency",
             "exposed comm", "input wait");
  for (size_t i = 0; i < study.rows.size(); ++i) {
    const ScalingRow& row = study.rows[i];
    const ScalingResult r = study.result(i);
    const std::string range =
        r.efficiency.half_width > 0 ? fmt::format(" ± {:.1f}", 100 * r.efficiency.half_width) : "";
    fmt::print("{:>6} {:>14} {:>12.3f} {:>12} {:>12.2f} {:>18} {:>11.1f} % {:>10.1f} %\n", row.ranks,
               row.global_batch, r.step_ms, grouped(r.samples_per_s), r.speed_up.value,
               fmt::format("{:.1f}{} %", 100 * r.efficiency.value, range), 100 * r.exposed_communication,
               100 * r.input_stall);
  }
}

std::string study_json(const ScalingStudy& study) {
  std::vector<std::string> rows;
  for (size_t i = 0; i < study.rows.size(); ++i) {
    const ScalingResult r = study.result(i);
    JsonObject row;
    row.set("ranks", study.rows[i].ranks)
        .set("global_batch", study.rows[i].global_batch)
        .set("micro_batch", study.rows[i].micro_batch)
        .set("step_ms", r.step_ms)
        .set("samples_per_s", r.samples_per_s);
    row.set("speed_up", r.speed_up.value)
        .set("efficiency", r.efficiency.value)
        .set("efficiency_half_width", r.efficiency.half_width)
        .set("exposed_communication", r.exposed_communication)
        .set("input_stall", r.input_stall);
    rows.push_back(row.str());
  }
  JsonObject object;
  object.set("job", study.job)
      .set("kind", study.mode)
      .set_raw("results", fmt::format("[{}]", fmt::join(rows, ", ")));
  return object.str();
}

ScalingRuns read_plan(const CommandLine& line) {
  ScalingRuns plan;
  plan.job = line.text("JOB.yaml");
  plan.program = this_program();
  plan.launcher = line.text("launcher");
  plan.steps = line.get<int64_t>("steps");
  plan.rounds = line.get<int>("rounds");
  if (plan.rounds < 1 || plan.rounds > 1000)
    throw UsageError(fmt::format("--rounds must be 1 to 1000, found {}", plan.rounds),
                     "write for instance --rounds 5");
  const std::string mode = line.has("strong") ? "strong" : line.text("mode");
  if (mode != "weak" && mode != "strong")
    throw UsageError(fmt::format("--mode is weak or strong, found '{}'", mode), "write --mode strong");
  plan.strong = mode == "strong";
  plan.by_slurm = line.has("slurm");
  if (line.has("set")) plan.settings = line.get<Words>("set");
  if (line.has("sbatch")) plan.sbatch = line.text("sbatch");
  if (line.has("sbatch") && !line.has("slurm"))
    throw UsageError("--sbatch goes with --slurm", "add --slurm, or leave it out");
  Config config = Config::from_file(plan.job);
  for (const std::string& assignment : plan.settings) config.set(assignment);
  plan.name = config.get_string("name", std::filesystem::path(plan.job).stem().string());
  Config batch = config.at("batch");
  batch.positional("global");
  plan.global = batch.get_int("global");
  plan.micro = batch.get_int("micro", plan.global);
  if (plan.global < 1 || plan.micro < 1 || plan.micro > plan.global)
    throw batch.error(
        fmt::format("global and micro must be at least 1, and micro no more than global; found {} and {}",
                    plan.global, plan.micro),
        "for instance batch: {global: 128, micro: 32}");
  if (line.has("out")) plan.folder = line.text("out");
  if (plan.folder.empty() && line.has("slurm"))
    throw UsageError("--slurm needs a folder for the results", "add --out DIR");
  if (!plan.folder.empty()) std::filesystem::create_directories(plan.folder + "/results");
  return plan;
}

}  // namespace

static int bench_scaling_command(const Words& words) {
  CommandLine line(
      "bench scaling JOB.yaml --ranks 1,2,4 [--mode weak|strong] [--rounds N] [--out DIR] [--slurm] [--json]",
      "Samples/s and efficiency per number of ranks. weak: every rank keeps the same work (batch.global\n"
      "grows with the ranks); strong: batch.global stays, and batch.micro becomes smaller where there are\n"
      "more ranks than micro-batches. Several rounds, in which all numbers of ranks take turns, give the\n"
      "efficiency its confidence. With --out, DIR/scaling.html and DIR/scaling.csv; what DIR has measured\n"
      "is not measured again. --slurm submits the measurements and returns; the same command makes the\n"
      "tables when they have ended.",
      {"JOB.yaml"});
  line.add()("ranks", po::value<std::string>()->default_value("1,2"), "numbers of ranks")(
      "mode", po::value<std::string>()->default_value("weak"), "weak or strong")(
      "strong", "as --mode strong")("rounds", po::value<int>()->default_value(1), "measurements of each")(
      "steps", po::value<int64_t>()->default_value(50), "timed steps of a measurement")(
      "launcher", po::value<std::string>()->default_value(default_launcher()),
      "what starts N ranks; N is appended")("set", po::value<Words>()->composing(),
                                            "KEY=VALUE: change a key of the job file")(
      "out", po::value<std::string>(), "folder of page, table and measurements")(
      "slurm", "submit each measurement with sbatch")(
      "sbatch", po::value<std::string>(), "options for sbatch, such as '--partition=gpu --time=10'")(
      "json", "print one JSON object");
  if (!line.parse(words)) return 0;
  const std::vector<int> ranks = read_ranks(line.text("ranks"));
  const ScalingRuns plan = read_plan(line);

  ScalingStudy study{plan.job, plan.name, plan.strong ? "strong" : "weak", {}};
  std::vector<int64_t> shared;
  for (const int n : ranks) {
    shared.push_back(plan.strong ? shared_micro_batch(plan.global, plan.micro, n) : plan.micro);
    study.rows.push_back({n, 0, shared.back(), {}});
  }
  int n_missing = 0;
  for (int round = 0; round < plan.rounds; ++round) {
    for (size_t i = 0; i < ranks.size(); ++i) {
      const std::optional<Config> result = plan.measure(ranks[i], shared[i], round);
      if (!result) {
        ++n_missing;
        continue;
      }
      study.rows[i].global_batch = result->get_int("global_batch");
      study.rows[i].samples.push_back(sample_of(*result));
    }
  }
  if (n_missing > 0) {
    fmt::print(
        "{} of {} measurements are with Slurm ({}/results holds their logs); the same command makes the "
        "tables when they have ended\n",
        n_missing, plan.rounds * static_cast<int>(ranks.size()), plan.folder);
    return 0;
  }
  if (line.has("json")) {
    fmt::print("{}\n", study_json(study));
  } else {
    print_table(study);
  }
  if (plan.folder.empty()) return 0;
  write_text_file_atomically(plan.folder + "/scaling.csv", scaling_csv(study));
  write_text_file_atomically(plan.folder + "/scaling.html", scaling_page(study));
  if (!line.has("json")) fmt::print("page: {0}/scaling.html\ntable: {0}/scaling.csv\n", plan.folder);
  return 0;
}

namespace {
const bool bench_scaling_registered =
    commands().add("bench scaling",
                   {.summary = "time a step on several numbers of ranks", .run = bench_scaling_command}, 14);
}

}  // namespace lockstep
