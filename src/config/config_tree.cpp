#include "src/config/config_tree.h"

#include <fmt/format.h>

#include "kernels/error.h"

namespace lockstep {

namespace {

constexpr int kMaxDepth = 100, kMaxNodes = 100'000;

/// Throws Error where the tree below `node`, aliases expanded, is deeper or larger than that, or a key is no
/// text.
void check_tree(const YAML::Node& node, const std::string& source, int depth, int& n_nodes) {
  const auto refuse = [&](const std::string& what, const std::string& remedy) {
    const YAML::Mark mark = node.Mark();
    throw Error(mark.is_null() ? source : fmt::format("{}:{}", source, mark.line + 1), what, remedy);
  };
  if (depth > kMaxDepth)
    refuse(fmt::format("maps and lists are nested more than {} deep, or contain themselves", kMaxDepth),
           "remove the alias (*name) that stands within its own anchor (&name)");
  if (++n_nodes > kMaxNodes)
    refuse(fmt::format("the file expands to more than {} values", kMaxNodes), "use fewer aliases (*name)");
  if (!node.IsMap() && !node.IsSequence()) return;
  for (const auto& item : node) {
    if (node.IsMap() && !item.first.IsScalar()) refuse("a key is not a text", "write key: value");
    check_tree(node.IsMap() ? item.second : item, source, depth + 1, n_nodes);
  }
}

}  // namespace

void check_tree(const YAML::Node& node, const std::string& source) {
  int n_nodes = 0;
  check_tree(node, source, 0, n_nodes);
}

}  // namespace lockstep
