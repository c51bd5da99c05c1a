#include "src/update/parameter_groups.h"

#include <fmt/format.h>

#include <algorithm>

#include "kernels/error.h"
#include "src/config/nearest_word.h"
#include "src/update/rule_options.h"

namespace lockstep {

bool ParameterGroup::matches(const std::string& name) const {
  return std::any_of(patterns.begin(), patterns.end(),
                     [&](const Pattern& pattern) { return std::regex_search(name, pattern.regex); });
}

namespace {

ParameterGroup read_group(const Config& options) {
  ParameterGroup group;
  // Which names there are is known later.
  group.place = options.error_at("match", "matches nothing", "name parameters of the network").where();
  for (const std::string& text : options.get_strings("match")) {
    try {
      group.patterns.push_back({text, std::regex(text)});
    } catch (const std::regex_error&) {
      throw options.error_at(
          "match", "'" + text + "' is no regular expression",
          "write for instance match: ^encoder, with a backslash before . ( [ + that are meant so");
    }
  }
  if (group.patterns.empty())
    throw options.error("a group of parameters has no match",
                        "write for instance {match: ^conv1, frozen: true}");
  group.lr_factor = options.get_double("lr_factor", 1);
  if (!(group.lr_factor >= 0))
    throw options.error_at("lr_factor", fmt::format("must not be negative, found {}", group.lr_factor),
                           "for instance lr_factor: 0.1, a tenth of the optimizer's rate");
  if (options.has("weight_decay")) {
    group.weight_decay = options.get_double("weight_decay");
    if (!(*group.weight_decay >= 0))
      throw options.error_at("weight_decay",
                             fmt::format("must not be negative, found {}", *group.weight_decay),
                             "for instance weight_decay: 0");
  }
  group.is_frozen = options.get_bool("frozen", false);
  if (group.is_frozen && (options.has("lr_factor") || options.has("weight_decay")))
    throw options.error("a frozen group has a rate or a weight decay", "leave out frozen, or the other two");
  group.frozen_until_epoch = read_not_negative(options, "frozen_until_epoch", 0);
  if (group.is_frozen && options.has("frozen_until_epoch"))
    throw options.error("a frozen group thaws at an epoch", "leave out frozen, or frozen_until_epoch");
  options.finish();
  return group;
}

}  // namespace

std::vector<ParameterGroup> read_parameter_groups(const Config& options) {
  std::vector<ParameterGroup> groups;
  if (!options.has("groups")) return groups;
  const Config list = options.at("groups");
  if (!list.is_list())
    throw list.error("groups is a list", "write for instance groups: [{match: ^conv1, lr_factor: 0.1}]");
  for (const Config& item : list.items()) groups.push_back(read_group(item));
  return groups;
}

namespace {

/// The place of the first group that matches; -1: none does.
int group_of(const std::vector<ParameterGroup>& groups, const std::string& name) {
  const auto found = std::find_if(groups.begin(), groups.end(),
                                  [&](const ParameterGroup& group) { return group.matches(name); });
  return found == groups.end() ? -1 : static_cast<int>(found - groups.begin());
}

/// Of what an optimizer updates.
std::vector<std::string> parameter_names(const Graph& graph) {
  std::vector<std::string> names;
  for (int v = 0; v < graph.size(); ++v)
    for (const ParameterSpec& spec : graph.parameters(v))
      if (spec.role != ParameterSpec::Role::kStatistic)
        names.push_back(graph.vertex(v).parameters_name + "." + spec.name);
  return names;
}

}  // namespace

void check_groups(const std::vector<ParameterGroup>& groups, const Graph& graph) {
  if (groups.empty()) return;
  const std::vector<std::string> names = parameter_names(graph);
  for (const ParameterGroup& group : groups) {
    for (const ParameterGroup::Pattern& pattern : group.patterns) {
      const auto is_found = [&](const std::string& name) { return std::regex_search(name, pattern.regex); };
      if (std::any_of(names.begin(), names.end(), is_found)) continue;
      const std::string near = nearest_word(pattern.text, names);
      constexpr size_t kShown = 8;
      const auto n_shown = static_cast<int64_t>(std::min(kShown, names.size()));
      throw Error(group.place,
                  fmt::format("'{}' matches none of the {} parameters{}", pattern.text, names.size(),
                              near.empty() ? "" : "; did you mean '" + near + "'?"),
                  fmt::format("parameters: {}{}", fmt::join(names.begin(), names.begin() + n_shown, ", "),
                              names.size() > kShown ? ", …" : ""));
    }
  }
  const auto is_frozen = [&](const std::string& name) {
    const int group = group_of(groups, name);
    return group >= 0 && groups[static_cast<size_t>(group)].is_frozen;
  };
  if (std::all_of(names.begin(), names.end(), is_frozen))
    throw Error(groups.front().place, "all parameters are frozen: nothing is left to train",
                "leave some of them out of the frozen groups");
}

void freeze_groups(const std::vector<ParameterGroup>& groups, Graph& graph) {
  for (int v = 0; v < graph.size(); ++v) {
    const std::vector<ParameterSpec> own = graph.parameters(v);
    const bool is_frozen = std::all_of(own.begin(), own.end(), [&](const ParameterSpec& spec) {
      const int group = group_of(groups, graph.vertex(v).parameters_name + "." + spec.name);
      return group >= 0 && groups[static_cast<size_t>(group)].is_frozen;
    });
    if (is_frozen && !own.empty()) graph.freeze(v);
  }
}

std::vector<int> groups_of(const std::vector<ParameterGroup>& groups, const ParameterArena& arena) {
  std::vector<int> result;
  for (const Segment& segment : arena.segments()) result.push_back(group_of(groups, segment.name));
  return result;
}

}  // namespace lockstep
