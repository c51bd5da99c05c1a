// lockstep slurm JOB.yaml: writes the batch script that trains a job, after asking the job and the cluster
// whether it can. lockstep slurm --progress RUN: whether another start is of use; scripts ask it.
#include <fmt/format.h>

#include <array>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "io/checkpoint/checkpoint.h"
#include "io/files/files.h"
#include "jobs/command.h"
#include "jobs/job_file.h"
#include "jobs/slurm/batch_checks.h"
#include "jobs/slurm/batch_estimate.h"
#include "kernels/error.h"
#include "kernels/printable.h"
#include "src/run/trained_model.h"

namespace lockstep {

namespace po = boost::program_options;

namespace {

constexpr const char* kStarts =
    "starts.txt";  // in the run folder: the newest checkpoint's step at each start

/// What a command prints; "" where it cannot be run.
std::string output_of(const char* command) {
  std::FILE* pipe = popen(command, "r");
  if (pipe == nullptr) return "";
  std::string output;
  std::array<char, 4096> buffer;
  while (const size_t n = std::fread(buffer.data(), 1, buffer.size(), pipe)) output.append(buffer.data(), n);
  return pclose(pipe) == 0 ? output : "";
}

int report_progress(const std::string& run) {
  int64_t now = -1;
  const std::string checkpoints = run + "/checkpoints";
  if (std::filesystem::is_directory(checkpoints))
    for (const std::string& path : list_checkpoints(checkpoints)) now = std::max(now, checkpoint_step(path));
  std::vector<int64_t> earlier;
  const std::string file = run + "/" + kStarts;
  if (std::ifstream lines(file); lines)
    for (int64_t step = 0; lines >> step;) earlier.push_back(step);
  if (makes_no_progress(earlier, now))
    throw Error(
        run,
        now < 0 ? "two starts in a row ended before a first checkpoint"
                : fmt::format("two starts in a row ended without a checkpoint after step {}", now),
        fmt::format(
            "see the job's log; give it more --time or checkpoint.every_steps fewer steps, then remove {} "
            "and submit again",
            file));
  std::filesystem::create_directories(run);
  std::ofstream(file, std::ios::app) << now << "\n";
  fmt::print("start {}: {}\n", earlier.size() + 1,
             now < 0 ? "no checkpoint yet" : fmt::format("goes on from step {}", now));
  return 0;
}

/// Whether the newest checkpoint of a run is that of its end.
bool is_finished(const std::string& run) {
  const std::string checkpoints = run + "/checkpoints";
  std::string newest;
  if (std::filesystem::is_directory(checkpoints))
    for (const std::string& path : list_checkpoints(checkpoints))
      if (newest.empty() || checkpoint_step(path) > checkpoint_step(newest)) newest = path;
  if (newest.empty()) return false;
  const CheckpointInfo info = read_checkpoint_info(newest);
  const auto finished = info.numbers.find("finished");
  return finished != info.numbers.end() && finished->second != 0;
}

BatchSystem read_system(const std::string& text) {
  if (text == "slurm") return BatchSystem::kSlurm;
  if (text == "pbs") return BatchSystem::kPbs;
  if (text == "lsf") return BatchSystem::kLsf;
  throw UsageError(fmt::format("--system is slurm, pbs or lsf, found '{}'", text), "write --system slurm");
}

int at_least(const CommandLine& line, const std::string& name, int least) {
  const int value = line.get<int>(name);
  if (value < least || value > 1'000'000)
    throw UsageError(fmt::format("--{} must be at least {}, found {}", name, least, value),
                     fmt::format("write for instance --{} {}", name, std::max(least, 1)));
  return value;
}

BatchRequest read_request(const CommandLine& line, const Job& job, const Words& words) {
  BatchRequest request;
  request.made_by = printable(fmt::format("Made by: lockstep slurm {}", fmt::join(words, " ")));
  request.job_file = line.text("JOB.yaml");
  request.name = job.name;
  request.run_folder = line.has("run") ? line.text("run") : "runs/" + job.name;
  if (line.has("set")) request.settings = line.get<Words>("set");
  request.system = read_system(line.text("system"));
  request.nodes = at_least(line, "nodes", 1);
  request.gpus_per_node = at_least(line, "gpus-per-node", 0);
  request.ranks_per_node =
      line.has("ranks-per-node") ? at_least(line, "ranks-per-node", 1) : std::max(1, request.gpus_per_node);
  request.cpus_per_rank =
      line.has("cpus-per-task") ? at_least(line, "cpus-per-task", 1) : std::max(1, job.threads);
  request.time_s = read_walltime(line.text("time"));
  request.signal_before_s = at_least(line, "signal-before", 1);
  for (const auto& [name, value] : {std::pair{"partition", &request.partition},
                                    {"account", &request.account},
                                    {"array", &request.array},
                                    {"container", &request.container}})
    if (line.has(name)) *value = line.text(name);
  request.mpi = line.text("mpi");
  request.program = line.text("program");
  request.command = line.text("run-as");
  if (request.command != "train" && request.array.empty())
    throw UsageError("--run-as goes with --array", "add for instance --array 1-5");
  if (line.has("module")) request.modules = line.get<Words>("module");
  if (line.has("chain")) request.chain = at_least(line, "chain", 2);
  if (line.has("out")) request.script_file = std::filesystem::absolute(line.text("out")).string();
  if (request.chain > 0 && request.script_file.empty())
    throw UsageError("--chain submits the script again, which must be a file", "add --out FILE");
  return request;
}

void ask_cluster(const BatchRequest& request) {
  if (request.system != BatchSystem::kSlurm) return;
  const std::string said = output_of("sinfo -h -o '%R|%l|%G|%c|%D' 2>/dev/null");
  if (said.empty())
    fmt::print(stderr,
               "note: Slurm does not answer here, so partitions, GPUs and limits were not compared\n");
  else
    check_cluster(request, read_partitions(said));
}

int slurm_command(const Words& words) {
  CommandLine line(
      "slurm JOB.yaml --nodes N [--gpus-per-node G | --ranks-per-node R] --time T [options]",
      "Writes a batch script that trains a job: one rank for each GPU, a signal before the limit, "
      "requeueing\n"
      "until the run is finished. Prints it, or writes the file --out. The job is asked whether so many "
      "ranks\n"
      "can share its batch, and Slurm, where it answers, whether it has such nodes and grants such a time.\n"
      "--progress RUN tells whether another start of that run is of use, --finished RUN whether it has\n"
      "come to its end (status 1: no); scripts ask both.",
      {});
  line.add()("nodes", po::value<int>()->default_value(1), "nodes")(
      "gpus-per-node", po::value<int>()->default_value(0), "GPUs of a node, one rank each; 0: ranks on CPUs")(
      "ranks-per-node", po::value<int>(), "ranks of a node (default: its GPUs, or 1)")(
      "cpus-per-task", po::value<int>(), "cores of a rank (default: the job's threads)")(
      "time", po::value<std::string>(), "limit, such as 30, 04:00:00 or 1-12:00:00")(
      "partition", po::value<std::string>(), "partition or queue")("account", po::value<std::string>(),
                                                                   "account")(
      "array", po::value<std::string>(), "tasks of an array, such as 1-5: seeds, or what --run-as names")(
      "run-as", po::value<std::string>()->default_value("train"),
      "what each task runs, such as 'kfold --folds 5' or 'sweep --grid KEY=A,B'")(
      "chain", po::value<int>(), "so many jobs behind each other in place of requeueing")(
      "signal-before", po::value<int>()->default_value(120), "seconds before the limit at which ranks save")(
      "run", po::value<std::string>(), "run folder (default: runs/NAME)")(
      "out", po::value<std::string>(), "file to write")("overwrite", "replace it")(
      "module", po::value<Words>()->composing(), "module to load; may be repeated")(
      "container", po::value<std::string>(), "image for apptainer")(
      "mpi", po::value<std::string>()->default_value("pmix"), "srun's --mpi: pmix, pmi2, cray_shasta")(
      "program", po::value<std::string>()->default_value("lockstep"), "lockstep as the nodes find it")(
      "system", po::value<std::string>()->default_value("slurm"), "slurm, pbs or lsf")(
      "measured", po::value<std::string>(),
      "output of bench step --json or bench scaling --json: estimates the time")(
      "estimate", "measures a micro-batch here and estimates the time")(
      "set", po::value<Words>()->composing(), "KEY=VALUE: change a key of the job file; may be repeated")(
      "progress", po::value<std::string>(), "RUN: whether another start is of use")(
      "finished", po::value<std::string>(), "RUN: whether its last checkpoint is that of its end")(
      "JOB.yaml", po::value<std::string>(), "");
  const bool has_job = !words.empty() && !words.front().starts_with("-");
  Words all = words;
  if (has_job) all.insert(all.begin(), "--JOB.yaml");
  if (!line.parse(all)) return 0;
  if (line.has("progress")) {
    return report_progress(line.text("progress"));
  }
  if (line.has("finished")) {
    const bool finished = is_finished(line.text("finished"));
    if (!finished) fmt::print("{} is not finished\n", line.text("finished"));
    return finished ? 0 : 1;
  }
  if (!line.has("JOB.yaml"))
    throw UsageError("JOB.yaml is missing", "lockstep slurm JOB.yaml --nodes 2 --time 04:00:00");
  if (!line.has("time")) throw UsageError("--time is missing", "write for instance --time 04:00:00");
  if (line.has("measured") && line.has("estimate"))
    throw UsageError("--measured and --estimate exclude each other", "choose one of them");

  Config config = read_job_file(line.text("JOB.yaml"), line.has("set") ? line.get<Words>("set") : Words{});
  use_without_gpu(config);
  const Job job = read_job(config);
  BatchRequest request = read_request(line, job, words);
  check_batch_of_job(request, job);
  const StateSize state = state_of(job);
  check_times(request, state.save_s());
  ask_cluster(request);
  const Estimation estimation = line.has("measured")   ? from_measurement(job, request, line.text("measured"))
                                : line.has("estimate") ? measure_here(job, request)
                                                       : Estimation{};
  request.estimate = estimate_lines(job, request, state, estimation);
  for (const std::string& text : request.estimate) fmt::print(stderr, "{}\n", text);
  const std::string script = batch_script(request);
  if (request.script_file.empty()) {
    fmt::print("{}", script);
    return 0;
  }
  check_output_file(line.text("out"), line.has("overwrite"), {line.text("JOB.yaml")});
  write_text_file_atomically(line.text("out"), script);
  fmt::print("{}: submit it with {} {}\n", line.text("out"),
             request.system == BatchSystem::kSlurm ? "sbatch"
             : request.system == BatchSystem::kPbs ? "qsub"
                                                   : "bsub <",
             line.text("out"));
  return 0;
}

const bool slurm_registered = commands().add(
    "slurm", {.summary = "write the batch script that trains a job", .run = slurm_command}, 17);

}  // namespace

}  // namespace lockstep
