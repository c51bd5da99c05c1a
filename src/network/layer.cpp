#include "src/network/layer.h"

#include "src/config/family.h"

namespace lockstep {

namespace {
Family<LayerMaker>& layers() {
  static Family<LayerMaker> family("layer", "layers");
  return family;
}
}  // namespace

bool register_layer(const std::string& type, LayerMaker maker) {
  return layers().add(type, std::move(maker));
}

std::vector<std::string> layer_types() { return layers().names(); }

LayerDescription read_layer(const Config& description) {
  const Config::Named named = description.named();
  const LayerMaker& make = layers().at(named.name, description);
  Config& options = *named.options;
  // {add: [a, b]}: a list of names is what the layer reads.
  if (options.is_list() && !options.items().empty() && options.items()[0].is_name())
    options.positional("from");
  LayerDescription result;
  result.layer = make(options);
  result.name = options.get_string("name", "");
  result.from = options.get_strings("from");
  if (result.from.empty()) result.from = result.layer->reads();
  result.shares = options.get_string("shares", "");
  result.weight_of = options.get_string("weight_of", "");
  if (!result.shares.empty() && !result.weight_of.empty())
    throw options.error_at("weight_of", "it stands beside shares, which has all parameters from a layer",
                           "give one of them");
  options.finish();
  return result;
}

}  // namespace lockstep
