// Groups of parameters with a rate, a weight decay, or no update of their own: those whose names match a
// pattern.
#pragma once

#include <optional>
#include <regex>
#include <string>
#include <vector>

#include "src/config/config.h"
#include "src/network/arena.h"

namespace lockstep {

struct ParameterGroup {
  struct Pattern {
    std::string text;
    std::regex regex;  // found anywhere in a name
  };
  std::vector<Pattern> patterns;
  double lr_factor = 1;                // of the optimizer's rate
  std::optional<double> weight_decay;  // in place of the optimizer's
  bool is_frozen = false;              // weights stay as they are, bit for bit
  double frozen_until_epoch = 0;       // the same until then
  std::string place;                   // in the job file, for errors

  bool matches(const std::string& name) const;
};

/// The key `groups` of an optimizer: [{match: PATTERN or list, lr_factor, weight_decay, frozen,
/// frozen_until_epoch}].
std::vector<ParameterGroup> read_parameter_groups(const Config& options);

/// Throws Error where a pattern matches no parameter of the graph, naming the nearest ones, or where all
/// parameters are frozen.
void check_groups(const std::vector<ParameterGroup>& groups, const Graph& graph);

/// Freezes the vertices all of whose own parameters and statistics are frozen.
void freeze_groups(const std::vector<ParameterGroup>& groups, Graph& graph);

/// Of each segment of the arena the first group that its name matches; -1: none.
std::vector<int> groups_of(const std::vector<ParameterGroup>& groups, const ParameterArena& arena);

}  // namespace lockstep
