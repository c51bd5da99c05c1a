#pragma once

#include <string>
#include <vector>

namespace lockstep {

/// "3 (ant, bee, cat)", the first 30 of them, for terminals.
std::string list_of_names(const std::vector<std::string>& names);

/// Throws Error where two classes of the dataset `path` have one name.
void check_distinct(const std::string& path, const std::vector<std::string>& names);

/// Throws Error with both lists where class numbers of `names`, of the dataset `path`, mean other classes
/// than those of training. Fewer are fine where they are the first ones; so is a dataset without names.
void check_class_names(const std::string& path, const std::vector<std::string>& names,
                       const std::vector<std::string>& trained);

}  // namespace lockstep
