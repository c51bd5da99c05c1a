// Graph: layers and edges, a pure description. Vertices stand in topological order because
// a vertex may only read vertices that exist already.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "src/layer.h"

namespace lockstep {

struct Vertex {
  std::string name;
  std::shared_ptr<const Layer> layer;  // null: an input of the graph
  std::vector<int> inputs;             // vertex indices
  Shape shape;                         // of one output sample
};

class Graph {
 public:
  /// Adds an input of the given sample shape; returns its vertex index.
  int add_input(const std::string& name, const Shape& shape);
  /// Adds a layer that reads `inputs`; returns its index. Infers the shape; a misfit throws
  /// Error naming this layer and the ones it reads. Names must be unique.
  int add(const std::string& name, std::shared_ptr<const Layer> layer, std::vector<int> inputs);
  /// Adds a layer behind the last vertex, named TYPE + running number if `name` is empty.
  int append(std::shared_ptr<const Layer> layer, const std::string& name = {});

  const std::vector<Vertex>& vertices() const { return vertices_; }
  const Vertex& vertex(int i) const { return vertices_[i]; }
  int size() const { return static_cast<int>(vertices_.size()); }
  /// The vertex whose value is the prediction: the last one.
  int output() const { return size() - 1; }

  std::vector<Shape> input_shapes(int vertex) const;
  int64_t n_parameters() const;
  /// Forward multiply-adds per sample.
  int64_t multiply_adds() const;

 private:
  std::vector<Vertex> vertices_;
};

}  // namespace lockstep
