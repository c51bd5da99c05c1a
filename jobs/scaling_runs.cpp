#include "jobs/scaling_runs.h"

#include <fmt/format.h>
#include <sys/wait.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <sstream>

#include "io/files/files.h"
#include "kernels/error.h"
#include "kernels/printable.h"

namespace lockstep {

namespace {

std::string shell_quote(const std::string& word) {
  std::string quoted = "'";
  for (char c : word) quoted += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return quoted + "'";
}

/// The last line of a command's output that is a JSON object, parsed; `text`: that line.
Config run_json(const std::string& command, std::string* line = nullptr) {
  std::FILE* pipe = popen(command.c_str(), "r");
  if (pipe == nullptr)
    throw Error(command, std::string("cannot be started: ") + std::strerror(errno),
                "see that the launcher is installed (--launcher), and the limit of processes (ulimit -u)");
  std::string output;
  std::array<char, 4096> buffer;
  while (const size_t n = std::fread(buffer.data(), 1, buffer.size(), pipe)) output.append(buffer.data(), n);
  const int status = pclose(pipe);
  std::string last, text;
  for (std::stringstream lines(output); std::getline(lines, text);) {
    if (text.starts_with("{")) last = text;
  }
  if (status != 0 || last.empty()) {
    throw Error(command,
                fmt::format("ended with status {}{}{}", WIFEXITED(status) ? WEXITSTATUS(status) : status,
                            output.empty() ? "" : ": ", printable_lines(output)),
                "run this command by hand to see what it says");
  }
  if (line != nullptr) *line = last;
  return Config::from_text(last, "bench step");
}

/// Names of measurements differ where their commands do.
uint32_t short_hash(const std::string& text) {  // FNV-1a
  uint32_t hash = 2166136261U;
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 16777619U;
  return hash;
}

}  // namespace

std::string this_program() {
  const char* launcher = std::getenv("LOCKSTEP_LAUNCHER");
  return launcher ? launcher : std::filesystem::canonical("/proc/self/exe").string();
}

std::string default_launcher() { return std::getenv("SLURM_JOB_ID") ? "srun --mpi=pmix -n" : "mpirun -n"; }

std::string ScalingRuns::step_command(int n, int64_t micro_batch) const {
  std::string command =
      shell_quote(program) + " bench step " + shell_quote(job) + " --json --steps " + std::to_string(steps);
  for (const std::string& assignment : settings) command += " --set " + shell_quote(assignment);
  if (!strong) command += " --set batch.global=" + std::to_string(micro * n);
  if (micro_batch != micro) command += " --set batch.micro=" + std::to_string(micro_batch);
  return command;
}

std::string ScalingRuns::file_of(int n, int round, const std::string& command) const {
  return fmt::format("{}/results/ranks-{}-round-{}-{:08x}.json", folder, n, round + 1, short_hash(command));
}

/// Gives a measurement to Slurm. The file appears when it is whole.
void ScalingRuns::submit(int n, const std::string& file, const std::string& command) const {
  if (std::filesystem::exists(file + ".submitted")) return;
  const std::string script = fmt::format("srun --mpi=pmix {} > {}.part && mv {}.part {}", command,
                                         shell_quote(file), shell_quote(file), shell_quote(file));
  const std::string line = fmt::format(
      "sbatch --parsable --ntasks={} --job-name=scaling-{} --output={} {} --wrap {} > {} 2>&1", n, n,
      shell_quote(file + ".log"), sbatch, shell_quote(script), shell_quote(file + ".submitted"));
  if (std::system(line.c_str()) == 0) return;
  std::ifstream said(file + ".submitted");
  const std::string text{std::istreambuf_iterator<char>(said), {}};
  said.close();
  std::filesystem::remove(file + ".submitted");
  throw Error("sbatch", text.empty() ? "cannot be started" : printable_lines(text),
              "see that this machine has Slurm, and give its options with --sbatch '--partition=… --time=…'");
}

std::optional<Config> ScalingRuns::measure(int n, int64_t micro_batch, int round) const {
  const std::string step = step_command(n, micro_batch);
  const std::string file = folder.empty() ? "" : file_of(n, round, step);
  if (!file.empty() && std::filesystem::exists(file)) return run_json("cat " + shell_quote(file));
  if (by_slurm) {
    submit(n, file, step);
    return std::nullopt;
  }
  std::string text;
  const Config result =
      run_json(launcher.empty() ? step : launcher + " " + std::to_string(n) + " " + step, &text);
  if (!file.empty()) write_text_file_atomically(file, text + "\n");
  return result;
}

}  // namespace lockstep
