#include "jobs/command.h"

#include <fmt/format.h>

#include <algorithm>
#include <iostream>

#include "src/config/config.h"

namespace lockstep {

namespace po = boost::program_options;

CommandLine::CommandLine(std::string synopsis, std::string summary, std::vector<std::string> positional)
    : synopsis_(std::move(synopsis)),
      summary_(std::move(summary)),
      positional_(std::move(positional)),
      options_("Options") {
  options_.add_options()("help,h", "this text");
}

std::string CommandLine::usage() const {
  return fmt::format("write lockstep {}; --help lists the options", synopsis_);
}

bool CommandLine::parse(const Words& words, bool prints_help) {
  po::options_description all;
  po::options_description arguments;
  po::positional_options_description order;
  for (const std::string& name : positional_) {
    const bool is_many = name.ends_with("…");
    if (is_many)
      arguments.add_options()(name.c_str(), po::value<std::vector<std::string>>());
    else
      arguments.add_options()(name.c_str(), po::value<std::string>());
    order.add(name.c_str(), is_many ? -1 : 1);
  }
  all.add(options_).add(arguments);
  try {
    // No guessing of abbreviated options: a new option must not change what an old line means.
    const int style = po::command_line_style::default_style & ~po::command_line_style::allow_guessing;
    po::store(po::command_line_parser(words).options(all).positional(order).style(style).run(), values_);
    po::notify(values_);
  } catch (const po::unknown_option& e) {
    std::vector<std::string> known;
    for (const auto& option : options_.options()) known.push_back("--" + option->long_name());
    const std::string near = nearest_word(e.get_option_name(), known);
    throw UsageError(fmt::format("unknown option {}{}", e.get_option_name(),
                                 near.empty() ? "" : "; did you mean " + near + "?"),
                     usage());
  } catch (const po::error& e) {
    throw UsageError(e.what(), usage());
  }
  if (values_.count("help")) {
    if (prints_help) std::cout << "usage: lockstep " << synopsis_ << "\n\n" << summary_ << "\n\n" << options_;
    return false;
  }
  for (const auto& [name, value] : values_) {  // what a variable that is not set leaves in a script
    const auto* word = boost::any_cast<std::string>(&value.value());
    const bool is_argument = std::find(positional_.begin(), positional_.end(), name) != positional_.end();
    const bool is_flag = !is_argument && options_.find(name, false).semantic()->max_tokens() == 0;
    if (word && word->empty() && !value.defaulted() && !is_flag)
      throw UsageError((is_argument ? "" : "--") + name + " is empty", usage());
  }
  for (const std::string& name : positional_) {
    if (!has(name)) throw UsageError(name + " is missing", usage());
  }
  return true;
}

std::vector<int64_t> CommandLine::numbers(const std::string& name, int64_t least, const char* example) const {
  const std::string all = text(name);
  std::vector<int64_t> values;
  for (size_t at = 0; at < all.size();) {
    size_t used = 0;
    try {
      values.push_back(std::stoll(all.substr(at), &used));
    } catch (const std::exception&) {
    }
    at += used;
    const bool continues = at + 1 < all.size() && (all[at] == ',' || all[at] == 'x');
    if (used == 0 || values.back() < least || (at < all.size() && !continues))
      throw UsageError(
          fmt::format("--{} {}: expected whole numbers of at least {} separated by commas", name, all, least),
          fmt::format("write for instance --{} {}", name, example));
    at += continues;
  }
  return values;
}

}  // namespace lockstep
