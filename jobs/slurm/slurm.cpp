// lockstep slurm JOB.yaml: a batch script for the job at hand, after the checks that would otherwise fail in
// the queue; and lockstep slurm --progress RUN_DIR, which the scripts ask at each start.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <optional>
#include <sstream>

#include "io/files/files.h"
#include "jobs/command.h"
#include "jobs/job_file.h"
#include "jobs/scaling_runs.h"
#include "jobs/slurm/batch_request.h"
#include "jobs/slurm/cluster.h"
#include "jobs/slurm/start_progress.h"
#include "jobs/slurm/walltime.h"
#include "kernels/error.h"
#include "src/data/data.h"
#include "src/network/arena.h"
#include "src/run/select/grid.h"
#include "src/run/trained_model.h"
#include "src/update/optimizer.h"

namespace lockstep {

namespace po = boost::program_options;
namespace fs = std::filesystem;

namespace {

int progress_command(const Words& words) {
  CommandLine line(
      "slurm --progress RUN_DIR | --finished RUN_DIR",
      "For batch scripts. --finished: status 1 where the newest checkpoint is not that of the run's\n"
      "end. --progress, at each start: notes the step of the newest checkpoint in\n"
      "RUN_DIR/starts.jsonl. Ends with status 1 and a sentence where two starts of the same batch\n"
      "job, or chain of jobs (LOCKSTEP_CHAIN), made no progress.",
      {});
  line.add()("progress", po::value<std::string>(), "the run folder")("finished", po::value<std::string>(),
                                                                     "the run folder");
  if (!line.parse(words)) return 0;
  if (line.has("finished")) {
    const bool finished = is_finished(line.text("finished"));
    if (!finished) fmt::print("{} is not finished\n", line.text("finished"));
    return finished ? 0 : 1;
  }
  const std::string run = line.text("progress"), chain = chain_of_environment();
  if (chain.empty()) {
    fmt::print(stderr, "lockstep: outside of a batch job there are no starts to compare\n");
    return 0;
  }
  add_start(run, chain);
  const std::string why = why_to_stop(read_starts(run));
  if (why.empty()) return 0;
  throw Error(run, why, "see what the log says of the starts before, mend it and submit the job again");
}

void say(const std::string& text) { fmt::print(stderr, "{}\n", text); }

/// How the script calls this program: by name where the shell finds it by that.
std::string program_word() {
  const std::string own = this_program();
  const char* path = std::getenv("PATH");
  std::stringstream folders(path == nullptr ? "" : path);
  std::error_code error;
  for (std::string folder; std::getline(folders, folder, ':');) {
    if (!fs::exists(folder + "/lockstep", error)) continue;
    return fs::equivalent(folder + "/lockstep", own, error) ? "lockstep" : own;
  }
  return own;
}

int64_t count_option(const CommandLine& line, const char* name, int64_t fallback, int64_t most = 1'000'000) {
  if (!line.has(name)) return fallback;
  const auto value = line.get<int64_t>(name);
  if (value < 1 || value > most)
    throw UsageError(fmt::format("--{} must be 1 to {}, found {}", name, most, value),
                     fmt::format("write for instance --{} 2", name));
  return value;
}

/// How many runs `sweep …` or `kfold …` stands for.
int64_t count_trials(const std::string& trials) {
  Words words = po::split_unix(trials);
  const std::string kind = words.empty() ? "" : words.front();
  if (kind != "kfold" && kind != "sweep")
    throw UsageError(
        fmt::format("--array begins with kfold or sweep, found '{}'", trials),
        "write for instance --array 'kfold --folds 5' or --array 'sweep --grid optimizer.sgd.lr=0.1,0.01'");
  words.erase(words.begin());
  CommandLine line("slurm … --array '" + trials + "'", "", {});
  line.add()("grid", po::value<Words>()->composing(), "")("range", po::value<Words>()->composing(), "")(
      "random", po::value<int64_t>()->default_value(0), "")(
      "seed", po::value<int64_t>()->default_value(0), "")("folds", po::value<int64_t>()->default_value(5),
                                                          "")("stratify", "")("group-by",
                                                                              po::value<std::string>(), "");
  line.parse(words);
  if (kind == "kfold") return count_option(line, "folds", 5, 1000);
  const auto texts = [&](const char* name) { return line.has(name) ? line.get<Words>(name) : Words{}; };
  return static_cast<int64_t>(sweep_cells(texts("grid"), texts("range"), line.get<int64_t>("random"),
                                          static_cast<uint64_t>(line.get<int64_t>("seed")))
                                  .size());
}

/// The command line again, without what says where it was written.
std::string written_by(const Words& words) {
  Words kept = {"lockstep", "slurm"};
  for (size_t i = 0; i < words.size(); ++i) {
    if (words[i] == "--elsewhere" || words[i] == "--overwrite" || words[i].starts_with("--out=")) continue;
    if (words[i] == "--out") {
      ++i;
      continue;
    }
    kept.push_back(words[i]);
  }
  return shell_words(kept);
}

BatchRequest read_request(const CommandLine& line, const Words& words) {
  BatchRequest request;
  request.written_by = written_by(words);
  request.system = line.text("system");
  if (request.system != "slurm" && request.system != "pbs" && request.system != "lsf")
    throw UsageError(fmt::format("--system is slurm, pbs or lsf, found '{}'", request.system),
                     "write --system slurm");
  request.job_file = line.text("JOB.yaml");
  request.program = program_word();
  if (line.has("set")) request.settings = line.get<Words>("set");
  request.nodes = count_option(line, "nodes", 1);
  if (line.has("gpus-per-node") && line.has("ranks-per-node"))
    throw UsageError(
        "--gpus-per-node and --ranks-per-node exclude each other: there is one rank for each GPU",
        "leave one of them out");
  request.gpus_per_node = count_option(line, "gpus-per-node", 0, 1000);
  request.ranks_per_node =
      request.gpus_per_node > 0 ? request.gpus_per_node : count_option(line, "ranks-per-node", 1);
  request.cpus_per_task = count_option(line, "cpus-per-task", 0, 4096);
  if (!line.has("time")) throw UsageError("--time is missing", "write for instance --time 4:00:00");
  request.time_s = batch_time(line.text("time"));
  request.partition = line.text("partition");
  request.account = line.text("account");
  request.mpi = line.text("mpi");
  request.container = line.text("container");
  if (line.has("module")) request.modules = line.get<Words>("module");
  request.links = count_option(line, "chain", 0, 1000);
  if (line.has("array")) {
    request.trials = line.text("array");
    request.n_trials = count_trials(request.trials);
  }
  if (request.links > 0 && (request.n_trials > 0 || request.system != "slurm"))
    throw UsageError("--chain is for one run under Slurm", "leave out --chain, or --array and --system");
  return request;
}

/// The job as the login node may read it, which need not have its GPUs.
Job read_login_job(const BatchRequest& request) {
  Config config = read_job_file(request.job_file, request.settings);
  const std::string device = config.get_string("device", "");
  if (device.starts_with("cuda") && request.gpus_per_node == 0)
    throw Error(request.job_file, "the job computes on GPUs, and the script asks for none",
                "add --gpus-per-node 4, or --set device=cpu");
  if (device == "cpu" && request.gpus_per_node > 0)
    throw Error(request.job_file, "the job computes on CPUs, and the script asks for GPUs",
                "add --set device=cuda, or ask for --ranks-per-node instead");
  use_without_gpu(config);
  return read_job(config);
}

void fit_threads(const Job& job, BatchRequest& request) {
  if (request.cpus_per_task == 0) request.cpus_per_task = job.threads;
  if (job.threads > request.cpus_per_task)
    throw Error(
        fmt::format("--cpus-per-task {}", request.cpus_per_task),
        fmt::format("is less than the job's {} threads of a rank", job.threads),
        fmt::format("ask for --cpus-per-task {0}, or --set threads={1}", job.threads, request.cpus_per_task));
  if (job.threads < request.cpus_per_task && request.gpus_per_node == 0)
    say(fmt::format(
        "of the {0} cores of a rank the job uses {1}: --set threads={0} would use all (and is a part of "
        "what fixes the bits)",
        request.cpus_per_task, job.threads));
}

void warn_of_missing_data(const Job& job) {
  for (const auto& source : {job.train, job.validation}) {
    std::error_code error;
    if (source && source->places.empty() && !fs::exists(source->path, error))
      say("here is no " + source->path + ": the data must be there on the nodes");
  }
}

/// Steps need the data; without them there is no estimate.
JobWork work_of(Job job) {
  JobWork work;
  work.global_batch = job.global_batch;
  work.checkpoint_every_minutes = job.checkpoint_every_minutes;
  job.normalize = Job::Normalize::kNone;  // measuring the data is not needed here
  std::error_code error;
  const bool has_data = job.train && (!job.train->places.empty() || fs::exists(job.train->path, error));
  JobData data;
  if (has_data) {
    if (job.validation && job.validation->places.empty() && !fs::exists(job.validation->path, error))
      job.validation.reset();
    data = open_data(job);
  }
  Graph graph;
  try {
    graph = build_graph(job, data.contract);
  } catch (const Error&) {
    if (has_data) throw;
    return work;  // the data would say what the model's input is
  }
  const SizesOnly sizes_only;
  const ParameterArena arena(graph, job.device);
  const Optimizer optimizer(job.optimizer, arena,
                            with_states(job.optimizer, arena, arena.n_before_trunk(graph)), true);
  work.checkpoint_bytes = 4 * arena.n_elements() + optimizer.state_bytes();
  work.steps = job.steps;
  if (!has_data) return work;
  work.steps_per_epoch = steps_per_epoch(make_loader_options(job, *data.train, data.train_fields, graph, true,
                                                             data.contract.normalization, 0, 1),
                                         *data.train);
  if (work.steps == 0) work.steps = job.epochs * work.steps_per_epoch;
  const int64_t epochs = work.steps / work.steps_per_epoch;
  if (data.validation) {
    work.n_validations = std::max<int64_t>(1, epochs / job.validate_every_epochs);
    work.validation_samples = data.validation->n_samples();
  }
  return work;
}

Measured measure(const CommandLine& line, const BatchRequest& request, const Job& job) {
  Measured measured;
  for (const std::string& file : line.has("measured") ? line.get<Words>("measured") : Words{})
    add_measurement(Config::from_file(file), request.ranks(), job.global_batch, measured);
  if (!line.has("estimate")) return measured;
  ScalingRuns bench;
  bench.job = request.job_file;
  bench.program = this_program();
  bench.launcher = line.text("launcher");
  bench.settings = request.settings;
  bench.micro = job.micro_batch;
  bench.steps = 10;
  bench.strong = true;  // the job's own batch
  add_measurement(*bench.measure(static_cast<int>(request.ranks()), job.micro_batch, 0), request.ranks(),
                  job.global_batch, measured);
  return measured;
}

std::string script_of(const BatchRequest& request) {
  return request.system == "pbs"   ? pbs_script(request)
         : request.system == "lsf" ? lsf_script(request)
                                   : slurm_script(request);
}

void check_against_cluster(const BatchRequest& request) {
  const std::vector<Partition> partitions = ask_slurm();
  if (partitions.empty()) return say("no Slurm answers here: partitions, GPUs and limits are not checked");
  check_cluster(partitions, request);
}

void add_options(CommandLine& line) {
  line.add()("nodes", po::value<int64_t>(), "nodes (default: 1)")("gpus-per-node", po::value<int64_t>(),
                                                                  "GPUs of a node; one rank for each")(
      "ranks-per-node", po::value<int64_t>(), "ranks of a node, without GPUs (default: 1)")(
      "cpus-per-task", po::value<int64_t>(), "cores of a rank (default: the job's threads)")(
      "time", po::value<std::string>(), "limit of one job, as for sbatch: 90, 4:00:00, 2-12")(
      "partition", po::value<std::string>(), "partition or queue")(
      "account", po::value<std::string>(), "account")("run", po::value<std::string>(),
                                                      "run folder (default: runs/NAME)")(
      "set", po::value<Words>()->composing(), "KEY=VALUE: change a key of the job file; may be repeated")(
      "array", po::value<std::string>(), "'sweep …' or 'kfold …': one task for each of its runs")(
      "chain", po::value<int64_t>(), "so many linked jobs, where a site does not requeue")(
      "module", po::value<Words>()->composing(), "a module to load; may be repeated")(
      "container", po::value<std::string>(), "an image for Apptainer")(
      "mpi", po::value<std::string>()->default_value("pmix"), "how srun starts MPI: pmix, pmi2, cray_shasta")(
      "signal-before", po::value<int64_t>(),
      "seconds before the limit at which ranks are told to save; 0: no signal")(
      "estimate", "time a few steps here, for an estimate of hours and restarts")(
      "launcher", po::value<std::string>()->default_value(default_launcher()),
      "what starts N ranks for --estimate")(
      "measured", po::value<Words>()->composing(),
      "the same from a file of bench step, scaling or checkpoint --json")(
      "system", po::value<std::string>()->default_value("slurm"), "slurm, pbs or lsf")(
      "elsewhere", "the script is for another cluster than this one: nothing is asked here")(
      "out", po::value<std::string>(), "file for the script (default: standard output)")(
      "overwrite", "replace that file")("progress", po::value<std::string>(),
                                        "RUN_DIR: see slurm --progress --help")(
      "finished", po::value<std::string>(), "RUN_DIR: whether the run has come to its end");
}

int slurm_command(const Words& words) {
  for (const std::string& word : words)
    if (word.starts_with("--progress") || word.starts_with("--finished")) return progress_command(words);
  CommandLine line(
      "slurm JOB.yaml --nodes N [--gpus-per-node G | --ranks-per-node R] --time T [--out FILE]",
      "Writes a batch script that trains the job and goes on by itself after the time limit,\n"
      "preemption and node failures, after checking ranks, threads, times and, where Slurm answers,\n"
      "partition and GPUs. Submit it with sbatch.",
      {"JOB.yaml"});
  add_options(line);
  if (!line.parse(words)) return 0;
  BatchRequest request = read_request(line, words);
  const Job job = read_login_job(request);
  request.name = job.name;
  const std::string kind = request.trials.substr(0, request.trials.find(' '));
  request.run_folder =
      line.has("run") ? line.text("run") : "runs/" + job.name + (kind.empty() ? "" : "-" + kind);
  check_batch_for_ranks(job.global_batch, job.micro_batch, request.ranks(),
                        job.reduction == Reduction::kNative);
  fit_threads(job, request);
  const JobWork work = work_of(job);
  Measured measured = measure(line, request, job);
  const double one_checkpoint_s = checkpoint_s(work, measured);
  request.signal_before_s = usual_signal_before_s(request.time_s, one_checkpoint_s);
  if (line.has("signal-before")) request.signal_before_s = line.get<int64_t>("signal-before");
  if (request.signal_before_s < 0)
    throw UsageError("--signal-before must not be negative", "write --signal-before 120");
  check_times(request.time_s, request.signal_before_s, one_checkpoint_s);
  if (request.system == "slurm" && !line.has("elsewhere")) check_against_cluster(request);
  warn_of_missing_data(job);
  if (measured.step_s > 0 && work.steps == 0) {
    say("the number of steps is not known without the data: no estimate");
    measured.step_s = 0;
  }
  request.notes = walltime_lines(work, measured, request.ranks(), request.cpus_per_task,
                                 request.gpus_per_node > 0, request.time_s, request.signal_before_s);
  for (const std::string& note : request.notes) say(note);
  const std::string script = script_of(request);
  if (!line.has("out")) {
    fmt::print("{}", script);
    return 0;
  }
  check_output_file(line.text("out"), line.has("overwrite"), {request.job_file});
  write_text_file_atomically(line.text("out"), script);
  const char* submit = request.system == "pbs" ? "qsub " : request.system == "lsf" ? "bsub < " : "sbatch ";
  say("submit it with: " + std::string(submit) + shell_word(line.text("out")));
  return 0;
}

const bool slurm_registered =
    commands().add("slurm", {.summary = "write a batch script for a job", .run = slurm_command}, 4);

}  // namespace

}  // namespace lockstep
