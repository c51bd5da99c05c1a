// A Layer is one vertex of a graph as a description: it infers shapes, declares parameters
// and lowers itself to an op. Shapes are those of one sample; the plan puts N in front.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "kernels/activation.h"
#include "kernels/op.h"
#include "src/config/config.h"

namespace lockstep {

class Graph;
class OnnxVertex;

/// How a parameter starts. `fan_in`/`fan_out` count connections per output/input unit.
struct ParameterSpec {
  /// kStatistic: not trained but averaged, such as the running mean of batch norm (op.h).
  enum class Role { kWeight, kBias, kStatistic };
  std::string name;  // "weight", "bias": the vertex name is put in front
  Shape shape;       // canonical: affine (O, I), conv (K, C/groups, kh, kw)
  Role role = Role::kWeight;
  int64_t fan_in = 1, fan_out = 1;
  std::optional<double> initial = std::nullopt;  // starts there, whatever the job's `init` says
  /// Starts as N(0, deviation^2), where the job names no `init`.
  std::optional<double> deviation = std::nullopt;
  bool is_transposed_outside = false;  // files of other programs have it the other way round: (I, O)
  double momentum = 0.1;  // kStatistic: new = (1 - momentum) * old + momentum * average of the step
};

struct LowerContext {
  OpConfig config;
  std::string name;                      // of the vertex: keys the random numbers of dropout
  std::vector<TensorDesc> src;           // (N, …) in the layouts and types that arrive
  Activation fused = Activation::kNone;  // only if fuses() said yes
  bool adds_residual = false;            // only if fuses_residual(): src.back() is added before `fused`
  bool wants_diff_src = true;
  std::vector<bool> reads_further;  // of further_outputs(), whether somebody reads it
  int64_t cache_steps = 0;          // PlanOptions::cache_steps
  bool as_evaluated = false;        // training, whose random parts are left out: PlanOptions::input_gradients
  bool wants_output(size_t further) const { return further < reads_further.size() && reads_further[further]; }
};

class Layer {
 public:
  virtual ~Layer() = default;
  /// The name in job files: "conv", "affine", "relu", …
  virtual std::string type() const = 0;
  /// How many values it reads.
  virtual int min_inputs() const { return 1; }
  virtual int max_inputs() const { return 1; }
  /// Shape of one output sample. Throws Error (reason and remedy) if src does not fit.
  virtual Shape infer(std::span<const Shape> src) const = 0;
  virtual std::vector<ParameterSpec> parameters(std::span<const Shape>) const { return {}; }
  /// Multiplications paired with an addition, forward, per sample.
  virtual int64_t multiply_adds(std::span<const Shape>) const { return 0; }
  virtual std::unique_ptr<Op> lower(const LowerContext& context) const = 0;

  /// Names of what it gives beside its first value, such as "h_n": others read it as NAME.h_n. Their order is
  /// that of its op's dst.
  virtual std::vector<std::string> further_outputs() const { return {}; }
  virtual Shape infer_further(int /*output*/, std::span<const Shape> /*src*/) const { return {}; }
  /// Where input `slot` is read as integers: they lie in [0, this number). 0: it reads numbers.
  virtual int64_t reads_ids(int /*slot*/) const { return 0; }
  /// Of sequences (T, …): whether step t of its value belongs to step t of its first input.
  virtual bool keeps_steps() const { return false; }
  /// Whether a step of its value depends on earlier ones that it keeps where PlanOptions::cache_steps says.
  virtual bool looks_back() const { return false; }
  /// The input whose sequences' lengths it reads where these differ, as an int32 value of each sample; the
  /// graph puts it among its inputs at that place.
  struct Lengths {
    int of = -1, at = -1;
  };
  virtual Lengths lengths() const { return {}; }
  /// The layer that does to each step of a sequence (T, …) what this one does to a sample (…); null: there is
  /// none, or it would draw other random numbers.
  virtual std::shared_ptr<const Layer> over_steps() const { return nullptr; }
  /// What it reads where its description names nothing.
  virtual std::vector<std::string> reads() const { return {}; }
  /// Of a layer that stands for several: adds them to the graph, the last one under this name, and returns
  /// that; -1: it is a vertex itself.
  virtual int expand(Graph& /*graph*/, const std::string& /*name*/,
                     const std::vector<int>& /*inputs*/) const {
    return -1;
  }

  /// Adds what it is in ONNX's operators, in evaluation. Refuses where it has no form there
  /// (src/network/onnx.h).
  virtual void to_onnx(OnnxVertex& vertex) const;

  /// Whether lower() can close with this activation.
  virtual bool fuses(Activation) const { return false; }
  /// Whether lower() can add a value of its output's shape before that activation.
  virtual bool fuses_residual() const { return false; }
  /// True for the sum of two values of equal shapes: the plan may let a predecessor add it.
  virtual bool is_residual_sum() const { return false; }
  /// Whether its op is a BatchNorm whose statistics are to be of the whole batch of a step.
  virtual bool synchronizes() const { return false; }
  /// Set by activation layers, so that the plan can fuse them into their predecessor.
  virtual std::optional<Activation> activation() const { return std::nullopt; }
};

/// Layers by their job-file name. A layer registers itself in its own source file:
///   const bool registered = register_layer("relu", [](Config& options) { return …; });
using LayerMaker = std::function<std::shared_ptr<const Layer>(Config& options)>;
bool register_layer(const std::string& type, LayerMaker maker);

/// A layer as a job file describes it: "relu" or {conv: {channels: 6, name: conv1, from: pool1}}.
struct LayerDescription {
  std::shared_ptr<const Layer> layer;
  std::string name;               // empty: TYPE + running number
  std::vector<std::string> from;  // what it reads; empty: the layer before it
  std::string shares;             // the layer whose parameters it uses; empty: its own
  std::string weight_of;          // the layer whose parameter "weight" it uses beside its own others
};
/// Throws Error naming the nearest known type. Checks that all options were known.
LayerDescription read_layer(const Config& description);
std::vector<std::string> layer_types();

}  // namespace lockstep
