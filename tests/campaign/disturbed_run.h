// One run of the campaign: launched, disturbed, looked at, resumed, until it ends.
#pragma once

#include <chrono>
#include <set>
#include <string>
#include <vector>

#include "tests/campaign/campaign.h"
#include "tests/campaign/launched_run.h"

namespace lockstep {

class DisturbedRun {
 public:
  DisturbedRun(Campaign& campaign, const std::string& name);
  ~DisturbedRun();
  DisturbedRun(const DisturbedRun&) = delete;
  DisturbedRun& operator=(const DisturbedRun&) = delete;

  /// Disturbs the run by that fault; for those at rest it is first interrupted, where it has no checkpoint.
  void disturb(FaultKind kind);
  /// Resumes until it ends, and compares the end.
  void finish();
  const std::string& problems() const { return problems_; }

 private:
  using Clock = std::chrono::steady_clock;

  // faults of a run that trains
  void kill_rank(FaultKind kind);
  void kill_all();
  void kill_launcher();
  void stop();
  void freeze();
  void fill_disk();
  void remove_folder();
  void cut_shard_in_run();
  // faults at rest
  void damage_checkpoints();
  void leave_temporary_files();
  void damage_shard();

  std::string draw_shard(const std::string& part);  // "train" or "test"
  void expect_little_lost();
  void launch(int n_ranks);
  /// Launches on one of the numbers of ranks and waits for a step drawn from what is left; false where the
  /// run ended before.
  bool launch_and_wait(const std::vector<int>& ranks);
  /// The step that training has reached, and the last checkpoint with a name, at the moment of a fault.
  void look();
  /// Waits for the end of a launch and looks at status, checkpoints and the resume; false where training came
  /// to its end before the fault.
  bool expect_end(const std::set<int>& statuses);
  void expect_loss_report(int rank, pid_t process, const std::string& how);
  void reported(double seconds);
  /// The newest checkpoint that must be whole, from which the next launch goes on.
  void look_at_checkpoints();
  void check_resume();
  bool is_finished() const;
  void hang(const std::string& what);
  void wrong(const std::string& what);
  void lost(const std::string& what);
  void note(const std::string& what);
  FaultTally& tally() { return campaign_.tallies_[static_cast<size_t>(kind_)]; }
  std::string checkpoints() const { return folder_ + "/checkpoints"; }

  Campaign& campaign_;
  std::string name_, folder_, options_;
  bool one_rank_has_all_ = false;  // of the state
  bool is_mounted_ = false;
  FaultKind kind_ = FaultKind::kKillRank;
  std::unique_ptr<LaunchedRun> launched_;
  std::string output_;             // of the last launch
  int64_t reached_ = 0;            // step at the fault
  int64_t named_ = 0;              // newest checkpoint then
  int64_t resumes_at_ = 0;         // what the next launch has to say
  std::set<std::string> damaged_;  // by us
  int passed_over_ = 0;            // damaged checkpoints that the next launch has to name …
  FaultKind damage_ = FaultKind::kCheckpointFlipped;  // … and how they were damaged
  std::string problems_;
};

}  // namespace lockstep
