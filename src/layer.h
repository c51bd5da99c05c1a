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
#include "src/config.h"

namespace lockstep {

/// How a parameter starts. `fan_in`/`fan_out` count connections per output/input unit.
struct ParameterSpec {
  enum class Role { kWeight, kBias };
  std::string name;  // "weight", "bias": the vertex name is put in front
  Shape shape;       // canonical: affine (O, I), conv (K, C/groups, kh, kw)
  Role role = Role::kWeight;
  int64_t fan_in = 1, fan_out = 1;
};

struct LowerContext {
  OpConfig config;
  std::vector<TensorDesc> src;           // (N, …) in the layouts that arrive
  Activation fused = Activation::kNone;  // only if fuses() said yes
  bool wants_diff_src = true;
};

class Layer {
 public:
  virtual ~Layer() = default;
  /// The name in job files: "conv", "affine", "relu", …
  virtual std::string type() const = 0;
  /// Shape of one output sample. Throws Error (reason and remedy) if src does not fit.
  virtual Shape infer(std::span<const Shape> src) const = 0;
  virtual std::vector<ParameterSpec> parameters(std::span<const Shape>) const { return {}; }
  /// Multiplications paired with an addition, forward, per sample.
  virtual int64_t multiply_adds(std::span<const Shape>) const { return 0; }
  virtual std::unique_ptr<Op> lower(const LowerContext& context) const = 0;

  /// Whether lower() can close with this activation.
  virtual bool fuses(Activation) const { return false; }
  /// Set by activation layers, so that the plan can fuse them into their predecessor.
  virtual std::optional<Activation> activation() const { return std::nullopt; }
};

/// Layers by their job-file name. A layer registers itself in its own source file:
///   const bool registered = register_layer("relu", [](Config& options) { return …; });
using LayerMaker = std::function<std::shared_ptr<const Layer>(Config& options)>;
bool register_layer(const std::string& type, LayerMaker maker);
/// From "relu" or {conv: {channels: 6, name: conv1}}; `name` receives the option `name` of any
/// layer. Throws Error naming the nearest known type. Checks that all options were known.
std::shared_ptr<const Layer> make_layer(const Config& description, std::string& name);
std::vector<std::string> layer_types();

}  // namespace lockstep
