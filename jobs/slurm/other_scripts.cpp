// Scripts for PBS and LSF, in their first form: no machine with either has run them. Both start ranks with
// mpirun, which passes USR1 on to the ranks and takes TERM as an order to kill them.
#include <fmt/format.h>

#include "jobs/slurm/script_parts.h"

namespace lockstep {

namespace {

/// Environment, ranks, and the status; `task` and `job` are the system's variables.
std::string body(const BatchRequest& r, const std::string& task, const std::string& job) {
  return script_environment(r, task) +
         fmt::format(
             "\nexport OMP_NUM_THREADS={} LOCKSTEP_CHAIN=${{LOCKSTEP_CHAIN:-${}}}\n"
             "# The run leaves by itself before the limit, with a checkpoint.\n"
             "export LOCKSTEP_END_TIME=$(($(date +%s) + {}))\n"
             "# Two starts that trained nothing: something is wrong, and one more would not mend it.\n"
             "\"${{lockstep[@]}}\" slurm --progress \"$run\" || exit 1\n"
             "\nmpirun -n {} --map-by ppr:{}:node:PE={} --bind-to core -x OMP_NUM_THREADS -x "
             "LOCKSTEP_END_TIME \\\n"
             "  \"${{lockstep[@]}}\" {} &\n"
             "step=$!\n"
             "trap 'kill -USR1 $step 2>/dev/null' USR1 TERM   # mpirun answers TERM by killing the ranks\n"
             "while wait $step; status=$?; kill -0 $step 2>/dev/null; do :; done   # a trap ends wait early\n"
             "echo \"$(date '+%F %T') lockstep ended with status $status\"\n",
             r.cpus_per_task, job, r.time_s, r.ranks(), r.ranks_per_node, r.cpus_per_task,
             command_of_ranks(r, task));
}

}  // namespace

std::string pbs_script(const BatchRequest& r) {
  std::string text =
      script_opening(r, "PBS runs the job again where qrerun is allowed, else submit it again.");
  text += option_line("#PBS -N " + shell_word(r.name));
  std::string chunk = fmt::format("select={}:ncpus={}:mpiprocs={}", r.nodes,
                                  r.ranks_per_node * r.cpus_per_task, r.ranks_per_node);
  if (r.gpus_per_node > 0) chunk += fmt::format(":ngpus={}", r.gpus_per_node);
  text += option_line("#PBS -l " + chunk);
  text += option_line("#PBS -l place=scatter", "each chunk on a node of its own");
  text += option_line("#PBS -l walltime=" +
                      fmt::format("{:02}:{:02}:{:02}", r.time_s / 3600, r.time_s / 60 % 60, r.time_s % 60));
  if (!r.partition.empty()) text += option_line("#PBS -q " + shell_word(r.partition));
  if (!r.account.empty()) text += option_line("#PBS -A " + shell_word(r.account));
  if (r.n_trials > 0) text += option_line(fmt::format("#PBS -J 1-{}", r.n_trials));
  text += option_line("#PBS -r y", "may run again");
  text += option_line("#PBS -j oe");
  text += "\ncd \"$PBS_O_WORKDIR\" || exit 1\n" + body(r, "PBS_ARRAY_INDEX", "PBS_JOBID");
  return text +
         "if [ $status -eq 85 ]; then qrerun \"$PBS_JOBID\" || echo 'submit this script again to go on'; fi\n"
         "exit $status\n";
}

std::string lsf_script(const BatchRequest& r) {
  std::string text = script_opening(r, "LSF then queues the job again (-Q).");
  text += option_line(r.n_trials > 0 ? fmt::format("#BSUB -J \"{}[1-{}]\"", r.name, r.n_trials)
                                     : "#BSUB -J " + shell_word(r.name));
  text += option_line(fmt::format("#BSUB -n {}", r.ranks()));
  text += option_line(
      fmt::format("#BSUB -R \"span[ptile={}] affinity[core({})]\"", r.ranks_per_node, r.cpus_per_task));
  if (r.gpus_per_node > 0)
    text += option_line(fmt::format("#BSUB -gpu \"num={}\"", r.gpus_per_node), "of each node");
  if (!r.partition.empty()) text += option_line("#BSUB -q " + shell_word(r.partition));
  if (!r.account.empty()) text += option_line("#BSUB -P " + shell_word(r.account));
  text += option_line(fmt::format("#BSUB -W {}:{:02}", r.time_s / 3600, (r.time_s / 60) % 60));
  if (r.signal_before_s > 0)
    text += option_line(fmt::format("#BSUB -wa USR1 -wt {}", (r.signal_before_s + 59) / 60),
                        "minutes before the limit the script is told to save");
  text += option_line("#BSUB -Q 85", "what ends with this status is queued again");
  text += option_line("#BSUB -r", "also after its host has failed");
  text += option_line(r.n_trials > 0 ? fmt::format("#BSUB -o {}-%J_%I.log", r.name)
                                     : fmt::format("#BSUB -o {}-%J.log", r.name));
  return text + "\n" + body(r, "LSB_JOBINDEX", "LSB_JOBID") + "exit $status\n";
}

}  // namespace lockstep
