// The subcommands of `lockstep`: one source file each, which adds itself to commands().
#pragma once

#include <boost/program_options.hpp>

#include <functional>
#include <stdexcept>
#include <string>
#include <variant>
#include <vector>

#include "comm/communicator.h"
#include "src/config/family.h"

namespace lockstep {

using Words = std::vector<std::string>;

/// Commands that work on one process return an exit status; others also get the ranks.
using LocalCommand = std::function<int(const Words&)>;
using RankCommand = std::function<int(const Words&, Communicator&)>;

struct Command {
  std::string summary;  // a line there
  std::variant<LocalCommand, RankCommand> run;
  bool saves_when_stopped = false;  // others end at once, as signals do by default
};

/// The subcommands by name. A new one is a file NAME.cpp with
///   const bool NAME_registered = commands().add("NAME", {.summary = "…", .run = NAME_command});
Family<Command>& commands();

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
  /// synopsis: "train JOB.yaml [options]"; positional: names of the leading arguments, the last of which may
  /// stand for one or more ("FILE…").
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
  /// Of an argument that stands for several.
  std::vector<std::string> texts(const std::string& name) const {
    return get<std::vector<std::string>>(name);
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
