// What a batch script is asked for, whatever the batch system: ranks, time, and the command that they run.
// Everything here is known on the login node; nothing asks a cluster.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace lockstep {

struct BatchRequest {
  std::string system = "slurm";  // slurm, pbs or lsf
  std::string written_by;        // the command line, for the script's first lines
  std::string job_file, name, run_folder, program = "lockstep";
  std::vector<std::string> settings;  // --set
  std::vector<std::string> notes;     // comment lines on time and cost

  int64_t nodes = 1, ranks_per_node = 1, gpus_per_node = 0, cpus_per_task = 1;
  int64_t time_s = 0, signal_before_s = 0;  // 0: no signal; the run ends by itself in time
  std::string partition, account, mpi = "pmix", container;
  std::vector<std::string> modules;

  std::string trials;    // "sweep 'KEY=…'" or "kfold --folds 5": what each task of an array runs one of
  int64_t n_trials = 0;  // 0: no array
  int64_t links = 0;     // of a chain of jobs; 0: the job is requeued instead

  int64_t ranks() const { return nodes * ranks_per_node; }
};

/// Slurm's forms of a time limit in seconds: minutes, minutes:seconds, hours:minutes:seconds, days-hours,
/// days-hours:minutes, days-hours:minutes:seconds. Throws Error for other text and for none at all.
int64_t batch_time(const std::string& text);
/// "1-02:03:04", "02:03:04".
std::string batch_time_text(int64_t time_s);

/// Throws Error where so many ranks cannot share a step's micro-batches; the remedy names a batch that they
/// can. `native`: any number up to the micro-batches.
void check_batch_for_ranks(int64_t global, int64_t micro, int64_t ranks, bool native);

/// How long before the limit a signal must come, if nobody says: enough for two checkpoints, and two
/// minutes where there is time.
int64_t usual_signal_before_s(int64_t time_s, double checkpoint_s);
/// Throws Error where the limit leaves no time for a checkpoint, or none before the signal.
void check_times(int64_t time_s, int64_t signal_before_s, double checkpoint_s);

/// A word for a shell: quoted where it needs it.
std::string shell_word(const std::string& word);
std::string shell_words(const std::vector<std::string>& words);

/// The script, whole.
std::string slurm_script(const BatchRequest& request);
std::string pbs_script(const BatchRequest& request);
std::string lsf_script(const BatchRequest& request);

}  // namespace lockstep
