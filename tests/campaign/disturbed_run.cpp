#include "tests/campaign/disturbed_run.h"

#include <fmt/format.h>
#include <sys/mount.h>

#include <algorithm>
#include <filesystem>
#include <utility>

#include "io/checkpoint/checkpoint.h"

namespace lockstep {

namespace fs = std::filesystem;

namespace {

constexpr double kLimit_s = 120;  // of one launch
constexpr const char* kFallingBack = "falling back to the one before";
constexpr int kLaunches = 4;  // to the end, undisturbed

bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

}  // namespace

DisturbedRun::DisturbedRun(Campaign& campaign, const std::string& name)
    : campaign_(campaign),
      name_(name),
      folder_(campaign.place_.file(name)),
      options_(campaign.draw_options()),
      one_rank_has_all_(!has(options_, "shard_optimizer") && !has(options_, "error_feedback")) {
  campaign.reference(options_);
}

DisturbedRun::~DisturbedRun() {
  launched_.reset();
  if (is_mounted_) umount(folder_.c_str());
  std::error_code ignored;
  fs::remove_all(folder_, ignored);
}

void DisturbedRun::launch(int n_ranks) {
  launched_ =
      std::make_unique<LaunchedRun>(n_ranks, campaign_.place_.job(), folder_, options_ + " --resume auto",
                                    campaign_.place_.file(name_ + ".log"));
  if (passed_over_ == 0) return;
  // It begins by telling which damaged checkpoints it passes over.
  const auto start = Clock::now();
  const FaultKind next = std::exchange(kind_, damage_);
  reported(launched_->wait_for_text({kFallingBack}, start, kLimit_s));
  launched_->wait_for_text({"training samples, global batch"}, start, kLimit_s);
  output_ = launched_->output();
  if (count(output_, kFallingBack) < std::exchange(passed_over_, 0))
    wrong("a damaged checkpoint was not named");
  kind_ = next;
}

bool DisturbedRun::launch_and_wait(const std::vector<int>& ranks) {
  launch(ranks[static_cast<size_t>(campaign_.draw(0, static_cast<int64_t>(ranks.size()) - 1))]);
  // Far enough from the end for a fault to be in time.
  const int64_t last = Campaign::kSteps - 3 * Campaign::kInterval;
  const int64_t step = campaign_.draw(std::min(resumes_at_ + 1, last), last);
  if (launched_->wait_for_step(step, kLimit_s)) return true;
  expect_end({0});
  return false;
}

void DisturbedRun::look() {
  reached_ = launched_->step();
  const std::vector<std::string> paths = list_checkpoints(checkpoints());
  named_ = paths.empty() ? 0 : checkpoint_step(paths.back());
  ++tally().n_injected;
}

bool DisturbedRun::expect_end(const std::set<int>& statuses) {
  const int status = launched_->wait(kLimit_s);
  output_ = launched_->output();
  launched_.reset();
  const bool too_late = status == 0 && !statuses.contains(0) && is_finished();
  if (too_late) {
    --tally().n_injected;
  } else if (status == LaunchedRun::kTimeLimit) {
    hang("did not end, or left processes behind");
  } else if (!statuses.contains(status)) {
    wrong(fmt::format("ended with status {}", status));
  }
  check_resume();
  look_at_checkpoints();
  return !too_late;
}

void DisturbedRun::check_resume() {
  if (!has(output_, "training samples, global batch")) return;  // ended before
  const std::string expected = fmt::format("resumed at step {}\n", resumes_at_);
  if (resumes_at_ > 0 ? !has(output_, expected) : has(output_, "resumed at step"))
    lost(fmt::format("should have gone on from step {}", resumes_at_));
}

void DisturbedRun::look_at_checkpoints() {
  resumes_at_ = 0;
  for (const std::string& path : list_checkpoints(checkpoints())) {
    const std::vector<std::string> damage = verify_checkpoint(path);
    if (damage.empty()) {
      damaged_.erase(path);
      resumes_at_ = checkpoint_step(path);
    } else if (!damaged_.contains(path)) {
      lost("a checkpoint with a name is damaged: " + damage[0]);
    }
  }
}

void DisturbedRun::expect_loss_report(int rank, pid_t process, const std::string& how) {
  const std::string expected = fmt::format("RANK LOST: rank {} on ", rank),
                    pid = fmt::format(", pid {}: {}", process, how);
  if (!has(output_, expected) || !has(output_, pid))
    wrong(fmt::format("rank {}, pid {} was not named", rank, process));
  if (count(output_, "RANK LOST") > 1) wrong("several reports");
  if (one_rank_has_all_) {
    if (!has(output_, "lockstep: emergency checkpoint of step")) wrong("no emergency checkpoint");
    if (resumes_at_ < reached_) lost(fmt::format("step {} was reached, {} was saved", reached_, resumes_at_));
  } else if (!has(output_, "no emergency checkpoint: batch.")) {
    wrong("it was not said why there is no emergency checkpoint");
  }
}

void DisturbedRun::reported(double seconds) {
  if (seconds >= 0) tally().report_s.push_back(seconds);
}

bool DisturbedRun::is_finished() const {
  return fs::exists(campaign_.place_.checkpoint(name_, Campaign::kSteps)) &&
         !damaged_.contains(campaign_.place_.checkpoint(name_, Campaign::kSteps)) &&
         has(output_, "finished after step");
}

void DisturbedRun::finish() {
  for (int i = 0; i < kLaunches && !is_finished(); ++i) {
    launch(1 << campaign_.draw(0, 2));
    expect_end({0});
  }
  const std::string end = read_file(campaign_.place_.checkpoint(name_, Campaign::kSteps));
  if (end.empty())
    lost("it never came to the end");
  else if (end != campaign_.reference(options_))
    lost("other bits in the end");
  if (!list_temporary_files(checkpoints()).empty()) wrong("temporary files are left");
}

void DisturbedRun::hang(const std::string& what) {
  ++tally().n_hangs;
  note("HANG: " + what);
}
void DisturbedRun::wrong(const std::string& what) {
  ++tally().n_wrong;
  note("WRONG: " + what);
}
void DisturbedRun::lost(const std::string& what) {
  ++tally().n_losses;
  note("LOST: " + what);
}
void DisturbedRun::note(const std::string& what) {
  problems_ += fmt::format("{}, {}: {}\n  options: {}\n", name_, name_of(kind_), what, options_);
  problems_ += "  ---- the last launch printed\n" + output_ + "  ----\n";
}

}  // namespace lockstep
