// lockstep bench scaling JOB.yaml --ranks 1,2,4: runs `bench step` once per rank count through
// the launcher of the allocation and prints samples/s and efficiency.
#include <fmt/format.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <sstream>

#include "io/files/metrics.h"
#include "jobs/command.h"
#include "kernels/error.h"
#include "kernels/printable.h"
#include "src/config/config.h"
#include "src/run/progress.h"

namespace lockstep {

namespace po = boost::program_options;

namespace {

std::string shell_quote(const std::string& word) {
  std::string quoted = "'";
  for (char c : word) quoted += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return quoted + "'";
}

/// The last line of a command's output that is a JSON object, parsed.
Config run_json(const std::string& command) {
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
  return Config::from_text(last, "bench step");
}

/// A micro-batch that shares the global batch among so many ranks, in the exact tree's way where it can: the
/// job's own where it fits, else the largest smaller one.
int64_t shared_micro_batch(int64_t global, int64_t micro, int n_ranks) {
  for (int64_t m = micro; m >= 1; --m) {
    if (global % m == 0 && global / m % n_ranks == 0) return m;
  }
  throw Error(fmt::format("--ranks {}", n_ranks),
              fmt::format("batch.global {} cannot be shared equally among so many ranks", global),
              "name ranks that divide it, or leave out --strong");
}

std::vector<int> read_ranks(const std::string& text) {
  std::vector<int> ranks;
  std::stringstream parts(text);
  for (std::string part; std::getline(parts, part, ',');) {
    int n = 0;
    const auto [end, error] = std::from_chars(part.data(), part.data() + part.size(), n);
    if (error != std::errc() || end != part.data() + part.size() || n < 1 || n > 1'000'000)
      throw UsageError(
          fmt::format("--ranks {}: expected whole numbers of at least 1 separated by commas", text),
          "write for instance --ranks 1,2,4");
    ranks.push_back(n);
  }
  return ranks;
}

/// This program as ranks start it: scripts/bundle's launcher names itself, because there /proc/self/exe
/// is the machine's loader.
std::string this_program() {
  const char* launcher = std::getenv("LOCKSTEP_LAUNCHER");
  return launcher ? launcher : std::filesystem::canonical("/proc/self/exe").string();
}

std::string default_launcher() { return std::getenv("SLURM_JOB_ID") ? "srun --mpi=pmix -n" : "mpirun -n"; }

}  // namespace

static int bench_scaling_command(const Words& words) {
  CommandLine line(
      "bench scaling JOB.yaml --ranks 1,2,4 [--strong] [--json]",
      "Samples/s and efficiency per number of ranks. By default every rank keeps the same work (weak\n"
      "scaling: batch.global grows with the ranks); --strong keeps batch.global, and makes batch.micro\n"
      "smaller where there are more ranks than micro-batches.",
      {"JOB.yaml"});
  line.add()("ranks", po::value<std::string>()->default_value("1,2"), "numbers of ranks")(
      "strong", "keep the global batch")("steps", po::value<int64_t>()->default_value(50), "timed steps")(
      "launcher", po::value<std::string>()->default_value(default_launcher()),
      "what starts N ranks; N is appended")("set", po::value<Words>()->composing(),
                                            "KEY=VALUE: change a key of the job file")(
      "json", "print one JSON object");
  if (!line.parse(words)) return 0;
  const std::vector<int> ranks = read_ranks(line.text("ranks"));
  const bool strong = line.has("strong");

  Config config = Config::from_file(line.text("JOB.yaml"));
  for (const std::string& assignment : line.has("set") ? line.get<Words>("set") : Words{})
    config.set(assignment);
  Config batch = config.at("batch");
  batch.positional("global");
  const int64_t global = batch.get_int("global"), micro = batch.get_int("micro", global);
  if (global < 1 || micro < 1 || micro > global)
    throw batch.error(
        fmt::format("global and micro must be at least 1, and micro no more than global; found {} and {}",
                    global, micro),
        "for instance batch: {global: 128, micro: 32}");
  const std::string program = this_program();

  std::vector<std::string> rows;
  double base_rate = 0;
  int base_ranks = 1;
  if (!line.has("json")) {
    fmt::print("{} scaling of {}\n\n{:>6} {:>14} {:>12} {:>12} {:>12} {:>12} {:>14}\n",
               strong ? "strong" : "weak", line.text("JOB.yaml"), "ranks", "global batch", "step ms",
               "samples/s", "speed-up", "efficiency", "exposed comm");
  }
  for (int n : ranks) {
    std::string command = line.text("launcher") + " " + std::to_string(n) + " " + shell_quote(program) +
                          " bench step " + shell_quote(line.text("JOB.yaml")) + " --json --steps " +
                          std::to_string(line.get<int64_t>("steps"));
    for (const std::string& assignment : line.has("set") ? line.get<Words>("set") : Words{})
      command += " --set " + shell_quote(assignment);
    const int64_t shared = strong ? shared_micro_batch(global, micro, n) : micro;
    if (!strong) command += " --set batch.global=" + std::to_string(micro * n);
    if (shared != micro) command += " --set batch.micro=" + std::to_string(shared);
    const Config result = run_json(command);
    const double rate = result.get_double("samples_per_s"), step_ms = result.get_double("step_ms");
    if (rows.empty()) base_rate = rate, base_ranks = n;
    const double speed_up = rate / base_rate, efficiency = speed_up * base_ranks / n;
    const double exposed = result.get_double("communication_ms") / step_ms;
    JsonObject row;
    row.set("ranks", n)
        .set("global_batch", result.get_int("global_batch"))
        .set("micro_batch", shared)
        .set("step_ms", step_ms)
        .set("samples_per_s", rate);
    row.set("speed_up", speed_up).set("efficiency", efficiency).set("exposed_communication", exposed);
    rows.push_back(row.str());
    if (!line.has("json")) {
      fmt::print("{:>6} {:>14} {:>12.3f} {:>12} {:>12.2f} {:>10.1f} % {:>12.1f} %\n", n,
                 result.get_int("global_batch"), step_ms, grouped(rate), speed_up, 100 * efficiency,
                 100 * exposed);
      std::fflush(stdout);
    }
  }
  if (line.has("json")) {
    JsonObject object;
    object.set("job", line.text("JOB.yaml"))
        .set("kind", strong ? "strong" : "weak")
        .set_raw("results", fmt::format("[{}]", fmt::join(rows, ", ")));
    fmt::print("{}\n", object.str());
  }
  return 0;
}

namespace {
const bool bench_scaling_registered =
    commands().add("bench scaling",
                   {.summary = "time a step on several numbers of ranks", .run = bench_scaling_command}, 14);
}

}  // namespace lockstep
