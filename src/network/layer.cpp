#include "src/network/layer.h"

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
    throw description.unknown_name("layer", "layers", named.name, layer_types());
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
