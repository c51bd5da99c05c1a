// How each fault is brought about, and what must come of it.
#include <fmt/format.h>
#include <signal.h>
#include <sys/mount.h>

#include <filesystem>
#include <thread>

#include "io/checkpoint/checkpoint.h"
#include "tests/campaign/disturbed_run.h"

namespace lockstep {

namespace fs = std::filesystem;

namespace {

constexpr double kReportLimit_s = 45;
constexpr int kKilled = 128 + SIGKILL, kStopped = 85, kRankLost = 86;

}  // namespace

void DisturbedRun::disturb(FaultKind kind) {
  if (is_finished()) return;
  kind_ = kind;
  if (kind == FaultKind::kFullDisk && !is_mounted_) {
    // A run folder on a disk of its own; the run begins there, or moves there.
    const std::string aside = folder_ + "-aside";
    std::error_code none;
    fs::rename(folder_, aside, none);
    fs::create_directories(folder_);
    is_mounted_ = mount("none", folder_.c_str(), "tmpfs", 0, "size=32m") == 0;
    if (fs::exists(aside)) {
      fs::copy(aside, folder_, fs::copy_options::recursive | fs::copy_options::copy_symlinks);
      fs::remove_all(aside);
    }
  }
  if (is_at_rest(kind) && resumes_at_ == 0) {
    disturb(campaign_.toss() ? FaultKind::kKillAll : FaultKind::kStopSignal);
    if (resumes_at_ == 0 || is_finished()) return;
    kind_ = kind;
  }
  switch (kind) {
    case FaultKind::kKillRank:
    case FaultKind::kKillInWrite: return kill_rank(kind);
    case FaultKind::kKillAll: return kill_all();
    case FaultKind::kKillLauncher: return kill_launcher();
    case FaultKind::kStopSignal: return stop();
    case FaultKind::kFreeze: return freeze();
    case FaultKind::kFullDisk: return fill_disk();
    case FaultKind::kRemovedFolder: return remove_folder();
    case FaultKind::kShardCutInRun: return cut_shard_in_run();
    case FaultKind::kCheckpointFlipped:
    case FaultKind::kCheckpointCut:
    case FaultKind::kAllButOneDamaged: return damage_checkpoints();
    case FaultKind::kRunRemoved:
      ++tally().n_injected;
      fs::remove_all(campaign_.toss() ? folder_ : checkpoints());
      resumes_at_ = 0;
      damaged_.clear();
      return;
    case FaultKind::kLeftOverFile: return leave_temporary_files();
    case FaultKind::kShardCut:
    case FaultKind::kShardFlipped: return damage_shard();
  }
}

void DisturbedRun::kill_rank(FaultKind kind) {
  if (!launch_and_wait({1, 2, 4})) return;
  for (int i = 0; kind == FaultKind::kKillInWrite && i < 200000 && launched_->is_running(); ++i) {
    if (!list_temporary_files(checkpoints()).empty()) break;
    std::this_thread::sleep_for(std::chrono::microseconds(50));
  }
  const int n_ranks = launched_->n_ranks(), rank = static_cast<int>(campaign_.draw(0, n_ranks - 1));
  const pid_t process = launched_->process_of_rank(rank);
  look();
  if (process > 0) ::kill(process, SIGKILL);
  const auto start = Clock::now();
  if (n_ranks > 1) reported(launched_->wait_for_text({"RANK LOST"}, start, kReportLimit_s));
  if (!expect_end({kKilled, kRankLost})) return;
  if (n_ranks > 1) expect_loss_report(rank, process, "its process has ended");
  expect_little_lost();
}

void DisturbedRun::kill_all() {
  if (!launch_and_wait({1, 2, 4})) return;
  std::vector<pid_t> processes;
  for (int rank = 0; rank < launched_->n_ranks(); ++rank)
    processes.push_back(launched_->process_of_rank(rank));
  look();
  for (const pid_t process : processes) {
    if (process > 0) ::kill(process, SIGKILL);
  }
  if (!expect_end({kKilled, kRankLost})) return;
  expect_little_lost();
}

void DisturbedRun::kill_launcher() {
  if (!launch_and_wait({2, 4})) return;
  look();
  ::kill(launched_->launcher(), SIGKILL);
  if (!expect_end({kKilled})) return;
  expect_little_lost();
}

void DisturbedRun::stop() {
  static constexpr std::array kSignals = {SIGTERM, SIGUSR1, SIGINT};
  if (!launch_and_wait({1, 2, 4})) return;
  const pid_t process =
      launched_->process_of_rank(static_cast<int>(campaign_.draw(0, launched_->n_ranks() - 1)));
  look();
  ::kill(process, kSignals[static_cast<size_t>(campaign_.draw(0, 2))]);
  reported(launched_->wait_for_text({"stopped by a signal"}, Clock::now(), kReportLimit_s));
  if (!expect_end({kStopped})) return;
  if (resumes_at_ < reached_) lost(fmt::format("step {} was reached, {} was saved", reached_, resumes_at_));
}

void DisturbedRun::freeze() {
  if (!launch_and_wait({2, 4})) return;
  const int rank = static_cast<int>(campaign_.draw(0, launched_->n_ranks() - 1));
  const pid_t process = launched_->process_of_rank(rank);
  look();
  ::kill(process, SIGSTOP);
  reported(launched_->wait_for_text({"RANK LOST"}, Clock::now(), kReportLimit_s));
  if (!expect_end({kRankLost})) return;
  expect_loss_report(rank, process, "its process is stopped");
  expect_little_lost();
}

void DisturbedRun::fill_disk() {
  if (!launch_and_wait({1, 2, 4})) return;
  look();
  const auto start = Clock::now();
  const std::string ballast = folder_ + "/ballast";
  write_file(ballast, std::string(size_t{32} << 20, 'x'));
  const double seconds = launched_->wait_for_text({"CHECKPOINT NOT SAVED"}, start, kReportLimit_s);
  reported(seconds);
  const bool killed = campaign_.toss();
  if (killed) {
    const pid_t process = launched_->process_of_rank(0);
    if (process > 0)
      ::kill(process, SIGKILL);
    else
      ::kill(launched_->launcher(), SIGKILL);
    launched_->wait(kReportLimit_s);
  }
  fs::remove(ballast);
  expect_end(killed ? std::set{kKilled, kRankLost, 0} : std::set{0});
  if (seconds < 0 && is_finished())
    --tally().n_injected;  // all had been saved before
  else if (seconds < 0)
    wrong("no word of a checkpoint that was not saved");
  else if (output_.find("free space on that file system") == std::string::npos)
    wrong("the report does not name the remedy");
  if (resumes_at_ < named_) lost("a checkpoint with a name is gone");
}

void DisturbedRun::remove_folder() {
  if (!launch_and_wait({1, 2, 4})) return;
  look();
  const auto start = Clock::now();
  std::error_code not_empty;  // a save may be under way
  for (int i = 0; i < 1000 && fs::exists(checkpoints()); ++i) fs::remove_all(checkpoints(), not_empty);
  damaged_.clear();
  reported(launched_->wait_for_text({"CHECKPOINT NOT SAVED"}, start, kReportLimit_s));
  expect_end({0});
  if (resumes_at_ != Campaign::kSteps) lost("no last checkpoint in the folder made anew");
}

void DisturbedRun::cut_shard_in_run() {
  if (!launch_and_wait({1, 2, 4})) return;
  const std::string shard = draw_shard("train"), content = read_file(shard);
  look();
  fs::resize_file(shard, fs::file_size(shard) * static_cast<uint64_t>(campaign_.draw(10, 40)) / 100);
  reported(launched_->wait_for_text({fs::path(shard).filename()}, Clock::now(), kReportLimit_s));
  const bool in_time = expect_end({1, kRankLost});
  write_file(shard, content);
  if (!in_time) return;
  if (output_.find(shard) == std::string::npos) wrong("the shard is not named");
  expect_little_lost();
}

void DisturbedRun::damage_checkpoints() {
  std::vector<std::string> paths = list_checkpoints(checkpoints());
  if (paths.empty()) return;
  const size_t n = kind_ == FaultKind::kAllButOneDamaged ? paths.size() - 1 : 1;
  if (paths.size() < 2) return;
  ++tally().n_injected;
  for (size_t i = paths.size() - n; i < paths.size(); ++i) {
    const auto n_bytes = static_cast<int64_t>(fs::file_size(paths[i]));
    damaged_.insert(paths[i]);
    if (kind_ == FaultKind::kCheckpointFlipped ||
        (kind_ == FaultKind::kAllButOneDamaged && campaign_.toss())) {
      flip_bit(paths[i], static_cast<uint64_t>(campaign_.draw(0, n_bytes - 1)),
               static_cast<int>(campaign_.draw(0, 7)));
    } else {
      fs::resize_file(paths[i], static_cast<uint64_t>(campaign_.draw(0, n_bytes - 1)));
    }
  }
  resumes_at_ = 0;
  for (const std::string& path : paths) {
    if (!damaged_.contains(path)) resumes_at_ = checkpoint_step(path);
  }
  damage_ = kind_;
  passed_over_ = static_cast<int>(n);
}

void DisturbedRun::leave_temporary_files() {
  ++tally().n_injected;
  write_file(checkpoints() + "/.step-000000009.h5.tmp",
             std::string(static_cast<size_t>(campaign_.draw(0, 5000)), 'x'));
  write_file(checkpoints() + fmt::format("/.step-{:09}.h5.tmp", resumes_at_ + Campaign::kInterval), "left");
  fs::create_symlink("nowhere", checkpoints() + "/last.h5.tmp");
}

void DisturbedRun::damage_shard() {
  const std::string shard = draw_shard(campaign_.toss() ? "train" : "test"), content = read_file(shard);
  const auto n_bytes = static_cast<int64_t>(content.size());
  ++tally().n_injected;
  if (kind_ == FaultKind::kShardCut)
    fs::resize_file(shard, static_cast<uint64_t>(campaign_.draw(0, n_bytes - 1)));
  else
    flip_bit(shard, static_cast<uint64_t>(campaign_.draw(0, n_bytes - 1)),
             static_cast<int>(campaign_.draw(0, 7)));
  const auto start = Clock::now();
  const int64_t resumes_at = resumes_at_;
  launch(1 << campaign_.draw(0, 2));
  reported(launched_->wait_for_text({shard}, start, kReportLimit_s));
  expect_end({1});
  write_file(shard, content);
  if (output_.find(shard) == std::string::npos) wrong("the shard is not named");
  if (resumes_at_ != resumes_at) lost("checkpoints changed although nothing was trained");
}

std::string DisturbedRun::draw_shard(const std::string& part) {
  return campaign_.place_.file("data/" + part) + fmt::format("/shard-{:05}.h5", campaign_.draw(0, 1));
}

void DisturbedRun::expect_little_lost() {
  if (resumes_at_ < named_) lost(fmt::format("the checkpoint of step {} is gone", named_));
  if (reached_ - resumes_at_ > 2 * Campaign::kInterval)
    lost(fmt::format("step {} was reached, {} is what is left", reached_, resumes_at_));
}

}  // namespace lockstep
