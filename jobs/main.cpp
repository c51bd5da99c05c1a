// The program `lockstep`: finds the subcommand, starts MPI where the command works on many
// ranks, and turns exceptions into one message and a non-zero status on all ranks.
#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <iostream>
#include <new>
#include <stdexcept>
#include <system_error>
#include <variant>

#include "comm/agreement.h"
#include "jobs/command.h"
#include "jobs/version.h"
#include "src/config/config.h"

namespace lockstep {

Family<Command>& commands() {
  static Family<Command> family("command", "commands");
  return family;
}

namespace {

void print_usage(std::ostream& out) {
  out << "usage: lockstep COMMAND …        (several ranks: mpirun -n P lockstep COMMAND …)\n\n";
  for (const std::string& name : commands().names())
    out << fmt::format("  {:16} {}\n", name, commands().find(name)->summary);
  out << "\nlockstep COMMAND --help tells more; lockstep --version names the version.\n";
}

const Command& find_command(Words& words) {
  std::string name = words.front();
  words.erase(words.begin());
  if (name == "bench" && !words.empty() && words.front()[0] != '-') {
    name += " " + words.front();
    words.erase(words.begin());
  }
  if (const Command* command = commands().find(name)) return *command;
  const std::string near = nearest_word(name, commands().names());
  throw UsageError(
      fmt::format("unknown command '{}'{}", name, near.empty() ? "" : "; did you mean '" + near + "'?"),
      "lockstep --help lists the commands");
}

/// One process of possibly many that a launcher started: only the first speaks and works.
int run_local(const LocalCommand& command, const Words& words) {
  return launcher_rank() == 0 ? command(words) : 0;
}

/// What a person is told: an Error speaks for itself, others get place and remedy.
std::string text_of(const std::exception& e) {
  if (dynamic_cast<const std::bad_alloc*>(&e) || dynamic_cast<const std::length_error*>(&e))
    return Error("memory", "this host has not as much memory as was asked for",
                 "use a smaller batch.micro or model, see what else runs here and the limits (ulimit -v, "
                 "Slurm's --mem); `lockstep inspect JOB.yaml` tells what a rank needs")
        .what();
  if (const auto* system = dynamic_cast<const std::system_error*>(&e);
      system && system->code() == std::errc::resource_unavailable_try_again)
    return Error("threads", "the system starts no more threads or processes: " + std::string(e.what()),
                 "use smaller threads and data.threads, or raise the limit (ulimit -u)")
        .what();
  if (dynamic_cast<const std::filesystem::filesystem_error*>(&e))
    return Error("files", e.what(), "see to the path and its permissions").what();
  if (dynamic_cast<const Error*>(&e)) return e.what();
  return Error("inside Lockstep", std::string(e.what()) + " (an error that nobody expected)",
               "report it with the command, the job file and `lockstep --version`")
      .what();
}

int run_on_ranks(const RankCommand& command, const Words& words, int* argc, char*** argv) {
  MpiSession session(argc, argv);
  Communicator comm = Communicator::world();
  spdlog::set_level(comm.is_root() ? spdlog::level::info : spdlog::level::err);
  try {
    return command(words, comm);
  } catch (const AgreedError& e) {
    if (comm.is_root()) fmt::print(stderr, "lockstep: {}\n", e.what());
  } catch (const UsageError& e) {
    if (comm.is_root()) fmt::print(stderr, "lockstep: {}\n", e.what());
    return kExitUsage;
  } catch (const std::exception& e) {
    // Only this rank knows: the others may wait in a collective for ever.
    const std::string text = text_of(e);
    if (comm.size() > 1) abort_all(text, kExitError);
    fmt::print(stderr, "lockstep: {}\n", text);
  }
  return kExitError;
}

/// The commands whose name begins with "bench ".
void print_bench_usage(std::ostream& out) {
  out << "usage: lockstep bench KIND …\n\n";
  for (const std::string& name : commands().names()) {
    if (name.starts_with("bench ")) out << fmt::format("  {:16} {}\n", name, commands().find(name)->summary);
  }
  out << "\nlockstep bench KIND --help tells more.\n";
}

bool asks_help(const std::string& word) { return word == "--help" || word == "-h" || word == "help"; }

int run(int argc, char** argv) {
  Words words(argv + 1, argv + argc);
  // `help COMMAND` is `COMMAND --help`.
  if (words.size() > 1 && asks_help(words[0])) {
    words.erase(words.begin());
    words.push_back("--help");
  }
  const bool first = launcher_rank() == 0;
  if (words.empty() || asks_help(words[0])) {
    if (first) print_usage(words.empty() ? std::cerr : std::cout);
    return words.empty() ? kExitUsage : 0;
  }
  if (words[0] == "--version" || words[0] == "version") {
    if (first) std::cout << version_text();
    return 0;
  }
  if (words[0] == "bench" && (words.size() == 1 || asks_help(words[1]))) {
    if (first) print_bench_usage(words.size() == 1 ? std::cerr : std::cout);
    return words.size() == 1 ? kExitUsage : 0;
  }
  const Command& command = find_command(words);
  const bool helps = std::find(words.begin(), words.end(), "--help") != words.end();
  if (const auto* local = std::get_if<LocalCommand>(&command.run)) return run_local(*local, words);
  if (helps && !first) return 0;
  if (command.saves_when_stopped) take_stop_signals();
  return run_on_ranks(std::get<RankCommand>(command.run), words, &argc, &argv);
}

}  // namespace
}  // namespace lockstep

int main(int argc, char** argv) {
  spdlog::set_pattern("%^%l%$: %v");
  try {
    return lockstep::run(argc, argv);
  } catch (const lockstep::UsageError& e) {
    if (lockstep::launcher_rank() == 0) fmt::print(stderr, "lockstep: {}\n", e.what());
    return lockstep::kExitUsage;
  } catch (const std::exception& e) {
    fmt::print(stderr, "lockstep: {}\n", lockstep::text_of(e));
    return lockstep::kExitError;
  }
}
