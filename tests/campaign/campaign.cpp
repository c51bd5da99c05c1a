#include "tests/campaign/campaign.h"

#include <sys/mount.h>

#include <filesystem>
#include <stdexcept>

#include "tests/campaign/disturbed_run.h"

namespace lockstep {

namespace fs = std::filesystem;

int64_t Campaign::draw(int64_t low, int64_t high) {
  return low + static_cast<int64_t>(random_() % static_cast<uint64_t>(high - low + 1));
}

bool Campaign::can_mount() {
  const std::string disk = place_.file("disk");
  fs::create_directories(disk);
  if (mount("none", disk.c_str(), "tmpfs", 0, "size=1m") != 0) return false;
  return umount(disk.c_str()) == 0;
}

std::string Campaign::draw_options() {
  std::string options = "--set checkpoint.keep=4 --set watchdog.silent_s=5 --set data.cache_mb=0";
  if (toss()) options += " --set batch.shard_optimizer=true";
  if (draw(0, 2) == 0) options += " --set batch.wire=bfloat16 --set batch.error_feedback=true";
  if (toss()) options += " --set 'data.augment=[{random_crop: 1}, {gaussian_noise: 0.5}]'";
  return options;
}

const std::string& Campaign::reference(const std::string& options) {
  std::string& bytes = references_[options];
  if (bytes.empty()) {
    const std::string name = "calm" + std::to_string(references_.size());
    const Ended ended = lockstep(place_.train(name) + options);
    bytes = read_file(place_.checkpoint(name, kSteps));
    if (ended.status != 0 || bytes.empty())
      throw std::runtime_error("the undisturbed run failed:\n" + ended.output);
    fs::remove_all(place_.file(name));
  }
  return bytes;
}

std::string Campaign::run(FaultKind kind) {
  ++tallies_[static_cast<size_t>(kind)].n_runs;
  DisturbedRun run(*this, "run" + std::to_string(++n_runs_));
  run.disturb(kind);
  // A further fault during the resumed run, of those that end it.
  static constexpr std::array kFurther = {FaultKind::kKillRank,   FaultKind::kKillInWrite,
                                          FaultKind::kKillAll,    FaultKind::kKillLauncher,
                                          FaultKind::kStopSignal, FaultKind::kCheckpointFlipped};
  if (toss()) run.disturb(kFurther[static_cast<size_t>(draw(0, kFurther.size() - 1))]);
  run.finish();
  return run.problems();
}

}  // namespace lockstep
