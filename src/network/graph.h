// Graph: layers and edges, a pure description. Vertices stand in topological order because
// a vertex may only read vertices that exist already.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "src/network/layer.h"

namespace lockstep {

struct Vertex {
  std::string name;
  std::shared_ptr<const Layer> layer;  // null: an input of the graph
  std::vector<int> inputs;             // vertex indices
  Shape shape;                         // of one output sample
  int parameters_of = -1;              // the vertex whose parameters it uses: itself unless shared
  int recompute = -1;                  // block whose activations are computed again for backward; -1: kept
};

class Graph {
 public:
  /// Adds an input of the given sample shape; returns its vertex index. Inputs come first.
  int add_input(const std::string& name, const Shape& shape);
  /// Adds a layer that reads `inputs`; returns its index. Infers the shape; a misfit throws
  /// Error naming this layer and the ones it reads. Names must be unique.
  /// shares >= 0: the vertex whose parameters it uses; it must want the same shapes.
  int add(const std::string& name, std::shared_ptr<const Layer> layer, std::vector<int> inputs,
          int shares = -1);
  /// Adds a layer behind the last vertex, named TYPE + running number if `name` is empty.
  int append(std::shared_ptr<const Layer> layer, const std::string& name = {});
  /// Marks vertices as one block whose activations backward computes again instead of keeping.
  void recompute(const std::vector<int>& vertices);
  /// Makes this vertex the prediction; the last one is unless told otherwise.
  void set_output(int vertex) { output_ = vertex; }

  const std::vector<Vertex>& vertices() const { return vertices_; }
  const Vertex& vertex(int i) const { return vertices_[i]; }
  int size() const { return static_cast<int>(vertices_.size()); }
  /// The vertex whose value is the prediction.
  int output() const { return output_ >= 0 ? output_ : size() - 1; }
  std::vector<int> inputs() const;
  /// The vertex of that name, or -1.
  int find(const std::string& name) const;
  std::vector<std::string> names() const;

  std::vector<Shape> input_shapes(int vertex) const;
  /// The parameters that a vertex owns: none where it shares another's.
  std::vector<ParameterSpec> parameters(int vertex) const;
  /// Trained parameters; running averages do not count.
  int64_t n_parameters() const;
  /// Forward multiply-adds per sample.
  int64_t multiply_adds() const;

 private:
  std::vector<Vertex> vertices_;
  int output_ = -1;
  int n_recompute_ = 0;
};

}  // namespace lockstep
