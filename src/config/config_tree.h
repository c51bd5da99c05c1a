// What a job file may be as YAML, before anything of it is read: finite and not huge, with texts for keys.
#pragma once

#include <yaml-cpp/yaml.h>

#include <string>

namespace lockstep {

/// Throws Error with the line in `source` where, aliases expanded, maps and lists are nested more than 100
/// deep (such as one that contains itself), hold more than 100,000 values, or have a key that is no text.
void check_tree(const YAML::Node& node, const std::string& source);

}  // namespace lockstep
