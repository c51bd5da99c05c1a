#include "src/graph.h"

#include <fmt/format.h>

namespace lockstep {

int Graph::add_input(const std::string& name, const Shape& shape) {
  vertices_.push_back({name, nullptr, {}, shape});
  return size() - 1;
}

int Graph::add(const std::string& name, std::shared_ptr<const Layer> layer, std::vector<int> inputs) {
  for (const Vertex& other : vertices_) {
    if (other.name == name)
      throw Error("layer '" + name + "'", "the name is used twice", "give each layer its own name");
  }
  Vertex vertex{name, std::move(layer), std::move(inputs), {}};
  std::vector<Shape> src;
  std::string readers;
  for (int i : vertex.inputs) {
    src.push_back(vertices_[i].shape);
    readers += (readers.empty() ? "" : ", ") + fmt::format("'{}'", vertices_[i].name);
  }
  try {
    vertex.shape = vertex.layer->infer(src);
  } catch (const Error& e) {
    throw Error(fmt::format("layer '{}' ({}) after {}", name, vertex.layer->type(), readers), e.reason(),
                e.remedy());
  }
  vertices_.push_back(std::move(vertex));
  return size() - 1;
}

int Graph::append(std::shared_ptr<const Layer> layer, const std::string& name) {
  if (!name.empty()) return add(name, std::move(layer), {size() - 1});
  int number = 1;
  for (const Vertex& other : vertices_) number += other.layer && other.layer->type() == layer->type();
  const std::string numbered = layer->type() + std::to_string(number);
  return add(numbered, std::move(layer), {size() - 1});
}

std::vector<Shape> Graph::input_shapes(int vertex) const {
  std::vector<Shape> shapes;
  for (int i : vertices_[vertex].inputs) shapes.push_back(vertices_[i].shape);
  return shapes;
}

int64_t Graph::n_parameters() const {
  int64_t n = 0;
  for (int v = 0; v < size(); ++v) {
    if (!vertices_[v].layer) continue;
    for (const ParameterSpec& spec : vertices_[v].layer->parameters(input_shapes(v)))
      n += spec.shape.n_elements();
  }
  return n;
}

int64_t Graph::multiply_adds() const {
  int64_t n = 0;
  for (int v = 0; v < size(); ++v) {
    if (vertices_[v].layer) n += vertices_[v].layer->multiply_adds(input_shapes(v));
  }
  return n;
}

}  // namespace lockstep
