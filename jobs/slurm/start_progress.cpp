#include "jobs/slurm/start_progress.h"

#include <fmt/format.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "io/checkpoint/checkpoint.h"
#include "io/files/metrics.h"
#include "kernels/error.h"
#include "src/config/config.h"

namespace lockstep {

namespace fs = std::filesystem;

namespace {

std::string file_of(const std::string& run_folder) { return run_folder + "/starts.jsonl"; }

int64_t newest_step(const std::string& run_folder) {
  const std::vector<std::string> all = list_checkpoints(run_folder + "/checkpoints");
  return all.empty() ? 0 : checkpoint_step(all.back());
}

}  // namespace

std::string why_to_stop(const std::vector<JobStart>& starts) {
  constexpr size_t kWithoutProgress = 2;
  if (starts.size() <= kWithoutProgress) return "";
  const JobStart& now = starts.back();
  for (size_t i = starts.size() - 1 - kWithoutProgress; i < starts.size(); ++i) {
    if (starts[i].chain != now.chain || starts[i].step != now.step) return "";
  }
  return fmt::format("two starts in a row made no progress: the newest checkpoint is still {}",
                     now.step == 0 ? "missing" : fmt::format("that of step {}", now.step));
}

std::vector<JobStart> read_starts(const std::string& run_folder) {
  std::vector<JobStart> starts;
  std::ifstream file(file_of(run_folder));
  for (std::string line; std::getline(file, line);) {
    try {
      const Config entry = Config::from_text(line, file_of(run_folder));
      starts.push_back({entry.get_string("chain"), entry.get_int("step")});
    } catch (const Error&) {  // cut off by a full disk or a crash
    }
  }
  return starts;
}

void add_start(const std::string& run_folder, const std::string& chain) {
  std::error_code error;
  fs::create_directories(run_folder, error);
  std::ofstream file(file_of(run_folder), std::ios::app);
  file << JsonObject().set("chain", chain).set("step", newest_step(run_folder)).str() << '\n';
  file.flush();
  if (!file)
    throw Error(file_of(run_folder), std::string("cannot be written: ") + std::strerror(errno),
                "see to the run folder and its disk");
}

bool is_finished(const std::string& run_folder) {
  const std::vector<std::string> all = list_checkpoints(run_folder + "/checkpoints");
  if (all.empty()) return false;
  const CheckpointInfo info = read_checkpoint_info(all.back());
  const auto finished = info.numbers.find("finished");
  return finished != info.numbers.end() && finished->second != 0;
}

std::string chain_of_environment() {
  for (const char* name : {"LOCKSTEP_CHAIN", "SLURM_JOB_ID", "PBS_JOBID", "LSB_JOBID"}) {
    const char* value = std::getenv(name);
    if (value != nullptr && *value != '\0') return value;
  }
  return "";
}

}  // namespace lockstep
