#include "src/layer.h"

#include <fmt/format.h>

#include <map>

namespace lockstep {

namespace {
std::map<std::string, LayerMaker>& registry() {
  static std::map<std::string, LayerMaker> layers;
  return layers;
}
}  // namespace

bool register_layer(const std::string& type, LayerMaker maker) {
  return registry().emplace(type, std::move(maker)).second;
}

std::vector<std::string> layer_types() {
  std::vector<std::string> types;
  for (const auto& [type, maker] : registry()) types.push_back(type);
  return types;
}

LayerDescription read_layer(const Config& description) {
  const Config::Named named = description.named();
  const auto entry = registry().find(named.name);
  if (entry == registry().end()) {
    const std::string near = nearest_word(named.name, layer_types());
    throw description.error(
        fmt::format("unknown layer '{}'{}", named.name, near.empty() ? "" : "; did you mean '" + near + "'?"),
        fmt::format("known layers: {}", fmt::join(layer_types(), ", ")));
  }
  Config& options = *named.options;
  // {add: [a, b]}: a list of names is what the layer reads.
  if (options.is_list() && !options.items().empty() && options.items()[0].is_name())
    options.positional("from");
  LayerDescription result;
  result.layer = entry->second(options);
  result.name = options.get_string("name", "");
  result.from = options.get_strings("from");
  result.shares = options.get_string("shares", "");
  options.finish();
  return result;
}

}  // namespace lockstep
