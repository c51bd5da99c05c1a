// Graph: layers and edges, a pure description. Vertices stand in topological order because
// a vertex may only read vertices that exist already.
//
// Inputs are numbers, float32, until a layer reads one as ids: then it is int32. Sequences may have
// lengths, an int32 input of the graph too, which follows them from layer to layer. A state is an input that
// holds what another vertex had in the step before.
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
  int weight_of = -1;                  // the vertex whose parameter "weight" it uses; its others are its own
  int recompute = -1;                  // block whose activations are computed again for backward; -1: kept
  std::string parameters_name;         // in front of the names of its parameters
  DType dtype = DType::kFloat32;
  int64_t n_ids = 0;       // of an input that is ids: the smallest number that is none
  int lengths = -1;        // the vertex of how many of its steps are valid; -1: all
  int lengths_of = -1;     // of an input: the input whose lengths it is
  int output = 0;          // > 0: this output of what it reads, and no layer of its own
  int state_of = -1;       // of an input: it starts with what that vertex had in the step before
  bool is_zero = false;    // of an input: zeros, always
  bool is_part = false;    // of a layer that stands for several; nobody may read it
  bool is_frozen = false;  // training leaves all of its own parameters and statistics as they are
  int64_t scan_step = -1;  // of a scan that is unrolled: which of its steps
};

class Graph {
 public:
  /// Adds an input of the given sample shape; returns its vertex index. Inputs come first.
  int add_input(const std::string& name, const Shape& shape);
  /// Adds an input: how many steps of each sample of that input (T, …) are valid.
  int add_lengths(int input);
  /// Adds a state, zero in the first step of each epoch; then set_state says what becomes of it.
  int add_state(const std::string& name, const Shape& shape);
  void set_state(int state, int vertex) { vertices_[state].state_of = vertex; }
  /// Lets every recurrent layer that is added from now on carry its state, as if its options said so.
  void carry_states() { carries_states_ = true; }
  bool carries_states() const { return carries_states_; }
  /// Adds an input that is zero.
  int add_zeros(const std::string& name, const Shape& shape);
  /// The vertex that is a further output of `vertex`, for others to read. Throws Error naming those it has.
  int output_of(int vertex, const std::string& name);

  /// Adds a layer that reads `inputs`; returns its index. Infers the shape; a misfit throws
  /// Error naming this layer and the ones it reads. Names must be unique.
  /// shares >= 0: the vertex whose parameters it uses; it must want the same shapes.
  /// parameters_name: in front of its parameters' names; empty: its own.
  int add(const std::string& name, std::shared_ptr<const Layer> layer, std::vector<int> inputs,
          int shares = -1, const std::string& parameters_name = {});
  /// Lets a vertex use another's parameter "weight" as its own (Press and Wolf 2017); others remain its own.
  /// Throws Error where it has none of that shape.
  void tie(int vertex, int owner);
  /// Adds a layer behind the last vertex, named TYPE + running number if `name` is empty.
  int append(std::shared_ptr<const Layer> layer, const std::string& name = {});
  /// Training shall leave that vertex's own parameters and statistics as they are.
  void freeze(int vertex) { vertices_[vertex].is_frozen = true; }
  /// Of each vertex whether it has parameters, all frozen, and nothing in front of it is trained: then it
  /// needs no gradient, and is in training what it is in evaluation.
  std::vector<bool> trunk() const;
  /// Marks vertices as one block whose activations backward computes again instead of keeping.
  void recompute(const std::vector<int>& vertices);
  /// Adds the vertices of one layer, or network, that stands for several: `add` returns the last one.
  template <typename Add>
  int add_parts(const Add& add) {
    ++n_open_;
    const int last = add();
    if (--n_open_ == 0 && last >= 0) vertices_[last].is_part = false;
    return last;
  }
  /// Makes this vertex the prediction; the last layer's is unless told otherwise.
  void set_output(int vertex) { output_ = vertex; }

  void set_scan_step(int vertex, int64_t step) { vertices_[vertex].scan_step = step; }
  /// Lets what comes of sequences have the lengths that this vertex tells.
  void set_lengths(int vertex, int lengths) { vertices_[vertex].lengths = lengths; }
  /// Marks a vertex whose value people want to see beside the prediction, such as attention weights.
  void show(int vertex) { shown_.push_back(vertex); }
  /// One that takes much memory: it is shown after show_requested().
  void show_on_request(int vertex) { on_request_.push_back(vertex); }
  void show_requested();
  const std::vector<int>& shown() const { return shown_; }
  const std::vector<int>& shown_on_request() const { return on_request_; }

  const std::vector<Vertex>& vertices() const { return vertices_; }
  const Vertex& vertex(int i) const { return vertices_[i]; }
  int size() const { return static_cast<int>(vertices_.size()); }
  /// The vertex whose value is the prediction; by itself the last layer.
  int output() const;
  /// The inputs that data fill, and the states.
  std::vector<int> inputs() const;
  std::vector<int> states() const;
  /// The vertex of that name, or -1.
  int find(const std::string& name) const;
  std::vector<std::string> names() const;

  std::vector<Shape> input_shapes(int vertex) const;
  /// The parameters that a vertex owns: none where it shares another's, no weight where it is tied.
  std::vector<ParameterSpec> parameters(int vertex) const;
  /// Trained parameters; running averages do not count.
  int64_t n_parameters() const;
  /// Forward multiply-adds per sample.
  int64_t multiply_adds() const;

 private:
  /// Not a further output, nor an input that comes with another vertex.
  bool stands_by_itself(int vertex) const;
  /// Notes that `vertex` reads its input `slot` as ids, or as numbers.
  void read_input(const Vertex& vertex, int slot, const std::string& where);

  std::vector<Vertex> vertices_;
  int output_ = -1;
  int n_recompute_ = 0;
  bool carries_states_ = false;
  int n_open_ = 0;  // add_parts() that has not returned
  std::vector<int> shown_, on_request_;
};

}  // namespace lockstep
