#include "jobs/slurm/batch_script.h"

#include <fmt/format.h>

#include <charconv>

#include "jobs/command.h"
#include "kernels/error.h"

namespace lockstep {

namespace {

constexpr int64_t kMinute = 60, kHour = 60 * kMinute, kDay = 24 * kHour;

/// A word for bash, in quotes where it needs them.
std::string word(const std::string& text) {
  const bool is_plain = !text.empty() && text.find_first_not_of(
                                             "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                                             "_./=:,+@%-") == std::string::npos;
  if (is_plain) return text;
  std::string quoted = "'";
  for (const char c : text) quoted += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return quoted + "'";
}

std::string option(const std::string& text, const std::string& comment = "") {
  return comment.empty() ? "#SBATCH " + text + "\n" : fmt::format("#SBATCH {:32} # {}\n", text, comment);
}

std::string head(const BatchRequest& r) {
  std::string text = "#!/usr/bin/env bash\n# " + r.made_by + "\n";
  for (const std::string& line : r.estimate) text += "# " + line + "\n";
  return text + "\n";
}

std::string slurm_options(const BatchRequest& r) {
  std::string text = option("--job-name=" + r.name);
  text += option(fmt::format("--nodes={}", r.nodes));
  text += option(fmt::format("--ntasks-per-node={}", r.ranks_per_node),
                 "one rank for each GPU, or for a group of cores");
  text += option(fmt::format("--cpus-per-task={}", r.cpus_per_rank),
                 "cores of a rank; keep it when the run resumes");
  if (r.gpus_per_node > 0) text += option(fmt::format("--gpus-per-node={}", r.gpus_per_node));
  text += option("--distribution=block:block", "neighbouring ranks share a node, as the sums want it");
  text += option("--time=" + walltime_text(r.time_s));
  if (!r.partition.empty()) text += option("--partition=" + r.partition);
  if (!r.account.empty()) text += option("--account=" + r.account);
  if (!r.array.empty()) text += option("--array=" + r.array);
  text += option(fmt::format("--signal=USR1@{}", r.signal_before_s),
                 "so long before the limit the ranks save and end");
  text += r.chain > 0 ? option("--no-requeue", "the next link of the chain goes on")
                      : option("--requeue", "after preemption or a lost node");
  text += option("--open-mode=append", "one log over all starts");
  return text + option(r.array.empty() ? "--output=%x-%j.log" : "--output=%x-%A-%a.log");
}

/// The command behind the launcher, with the run's folder in $run.
std::string training(const BatchRequest& r) {
  std::string text = word(r.program);
  if (!r.container.empty())
    text = fmt::format("apptainer exec {}{} {}", r.gpus_per_node > 0 ? "--nv " : "", word(r.container), text);
  if (r.command == "train") {
    text += fmt::format(" train {} --out \"$run\" --resume auto", word(r.job_file));
    if (!r.array.empty()) text += " --set seed=\"$SLURM_ARRAY_TASK_ID\"";
  } else {
    const size_t space = r.command.find(' ');
    text += fmt::format(" {} {}{} --out \"$run\" --only \"$SLURM_ARRAY_TASK_ID\"", r.command.substr(0, space),
                        word(r.job_file), space == std::string::npos ? "" : r.command.substr(space));
  }
  for (const std::string& setting : r.settings) text += " --set " + word(setting);
  return text;
}

std::string environment(const BatchRequest& r) {
  std::string text = "set -u\n";
  if (!r.modules.empty()) text += fmt::format("module load {}\n", fmt::join(r.modules, " "));
  const bool own_folder = !r.array.empty() && r.command == "train";
  text += "run=" + word(r.run_folder) + (own_folder ? "-\"$SLURM_ARRAY_TASK_ID\"" : "") + "\n";
  return text + fmt::format("export OMP_NUM_THREADS={}\n", r.cpus_per_rank);
}

const char* const kWaiting =
    "step=$!\n"
    "trap 'kill -USR1 $step 2>/dev/null' USR1 TERM   # srun would answer TERM by killing the ranks\n"
    "while wait $step; status=$?; kill -0 $step 2>/dev/null; do :; done   # a trap ends wait early\n";

/// srun 22.05 ends with 0 where it could not launch a step.
std::string srun_may_lie(const BatchRequest& r) {
  return fmt::format(
      "[ $status -ne 0 ] || {} slurm --finished \"$run\" || status=85   # srun ends with 0 where no rank "
      "ever started\n",
      word(r.program));
}

std::string slurm_script(const BatchRequest& r) {
  std::string text = head(r) + slurm_options(r) + "\n" + environment(r);
  const bool watches = r.command == "train";  // whose run folder tells how far it is
  if (watches)
    text +=
        "\n# Two starts in a row without a new checkpoint: a third would do no better, so it stops here.\n" +
        word(r.program) + " slurm --progress \"$run\" || exit 1\n";
  if (r.chain > 0)
    text += fmt::format(
        "\n# The next link waits for the end of this one, however it comes, and is taken back where there is "
        "nothing to do.\n"
        "link=${{LOCKSTEP_LINK:-1}}\nnext=\nif [ \"$link\" -lt {} ]; then\n"
        "  next=$(LOCKSTEP_LINK=$((link + 1)) sbatch --parsable --dependency=afterany:\"$SLURM_JOB_ID\" {}) "
        "|| next=\nfi\n",
        r.chain, word(r.script_file));
  text +=
      fmt::format("\nsrun --mpi={} --kill-on-bad-exit=1 --cpus-per-task={} --cpu-bind=cores{} \\\n  {} &\n",
                  r.mpi, r.cpus_per_rank, r.gpus_per_node > 0 ? " --gpu-bind=none" : "", training(r));
  text += kWaiting;
  if (watches) text += srun_may_lie(r);
  if (r.chain > 0)
    return text +
           "\n[ $status -eq 85 ] || [ -z \"$next\" ] || [ $status -gt 85 ] || scancel \"$next\"   # 85: "
           "saved, not finished\nexit $status\n";
  const char* const id = r.array.empty() ? "$SLURM_JOB_ID" : "${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID";
  return text +
         fmt::format(
             "\n# 85: stopped after a checkpoint. After preemption or scancel the job is no longer RUNNING, "
             "and Slurm has\n"
             "# decided already what becomes of it.\n"
             "state=$(scontrol show job \"$SLURM_JOB_ID\" | sed -n 's/.*JobState=\\([A-Z_]*\\).*/\\1/p' | "
             "head -1)\n"
             "echo \"$(date '+%F %T') lockstep ended with status $status, the job is $state\"\n"
             "if [ $status -eq 85 ] && [ \"$state\" = RUNNING ]; then\n"
             "  scontrol requeue \"{}\" && sleep 60   # requeueing ends this shell\nfi\nexit $status\n",
             id);
}

std::string hours_and_minutes(int64_t time_s) {
  return fmt::format("{}:{:02}", time_s / kHour, time_s % kHour / kMinute);
}

/// What follows is the same for batch systems whose launcher is mpirun.
std::string by_mpirun(const BatchRequest& r) {
  return environment(r) + word(r.program) + " slurm --progress \"$run\" || exit 1\n" +
         fmt::format("\nmpirun -n {} --map-by ppr:{}:node:PE={} \\\n  {} &\n", r.ranks(), r.ranks_per_node,
                     r.cpus_per_rank, training(r)) +
         kWaiting;
}

/// PBS sends no signal before the limit: the shell's own alarm does.
std::string pbs_script(const BatchRequest& r) {
  std::string text = head(r);
  text += fmt::format(
      "#PBS -N {}\n#PBS -l select={}:ncpus={}:mpiprocs={}{}\n#PBS -l walltime={}:{:02}\n#PBS -r y\n#PBS -j "
      "oe\n",
      r.name.substr(0, 15), r.nodes, r.ranks_per_node * r.cpus_per_rank, r.ranks_per_node,
      r.gpus_per_node > 0 ? fmt::format(":ngpus={}", r.gpus_per_node) : "", hours_and_minutes(r.time_s),
      r.time_s % kMinute);
  if (!r.partition.empty()) text += "#PBS -q " + r.partition + "\n";
  if (!r.account.empty()) text += "#PBS -A " + r.account + "\n";
  text += fmt::format(
      "\ncd \"$PBS_O_WORKDIR\" || exit 1\n( sleep {}; kill -USR1 $$ ) >/dev/null 2>&1 &   # {} s before the "
      "limit\nalarm=$!\n",
      r.time_s - r.signal_before_s, r.signal_before_s);
  text += by_mpirun(r) + "kill $alarm 2>/dev/null\n";
  if (r.script_file.empty())
    text += "[ $status -ne 85 ] || echo 'saved, not finished: submit this script again'\n";
  else
    text += fmt::format("[ $status -ne 85 ] || qsub {}   # saved, not finished\n", word(r.script_file));
  return text + "exit $status\n";
}

/// LSF signals before the limit (-wa), and puts a job back that ends with a status of -Q.
std::string lsf_script(const BatchRequest& r) {
  std::string text = head(r);
  text += fmt::format(
      "#BSUB -J {}\n#BSUB -n {}\n#BSUB -R \"span[ptile={}] affinity[core({})]\"\n#BSUB -W {}\n#BSUB -wa "
      "USR1\n"
      "#BSUB -wt {}\n#BSUB -r\n#BSUB -Q 85\n",
      r.name, r.ranks(), r.ranks_per_node, r.cpus_per_rank, hours_and_minutes(r.time_s),
      (r.signal_before_s + kMinute - 1) / kMinute);
  if (r.gpus_per_node > 0) text += fmt::format("#BSUB -gpu \"num={}\"\n", r.gpus_per_node);
  if (!r.partition.empty()) text += "#BSUB -q " + r.partition + "\n";
  if (!r.account.empty()) text += "#BSUB -P " + r.account + "\n";
  return text + "#BSUB -o %J.log\n\n" + by_mpirun(r) +
         "exit $status   # 85: saved, not finished; -Q puts it back\n";
}

}  // namespace

std::string batch_script(const BatchRequest& request) {
  if (request.system == BatchSystem::kSlurm) return slurm_script(request);
  if (!request.array.empty() || request.chain > 0)
    throw Error("--system", "arrays and chains are written for Slurm only", "leave out --array and --chain");
  return request.system == BatchSystem::kPbs ? pbs_script(request) : lsf_script(request);
}

int64_t read_walltime(const std::string& text) {
  const auto fail = [&] {
    return UsageError(fmt::format("--time {}: expected minutes, MM:SS, HH:MM:SS or D-HH:MM:SS", text),
                      "write for instance --time 04:00:00");
  };
  int64_t days = 0;
  const size_t dash = text.find('-');
  std::vector<int64_t> parts;
  const auto read = [&](const std::string& part) {
    int64_t value = -1;
    const auto [end, error] = std::from_chars(part.data(), part.data() + part.size(), value);
    if (error != std::errc() || end != part.data() + part.size() || value < 0 || value > 1'000'000)
      throw fail();
    return value;
  };
  if (dash != std::string::npos) days = read(text.substr(0, dash));
  std::string rest = dash == std::string::npos ? text : text.substr(dash + 1);
  for (size_t colon; (colon = rest.find(':')) != std::string::npos; rest = rest.substr(colon + 1))
    parts.push_back(read(rest.substr(0, colon)));
  parts.push_back(read(rest));
  if (parts.size() > 3) throw fail();
  int64_t time_s = 0;
  if (dash != std::string::npos) {  // D-HH, D-HH:MM, D-HH:MM:SS
    parts.resize(3, 0);
    time_s = parts[0] * kHour + parts[1] * kMinute + parts[2];
  } else if (parts.size() == 1) {
    time_s = parts[0] * kMinute;
  } else {
    for (const int64_t part : parts) time_s = time_s * 60 + part;
  }
  time_s += days * kDay;
  if (time_s == 0) throw fail();
  return time_s;
}

std::string walltime_text(int64_t time_s) {
  const std::string clock =
      fmt::format("{:02}:{:02}:{:02}", time_s % kDay / kHour, time_s % kHour / kMinute, time_s % kMinute);
  return time_s >= kDay ? fmt::format("{}-{}", time_s / kDay, clock) : clock;
}

}  // namespace lockstep
