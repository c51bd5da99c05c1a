// The script for Slurm. What it does at each event is the table of slurm/README.md; why srun runs in the
// background and signals go on as USR1 is told there, too.
#include <fmt/format.h>

#include "jobs/slurm/script_parts.h"

namespace lockstep {

namespace {

std::string options(const BatchRequest& r) {
  std::string text = option_line("#SBATCH --job-name=" + shell_word(r.name));
  text += option_line(fmt::format("#SBATCH --nodes={}", r.nodes));
  text += option_line(fmt::format("#SBATCH --ntasks-per-node={}", r.ranks_per_node),
                      r.gpus_per_node > 0 ? "one rank for each GPU" : "one rank for each group of cores");
  text += option_line(fmt::format("#SBATCH --cpus-per-task={}", r.cpus_per_task),
                      "keep it when you resume: threads fix the bits");
  if (r.gpus_per_node > 0) text += option_line(fmt::format("#SBATCH --gpus-per-node={}", r.gpus_per_node));
  if (!r.partition.empty()) text += option_line("#SBATCH --partition=" + shell_word(r.partition));
  if (!r.account.empty()) text += option_line("#SBATCH --account=" + shell_word(r.account));
  text += option_line("#SBATCH --time=" + batch_time_text(r.time_s));
  if (r.signal_before_s > 0)
    text += option_line(fmt::format("#SBATCH --signal=USR1@{}", r.signal_before_s),
                        "so many seconds before the limit the ranks save and leave");
  if (r.n_trials > 0) text += option_line(fmt::format("#SBATCH --array=1-{}", r.n_trials));
  text += r.links > 0
              ? option_line("#SBATCH --no-requeue", "the next link of the chain goes on instead")
              : option_line("#SBATCH --requeue", "after preemption or node failure Slurm queues it again");
  text += option_line("#SBATCH --open-mode=append", r.links > 0 ? "" : "one log over all starts");
  return text + option_line(r.n_trials > 0 ? "#SBATCH --output=%x-%A_%a.log" : "#SBATCH --output=%x-%j.log");
}

std::string start(const BatchRequest& r) {
  std::string text = "\nexport OMP_NUM_THREADS=$SLURM_CPUS_PER_TASK\n";
  if (r.links > 0) text += "export LOCKSTEP_CHAIN=${LOCKSTEP_CHAIN:-$SLURM_JOB_ID}\n";
  text +=
      "# When Slurm ends this job: the run leaves by itself before, with a checkpoint.\n"
      "end=$(date +%s -d \"$(squeue -h -j \"$SLURM_JOB_ID\" -o %e)\") && export LOCKSTEP_END_TIME=$end\n"
      "# Two starts that trained nothing: something is wrong, and one more would not mend it.\n"
      "\"${lockstep[@]}\" slurm --progress \"$run\" || exit 1\n";
  if (r.links > 0)
    text += fmt::format(
        "\n# The next link waits until this one has ended, for whatever reason but success.\n"
        "links=${{LOCKSTEP_LINKS:-{}}} next=\n"
        "if [ \"$links\" -gt 0 ]; then\n"
        "  next=$(LOCKSTEP_LINKS=$((links - 1)) sbatch --parsable --dependency=\"afternotok:$SLURM_JOB_ID\" "
        "\\\n"
        "    --kill-on-invalid-dep=yes \"$0\") || exit 1\n"
        "fi\n",
        r.links - 1);
  return text;
}

std::string launch(const BatchRequest& r) {
  const std::string gpus = r.gpus_per_node > 0 ? " --gpu-bind=none" : "";
  std::string text = fmt::format(
      "\necho \"$(date '+%F %T') start on $SLURM_JOB_NODELIST: $SLURM_NTASKS ranks\"\n"
      "srun --mpi={} --kill-on-bad-exit=1 --cpus-per-task=\"$SLURM_CPUS_PER_TASK\" \\\n"
      "  --distribution=block:block --cpu-bind=cores{} \\\n"
      "  \"${{lockstep[@]}}\" {} &\n"
      "step=$!\n"
      "trap 'kill -USR1 $step 2>/dev/null' USR1 TERM   # srun answers TERM by killing the ranks\n"
      "while wait $step; status=$?; kill -0 $step 2>/dev/null; do :; done   # a trap ends wait early\n",
      r.mpi, gpus, command_of_ranks(r, "SLURM_ARRAY_TASK_ID"));
  if (r.n_trials == 0)
    text +=
        "# srun 22.05 ends with 0 where it could not launch a step.\n"
        "[ $status -ne 0 ] || \"${lockstep[@]}\" slurm --finished \"$run\" || status=85\n";
  return text;
}

std::string end(const BatchRequest& r) {
  std::string text =
      "\n# A job that is no longer RUNNING was preempted or cancelled: Slurm has decided what becomes of "
      "it.\n"
      "state=$(scontrol show job \"$SLURM_JOB_ID\" | sed -n 's/.*JobState=\\([A-Z_]*\\).*/\\1/p')\n"
      "echo \"$(date '+%F %T') lockstep ended with status $status, the job is $state\"\n";
  if (r.links > 0) {
    text +=
        "if [ -n \"$next\" ] && { [ $status -ne 85 ] || [ \"$state\" = CANCELLED ]; }; then\n"
        "  scancel \"$next\"   # finished, failed or cancelled\n"
        "elif [ -z \"$next\" ] && [ $status -eq 85 ]; then\n"
        "  echo 'this was the last link of the chain; sbatch the same script to go on'\n"
        "fi\n";
  } else {
    text +=
        "if [ $status -eq 85 ] && [ \"$state\" = RUNNING ]; then\n"
        "  scontrol requeue \"$SLURM_JOB_ID\" || exit $status\n"
        "  sleep 60   # requeueing ends this shell\n"
        "fi\n";
  }
  return text + "exit $status\n";
}

}  // namespace

std::string slurm_script(const BatchRequest& r) {
  return script_opening(r, r.links > 0
                               ? fmt::format("the next of {} linked jobs goes on from there.", r.links)
                               : "the job is then queued again and goes on from there.") +
         options(r) + "\n" + script_environment(r, "SLURM_ARRAY_TASK_ID") + start(r) + launch(r) + end(r);
}

}  // namespace lockstep
