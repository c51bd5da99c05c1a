#include "src/network/model.h"

#include <fmt/format.h>

#include <algorithm>

#include "src/config/family.h"
#include "src/network/layer_list.h"

namespace lockstep {

namespace {
struct ZooEntry {
  ZooMaker maker;
  ModelDefaults defaults;
};

Family<ZooEntry>& zoo() {
  static Family<ZooEntry> family("model", "models");
  return family;
}

const ZooEntry& find_zoo_entry(const Config& model) {
  return zoo().at(model.get_string("zoo"), model.at("zoo"));
}

/// What the data tells, or the natural input of the zoo's network where nothing tells one.
ModelContext with_defaults(const Config& model, const ModelContext& from_data) {
  if (!model.has("zoo") || model.has("input") || from_data.input.rank() > 0) return from_data;
  const ModelDefaults& defaults = find_zoo_entry(model).defaults;
  ModelContext context = from_data;
  context.input = defaults.input;
  if (context.n_classes == 0) context.n_classes = defaults.n_classes;
  if (defaults.vocabulary > 0) context.vocabularies.emplace("input", defaults.vocabulary);
  return context;
}

void check_extents(const Config& options, const std::string& key, const std::vector<int64_t>& extents) {
  const bool fit = !extents.empty() && extents.size() < static_cast<size_t>(Shape::kMaxRank) &&
                   *std::min_element(extents.begin(), extents.end()) >= 1;
  if (!fit)
    throw options.error_at(
        key, fmt::format("needs 1 to {} extents of a sample, each at least 1", Shape::kMaxRank - 1),
        "for instance [3, 32, 32]");
}

Shape read_input(const Config& model, const ModelContext& context) {
  const std::vector<int64_t> extents = model.get_ints("input", {});
  if (extents.empty()) {
    if (context.input.rank() == 0) {
      throw model.error("the input shape is unknown without data", "add input: [C, H, W] to the model");
    }
    return context.input;
  }
  check_extents(model, "input", extents);
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

int add_data_input(Graph& graph, const std::string& name, const ModelContext& context, Shape shape) {
  const bool is_ragged = context.ragged.count(name) > 0;
  if (const auto told = context.inputs.find(name); told != context.inputs.end() && is_ragged)
    shape = told->second;
  if (const auto steps = context.steps.find(name); steps != context.steps.end() && shape.rank() > 0)
    shape[0] = steps->second;
  const int input = graph.add_input(name, shape);
  if (is_ragged) graph.add_lengths(input);
  return input;
}

namespace {

/// One input called "input", or those of `inputs: {image: [3, 32, 32], age: [1]}`.
void add_inputs(Graph& graph, const Config& model, const ModelContext& context) {
  const std::optional<Config> inputs = model.find("inputs");
  if (!inputs) {
    add_data_input(graph, "input", context, read_input(model, context));
    return;
  }
  if (model.has("input"))
    throw model.error_at("input", "input and inputs are both given", "give either input or inputs");
  for (const std::string& name : inputs->keys()) {
    const std::vector<int64_t> extents = inputs->get_ints(name, {});
    check_extents(*inputs, name, extents);
    add_data_input(graph, name, context, Shape{std::span<const int64_t>(extents)});
  }
  if (graph.size() == 0)
    throw inputs->error("the list is empty", "for instance inputs: {image: [3, 32, 32]}");
}

/// Makes one recomputed block of the layers called PREFIX or PREFIX.….
void recompute_prefix(Graph& graph, const Config& model, const std::string& prefix) {
  std::vector<int> vertices;
  for (int v = 0; v < graph.size(); ++v) {
    const std::string& name = graph.vertex(v).name;
    if (graph.vertex(v).layer && (name == prefix || name.starts_with(prefix + "."))) vertices.push_back(v);
  }
  if (vertices.empty()) {
    throw model.error_at("recompute", fmt::format("no layer is called '{0}' or '{0}.…'", prefix),
                         "`lockstep inspect` lists the layers' names");
  }
  graph.recompute(vertices);
}
}  // namespace

bool register_model(const std::string& name, ZooMaker maker, const ModelDefaults& defaults) {
  return zoo().add(name, ZooEntry{std::move(maker), defaults});
}

std::vector<std::string> zoo_names() { return zoo().names(); }

int64_t read_classes(const Config& options, const ModelContext& context) {
  const int64_t classes = options.get_int("classes", context.n_classes);
  if (classes < 1 && options.has("classes"))
    throw options.error_at("classes", "must be at least 1, found " + std::to_string(classes),
                           "give the number of classes, or leave it out where the data names them");
  if (classes < 1) {
    throw options.error("the number of classes is unknown: the data carries no class names",
                        "add classes: K to the model");
  }
  return classes;
}

int64_t read_vocabulary(const Config& options, const ModelContext& context, const std::string& key,
                        const std::string& input) {
  const auto told = context.vocabularies.find(input);
  const int64_t from_data = told != context.vocabularies.end() ? told->second : context.n_classes;
  const int64_t size = options.get_int(key, from_data);
  if (size < 1 && options.has(key))
    throw options.error_at(key, "must be at least 1, found " + std::to_string(size),
                           "give the number of tokens, or leave it out where the data names them");
  if (size < 1)
    throw options.error("the size of the vocabulary is unknown: the data carries none",
                        "add " + key + ": V to the model");
  return size;
}

Graph build_model(const Config& model, const ModelContext& from_data) {
  const ModelContext context = with_defaults(model, from_data);
  Graph graph;
  if (context.carries_states) graph.carry_states();
  if (!model.has("zoo") || !find_zoo_entry(model).defaults.adds_inputs) add_inputs(graph, model, context);
  // Recurrent networks of the zoo have a number of layers as an option.
  const bool lists_layers = model.has("layers") && !(model.has("zoo") && !model.at("layers").is_list());
  if (model.has("zoo") + lists_layers + model.has("graph") != 1) {
    throw model.error("a model needs one of zoo, layers and graph",
                      "for instance model: {zoo: lenet5} or model: {layers: [flatten, {affine: 10}]}");
  }
  if (model.has("zoo")) {
    find_zoo_entry(model).maker(graph, model, context);
  } else {
    add_layers(graph, model.at(model.has("graph") ? "graph" : "layers"));
  }
  if (model.has("output")) {
    const std::string name = model.get_string("output");
    const int vertex = graph.find(name);
    if (vertex < 0) {
      const std::string near = nearest_word(name, graph.names());
      throw model.error_at("output", fmt::format("the graph has no layer '{}'", name),
                           near.empty() ? "name one of its layers" : "did you mean '" + near + "'?");
    }
    graph.set_output(vertex);
  }
  for (const std::string& prefix : model.get_strings("recompute")) recompute_prefix(graph, model, prefix);
  model.finish();
  return graph;
}

}  // namespace lockstep
