// lockstep train JOB.yaml: the whole of training, from data to report.
#include "src/run/train.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <cstdlib>
#include <filesystem>

#include "comm/agreement.h"
#include "jobs/command.h"
#include "jobs/doctor/checks.h"
#include "jobs/job_file.h"
#include "src/report/report.h"

namespace lockstep {

namespace po = boost::program_options;

namespace {

/// Collective. Doctor's judgement in brief: warnings on rank 0. Throws AgreedError where the ranks do not
/// share the place of the run folder.
void look_briefly(const Job& job, Communicator& comm, const std::string& out) {
  namespace fs = std::filesystem;
  std::string folder;
  check_on_root(comm, [&] {
    fs::path place = fs::absolute(out.empty() ? "runs/" + job.name : out);
    std::error_code ignored;
    while (!fs::is_directory(place, ignored) && place.has_relative_path()) place = place.parent_path();
    folder = place.string();
  });
  folder = comm.broadcast_string(folder);
  const std::vector<RankFacts> ranks = gather_facts(comm, folder, job.threads);
  check_on_root(comm, [&] {
    const bool means_it =
        job.more_threads_than_cores || std::getenv("OMPI_MCA_rmaps_base_oversubscribe") != nullptr;
    const BriefFindings brief = judge_briefly(ranks, means_it);
    if (!brief.refusal.empty())
      throw Error(folder, brief.refusal, "--out on a file system that all nodes share");
    for (const std::string& warning : brief.warnings) spdlog::warn("{}", warning);
  });
}

}  // namespace

static int train_command(const Words& words, Communicator& comm) {
  CommandLine line("train JOB.yaml [--set KEY=VALUE …] [--out DIR] [--resume auto|FILE]",
                   "Trains the network of a job file. The run folder receives metrics.jsonl, checkpoints\n"
                   "and report.html. A stop signal (SIGTERM, SIGUSR1, SIGINT) to any rank ends all ranks at\n"
                   "the same step with a checkpoint and exit status 85: start again with --resume auto.",
                   {"JOB.yaml"});
  line.add()("set", po::value<Words>()->composing(),
             "KEY=VALUE: change a key of the job file; may be repeated")("out", po::value<std::string>(),
                                                                         "run folder (default: runs/NAME)")(
      "resume", po::value<std::string>(),
      "auto: the newest whole checkpoint of the run folder, if any; or a file")(
      "overwrite", "start over: the old run's checkpoints and metrics go when the new run has saved one");
  if (!line.parse(words, comm.is_root())) return 0;

  const Job job = read_job_on_all_ranks(comm, line.get<std::string>("JOB.yaml"),
                                        line.has("set") ? line.get<Words>("set") : Words{});
  RunOptions options;
  options.out = line.text("out");
  options.resume = line.text("resume");
  options.overwrite = line.has("overwrite");
  options.job_file = line.text("JOB.yaml");
  if (comm.size() > 1) look_briefly(job, comm, options.out);
  const RunResult result = train(job, comm, options);

  if (comm.is_root()) {
    try {
      write_report(result.run_folder);
    } catch (const std::exception& e) {
      spdlog::warn("no report: {}", e.what());
    }
    const bool stopped = result.status == RunResult::Status::kStopped;
    fmt::print("{} after step {}{}\nrun folder: {}\n",
               stopped && result.by_time_limit ? "stopped before the time limit; continue with --resume auto:"
               : stopped                       ? "stopped by a signal; continue with --resume auto:"
               : result.status == RunResult::Status::kEarlyStopped ? "stopped early"
                                                                   : "finished",
               result.step,
               result.best_step < 0
                   ? ""
                   : fmt::format("; best validation {} {} (step {})", job.best.name,
                                 measure_text(result.best_value, job.best.is_share), result.best_step),
               result.run_folder);
  }
  return result.status == RunResult::Status::kStopped ? kExitStopped : 0;
}

namespace {
const bool train_registered = commands().add(
    "train", {.summary = "train a network from a job file", .run = train_command, .saves_when_stopped = true},
    1);
}

}  // namespace lockstep
