// Arithmetic layers: between two values (broadcast_add, subtract, multiply, divide), and on each
// element of one (scale, shift, power, absolute, square_root, log, exp).
#include "kernels/arithmetic.h"

#include <fmt/format.h>

#include <cmath>

#include "src/network/layers/layers.h"

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

 private:
  Map map_;
  double parameter_;
};

/// The option that a plain value stands for: {scale: 2}.
const char* parameter_of(Map map) {
  switch (map) {
    case Map::kScale: return "factor";
    case Map::kShift: return "by";
    case Map::kPower: return "exponent";
    default: return nullptr;
  }
}

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
