// Arithmetic layers: between two values (broadcast_add, subtract, multiply, divide), and on each
// element of one (scale, shift, power, absolute, square_root, log, exp).
#include "kernels/arithmetic.h"

#include <fmt/format.h>

#include <cmath>

#include "src/network/layers/layers.h"
#include "src/network/onnx.h"

namespace lockstep {

namespace {

std::string type_of(Arithmetic arithmetic) {
  switch (arithmetic) {
    case Arithmetic::kAdd: return "broadcast_add";
    case Arithmetic::kSubtract: return "subtract";
    case Arithmetic::kMultiply: return "multiply";
    case Arithmetic::kDivide: return "divide";
  }
  return {};
}

std::string type_of(Map map) {
  switch (map) {
    case Map::kScale: return "scale";
    case Map::kShift: return "shift";
    case Map::kPower: return "power";
    case Map::kAbsolute: return "absolute";
    case Map::kSquareRoot: return "square_root";
    case Map::kLog: return "log";
    case Map::kExp: return "exp";
  }
  return {};
}

/// The option that a plain value stands for: {scale: 2}.
const char* parameter_of(Map map) {
  switch (map) {
    case Map::kScale: return "factor";
    case Map::kShift: return "by";
    case Map::kPower: return "exponent";
    default: return nullptr;
  }
}

class ArithmeticLayer : public Layer {
 public:
  explicit ArithmeticLayer(Arithmetic arithmetic) : arithmetic_(arithmetic) {}
  std::string type() const override { return type_of(arithmetic_); }
  int min_inputs() const override { return 2; }
  int max_inputs() const override { return 2; }
  Shape infer(std::span<const Shape> src) const override { return broadcast_shape(src[0], src[1]); }
  bool keeps_steps() const override { return true; }
  std::unique_ptr<Op> lower(const LowerContext& context) const override {
    return make_binary(context.config, {arithmetic_, context.src[0], context.src[1]});
  }
  void to_onnx(OnnxVertex& vertex) const override {
    // Samples are aligned at their last axes: the shorter one gets axes of 1 behind N.
    const int rank = vertex.output_shape().rank();
    const auto aligned = [&](size_t i) {
      const Shape& shape = vertex.shape(i);
      if (shape.rank() == rank) return vertex.input(i);
      std::vector<int64_t> extents(static_cast<size_t>(rank - shape.rank()), 1);
      extents.insert(extents.end(), shape.begin(), shape.end());
      return vertex.reshape(vertex.input(i), Shape(std::span<const int64_t>(extents)));
    };
    const char* op = arithmetic_ == Arithmetic::kAdd        ? "Add"
                     : arithmetic_ == Arithmetic::kSubtract ? "Sub"
                     : arithmetic_ == Arithmetic::kMultiply ? "Mul"
                                                            : "Div";
    const std::string a = aligned(0), b = aligned(1);
    vertex.set_output(vertex.add(op, {a, b}));
  }

 private:
  Arithmetic arithmetic_;
};

class MapLayer : public Layer {
 public:
  MapLayer(Map map, double parameter) : map_(map), parameter_(parameter) {}
  std::string type() const override { return type_of(map_); }
  Shape infer(std::span<const Shape> src) const override { return src[0]; }
  bool keeps_steps() const override { return true; }
  std::unique_ptr<Op> lower(const LowerContext& context) const override {
    return make_map(context.config, {context.src[0], map_, parameter_});
  }
  void to_onnx(OnnxVertex& vertex) const override {
    const std::string x = vertex.input();
    const std::string parameter = parameter_of(map_) ? vertex.constant(static_cast<float>(parameter_)) : "";
    switch (map_) {
      case Map::kScale: return vertex.set_output(vertex.add("Mul", {x, parameter}));
      case Map::kShift: return vertex.set_output(vertex.add("Add", {x, parameter}));
      case Map::kPower: return vertex.set_output(vertex.add("Pow", {x, parameter}));
      case Map::kAbsolute: return vertex.set_output(vertex.add("Abs", {x}));
      case Map::kSquareRoot: return vertex.set_output(vertex.add("Sqrt", {x}));
      case Map::kLog: return vertex.set_output(vertex.add("Log", {x}));
      case Map::kExp: return vertex.set_output(vertex.add("Exp", {x}));
    }
  }

 private:
  Map map_;
  double parameter_;
};

const bool arithmetic_layer_registered = [] {
  for (const Arithmetic arithmetic :
       {Arithmetic::kAdd, Arithmetic::kSubtract, Arithmetic::kMultiply, Arithmetic::kDivide})
    register_layer(type_of(arithmetic), [arithmetic](Config&) { return arithmetic_layer(arithmetic); });
  for (const Map map :
       {Map::kScale, Map::kShift, Map::kPower, Map::kAbsolute, Map::kSquareRoot, Map::kLog, Map::kExp})
    register_layer(type_of(map), [map](Config& options) {
      const char* parameter = parameter_of(map);
      if (!parameter) return map_layer(map);
      options.positional(parameter);
      const double value = options.get_double(parameter);
      if (!std::isfinite(value))
        throw options.error_at(parameter, "must be finite", fmt::format("for instance {}: 2", parameter));
      return map_layer(map, value);
    });
  return true;
}();

}  // namespace

std::shared_ptr<const Layer> arithmetic_layer(Arithmetic arithmetic) {
  return std::make_shared<ArithmeticLayer>(arithmetic);
}

std::shared_ptr<const Layer> map_layer(Map map, double parameter) {
  return std::make_shared<MapLayer>(map, parameter);
}

}  // namespace lockstep
