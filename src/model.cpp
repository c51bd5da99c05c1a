#include "src/model.h"

#include <fmt/format.h>

#include <map>

namespace lockstep {

namespace {
std::map<std::string, ZooMaker>& zoo() {
  static std::map<std::string, ZooMaker> models;
  return models;
}

Shape read_input(const Config& model, const ModelContext& context) {
  const std::vector<int64_t> extents = model.get_ints("input", {});
  if (extents.empty()) {
    if (context.input.rank() == 0) {
      throw model.error("the input shape is unknown without data", "add input: [C, H, W] to the model");
    }
    return context.input;
  }
  for (int64_t extent : extents) {
    if (extent < 1) throw model.error_at("input", "extents must be at least 1");
  }
  const Shape shape{std::span<const int64_t>(extents)};
  if (context.input.rank() > 0 && context.input.n_elements() != shape.n_elements()) {
    throw model.error_at("input",
                         fmt::format("shape {} has other elements than the data's samples {}", shape.str(),
                                     context.input.str()),
                         "leave it out to use the data's shape");
  }
  return shape;
}
}  // namespace

bool register_model(const std::string& name, ZooMaker maker) {
  return zoo().emplace(name, std::move(maker)).second;
}

std::vector<std::string> zoo_names() {
  std::vector<std::string> names;
  for (const auto& [name, maker] : zoo()) names.push_back(name);
  return names;
}

int64_t read_classes(const Config& options, const ModelContext& context) {
  const int64_t classes = options.get_int("classes", context.n_classes);
  if (classes < 1) {
    throw options.error("the number of classes is unknown: the data carries no class names",
                        "add classes: K to the model");
  }
  return classes;
}

Graph build_model(const Config& model, const ModelContext& context) {
  Graph graph;
  graph.add_input("input", read_input(model, context));
  if (model.has("zoo") == model.has("layers")) {
    throw model.error("a model needs either zoo or layers",
                      "for instance model: {zoo: lenet5} or model: {layers: [flatten, {affine: 10}]}");
  }
  if (model.has("zoo")) {
    const std::string name = model.get_string("zoo");
    const auto entry = zoo().find(name);
    if (entry == zoo().end()) {
      const std::string near = nearest_word(name, zoo_names());
      throw model.error_at(
          "zoo",
          fmt::format("unknown model '{}'{}", name, near.empty() ? "" : "; did you mean '" + near + "'?"),
          fmt::format("known models: {}", fmt::join(zoo_names(), ", ")));
    }
    entry->second(graph, model, context);
  } else {
    for (const Config& item : model.at("layers").items()) {
      std::string name;
      const std::shared_ptr<const Layer> layer = make_layer(item, name);
      graph.append(layer, name);
    }
    if (graph.size() == 1) throw model.error_at("layers", "the list is empty", "add layers");
  }
  model.finish();
  return graph;
}

}  // namespace lockstep
