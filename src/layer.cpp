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

std::shared_ptr<const Layer> make_layer(const Config& description, std::string& name) {
  const Config::Named named = description.named();
  const auto entry = registry().find(named.name);
  if (entry == registry().end()) {
    const std::string near = nearest_word(named.name, layer_types());
    throw description.error(
        fmt::format("unknown layer '{}'{}", named.name, near.empty() ? "" : "; did you mean '" + near + "'?"),
        fmt::format("known layers: {}", fmt::join(layer_types(), ", ")));
  }
  std::shared_ptr<const Layer> layer = entry->second(*named.options);
  name = named.options->get_string("name", "");
  named.options->finish();
  return layer;
}

}  // namespace lockstep
