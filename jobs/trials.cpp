#include "jobs/trials.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <cmath>
#include <filesystem>

#include "comm/agreement.h"
#include "io/files/files.h"
#include "jobs/job_file.h"
#include "src/report/report.h"
#include "src/run/replaced_run.h"
#include "src/run/train.h"

namespace lockstep {

namespace po = boost::program_options;
namespace fs = std::filesystem;

namespace {

void prepare_folder(const std::string& out, const std::string& job_file) {
  std::error_code error;
  if (is_run_folder(out))
    throw Error(out, "is the folder of a run, and would become one of many runs", "choose another --out");
  fs::create_directories(out, error);
  if (error) throw Error(out, "cannot be created: " + error.message(), "choose a writable --out");
  if (fs::equivalent(fs::absolute(job_file).parent_path(), out, error))
    throw Error(out, "is the folder of the job file itself", "choose another --out");
}

void write_page_of_run(const std::string& folder) {
  try {
    write_report(folder);
  } catch (const std::exception& e) {
    spdlog::warn("no report: {}", e.what());
  }
}

}  // namespace

void add_trial_options(CommandLine& line, const char* what) {
  line.add()("set", po::value<Words>()->composing(),
             "KEY=VALUE: change a key of the job file; may be repeated")(
      "out", po::value<std::string>(), "folder of the runs, the table and the page")(
      "only", po::value<int64_t>(),
      fmt::format("train this {} alone, from 1, as a task of a batch array", what).c_str())(
      "overwrite", "train all anew; else what has ended stays, and what was interrupted goes on");
}

std::string job_name(Communicator& comm, const TrialsOptions& options) {
  return read_job_on_all_ranks(comm, options.job_file, options.set).name;
}

std::string outcome_line(const Trial& trial, const TrialOutcome& outcome, const Measure& measure) {
  if (outcome.status == TrialOutcome::Status::kMissing) return trial.name + ": not begun";
  if (!std::isfinite(outcome.best)) return trial.name + ": " + outcome.words;
  return fmt::format("{}: best validation {} {} (step {:.0f}), {}", trial.name, measure.name,
                     measure_text(outcome.best, measure.is_share), outcome.best_step, outcome.words);
}

void write_of_trials(const TrialsOptions& options, const std::string& name, const std::string& text) {
  const std::string path = options.out + "/" + name;
  if (options.only == 0) return write_text_file_atomically(path, text);
  const std::string own = options.out + "/." + name + ".only-" + std::to_string(options.only);
  write_text_file_atomically(own, text);
  rename_durably(own, path);
}

TrialsResult run_trials(Communicator& comm, const std::vector<Trial>& trials, const TrialsOptions& options,
                        const std::function<void(const TrialsResult&)>& tell) {
  TrialsResult result;
  for (const Trial& trial : trials) {
    Words set = options.set;
    set.insert(set.end(), trial.assignments.begin(), trial.assignments.end());
    result.jobs.push_back(read_job_on_all_ranks(comm, options.job_file, set));
  }
  const auto folder_of = [&](size_t i) { return options.out + "/" + trials[i].name; };
  const auto look = [&](size_t i) {
    return read_trial(folder_of(i), result.jobs[i].text, result.jobs[i].best);
  };
  // Others may be writing to the folders of theirs, which are for the table alone then.
  const auto is_of_others = [&](size_t i) {
    return options.only > 0 && options.only != static_cast<int64_t>(i) + 1;
  };
  const auto look_at_others = [&] {
    for (size_t i = 0; i < trials.size(); ++i) {
      if (!is_of_others(i)) continue;
      try {
        result.outcomes[i] = look(i);
      } catch (const Error& e) {
        spdlog::warn("{} is left out of the table: {}", trials[i].name, e.what());
      }
    }
  };
  result.outcomes.resize(trials.size());
  check_on_root(comm, [&] {
    if (options.only > static_cast<int64_t>(trials.size()) || options.only < 0)
      throw Error("--only", fmt::format("names number {} of {}", options.only, trials.size()),
                  fmt::format("give a number from 1 to {}", trials.size()));
    if (!result.jobs.front().validation)
      throw Error("data.validation", "is missing: trials are compared by their validation",
                  "add data.validation to the job");
    prepare_folder(options.out, options.job_file);
    for (size_t i = 0; i < trials.size(); ++i) {
      if (!options.overwrite && !is_of_others(i)) result.outcomes[i] = look(i);
    }
    look_at_others();
    tell(result);
  });
  for (size_t i = 0; i < trials.size(); ++i) {
    if (is_of_others(i)) continue;
    if (comm.broadcast_string(result.outcomes[i].is_done() ? "done" : "") == "done") {
      if (comm.is_root())
        fmt::print("{}\n", outcome_line(trials[i], result.outcomes[i], result.jobs[i].best));
      continue;
    }
    if (comm.is_root()) fmt::print("{} of {}: {}\n", i + 1, trials.size(), folder_of(i));
    RunOptions run;
    run.out = folder_of(i);
    run.overwrite = options.overwrite;
    if (!options.overwrite) run.resume = "auto";
    RunResult::Status ended = RunResult::Status::kFinished;
    bool has_failed = false;
    try {
      ended = train(result.jobs[i], comm, run).status;
    } catch (const AgreedError& e) {
      if (!options.goes_on) throw;
      if (comm.is_root()) fmt::print(stderr, "lockstep: {}: {}\n", trials[i].name, e.what());
      has_failed = true;
    }
    check_on_root(comm, [&] {
      if (fs::exists(folder_of(i) + "/metrics.jsonl")) write_page_of_run(folder_of(i));
      result.outcomes[i] = look(i);
      look_at_others();
      fmt::print("{}\n", outcome_line(trials[i], result.outcomes[i], result.jobs[i].best));
      tell(result);
    });
    // A trial whose loss was not finite has ended, and is a result.
    const bool has_ended = comm.broadcast_string(result.outcomes[i].is_done() ? "done" : "") == "done";
    if (has_failed && !has_ended) result.status = kExitError;
    if (ended == RunResult::Status::kStopped) {
      result.status = kExitStopped;
      break;
    }
  }
  return result;
}

}  // namespace lockstep
