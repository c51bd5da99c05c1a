// A network as an ONNX graph. Each layer says what it is in ONNX's operators (Layer::to_onnx); here is what
// it says it with, and the walk over a graph.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "io/formats/onnx_file.h"
#include "src/network/arena.h"
#include "src/network/graph.h"

namespace lockstep {

/// The file's content, and the numbers in it that are not the arena's.
struct OnnxNetwork {
  OnnxModel model;
  std::deque<std::vector<float>> reals;
  std::deque<std::vector<int64_t>> wholes;
  std::deque<std::vector<uint8_t>> truths;
};

class OnnxWalk;

/// One vertex of the graph while its layer adds its operators. Values are known by their names; those that
/// stand for samples have N in front.
class OnnxVertex {
 public:
  OnnxVertex(OnnxWalk& walk, int vertex);

  size_t n_inputs() const;
  std::string input(size_t i = 0) const;
  const Shape& shape(size_t i = 0) const;  // of a sample of input i
  /// Whether somebody reads that further output.
  bool wants_output(size_t further) const;
  const Shape& output_shape() const;

  /// The layer's parameter number i, by the name and shape that checkpoints have.
  std::string parameter(size_t i) const;
  std::span<const float> parameter_values(size_t i) const;

  std::string constant(const Shape& shape, std::vector<float> values);
  std::string constant(float value) { return constant(Shape{}, {value}); }
  std::string wholes(std::vector<int64_t> values);  // of one dimension
  std::string whole(int64_t value);                 // of none
  std::string truths(const Shape& shape, std::vector<uint8_t> values);

  /// Adds an operator; returns its first output. further: how many more outputs it has, called like the first
  /// with ".1", ….
  std::string add(const std::string& op, std::vector<std::string> inputs,
                  std::vector<OnnxAttribute> attributes = {}, int further = 0);
  // Operators that several layers use.
  std::string reshape(const std::string& value, const Shape& sample);  // (N, sample)
  std::string transpose(const std::string& value, std::vector<int64_t> axes);
  std::string unsqueeze(const std::string& value, int64_t axis);
  std::string squeeze(const std::string& value, int64_t axis);
  std::string cast(const std::string& value, OnnxType type);
  /// (N, n) truths: whether place i is below the lengths (N) of input `slot`.
  std::string below_lengths(size_t slot, int64_t n);

  /// Says which value is the layer's; further: 1 for its first further output, ….
  void set_output(const std::string& value, size_t further = 0);
  /// Refuses the export: Error naming the layer.
  [[noreturn]] void refuse(const std::string& reason, const std::string& remedy) const;

 private:
  std::string fresh(const std::string& op);

  OnnxWalk& walk_;
  int vertex_;
  size_t first_node_;  // of its own
  std::map<std::string, int> n_named_;
};

struct OnnxOptions {
  std::string name, producer_version;
  /// (x - mean) * (1 / stddev) in front of the first input, per channel or for all: the file then takes what
  /// the data hold. Empty: the network's input as it is.
  std::vector<float> mean, stddev;
  std::vector<std::pair<std::string, std::string>> metadata;
};

/// The graph with the weights that the arena has on the host, in evaluation. Inputs and outputs are named as
/// the graph's, the prediction "output", lengths NAME_lengths; a state is an input, and an output called
/// NAME.next. Throws Error naming the layer that has no form in ONNX.
OnnxNetwork to_onnx(const Graph& graph, const ParameterArena& arena, const OnnxOptions& options);

}  // namespace lockstep
