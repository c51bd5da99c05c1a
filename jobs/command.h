// The subcommands of `lockstep`: one source file each, listed in commands() of main.cpp.
#pragma once

#include <boost/program_options.hpp>

#include <stdexcept>
#include <string>
#include <vector>

#include "comm/communicator.h"

namespace lockstep {

using Words = std::vector<std::string>;

/// Commands that work on one process return an exit status; others also get the ranks.
int report_command(const Words& words);
int export_command(const Words& words);
int inspect_command(const Words& words);
int repair_command(const Words& words);
int verify_command(const Words& words);
int doctor_command(const Words& words, Communicator& comm);
int train_command(const Words& words, Communicator& comm);
int evaluate_command(const Words& words, Communicator& comm);
int import_command(const Words& words, Communicator& comm);
int predict_command(const Words& words, Communicator& comm);
int convert_command(const Words& words, Communicator& comm);
int bench_allreduce_command(const Words& words, Communicator& comm);
int bench_checkpoint_command(const Words& words, Communicator& comm);
int bench_step_command(const Words& words, Communicator& comm);
int bench_input_command(const Words& words, Communicator& comm);
int bench_scaling_command(const Words& words);

/// A mistake on the command line: printed once, exit status kExitUsage.
class UsageError : public std::runtime_error {
 public:
  /// `what` names the option; `remedy` is what to write instead.
  UsageError(const std::string& what, const std::string& remedy)
      : std::runtime_error(what + "\n  remedy: " + remedy) {}
};

/// Options of one command. parse() prints the help and returns false for --help.
class CommandLine {
 public:
  /// synopsis: "train JOB.yaml [options]"; positional: names of the leading arguments.
  CommandLine(std::string synopsis, std::string summary, std::vector<std::string> positional);

  boost::program_options::options_description_easy_init add() { return options_.add_options(); }
  /// Throws UsageError naming the nearest option for an unknown one, and missing arguments.
  bool parse(const Words& words, bool prints_help = true);

  bool has(const std::string& name) const { return values_.count(name) > 0; }
  template <typename T>
  T get(const std::string& name) const {
    return values_[name].as<T>();
  }
  std::string text(const std::string& name) const {
    return has(name) ? get<std::string>(name) : std::string();
  }
  /// An option's whole numbers of at least `least`, separated by commas (or x). Throws UsageError.
  std::vector<int64_t> numbers(const std::string& name, int64_t least, const char* example) const;

 private:
  std::string usage() const;  // as the remedy of a UsageError

  std::string synopsis_, summary_;
  std::vector<std::string> positional_;
  boost::program_options::options_description options_;
  boost::program_options::variables_map values_;
};

}  // namespace lockstep
