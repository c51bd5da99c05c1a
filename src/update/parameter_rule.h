// Updates that look at a whole parameter, where others take element by element: what a rule may have beside
// them.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "kernels/device.h"
#include "kernels/shape.h"

namespace lockstep {

/// Pointers to the first element of one parameter, dense float32 on the stream's device.
struct ParameterArgs {
  const float* gradients;  // summed over the global batch
  float* weights;
  std::span<float* const> slots;  // the rule's states
  double lr;
  double weight_decay;  // 0 where it does not decay
  double grad_scale;    // 1 / samples of the global batch
  int64_t step;         // 0 for the first update
};

/// The update of parameters of one shape, one after another, with the memory that it needs.
class ParameterUpdate {
 public:
  virtual ~ParameterUpdate() = default;
  virtual void update(Stream& stream, const ParameterArgs& args) = 0;
};

class ParameterRule {
 public:
  virtual ~ParameterRule() = default;
  /// Whether it is what updates the parameter of that name and shape.
  virtual bool takes(const std::string& name, const Shape& shape) const = 0;
  virtual std::shared_ptr<ParameterUpdate> make(Device device, const Shape& shape) const = 0;
};

}  // namespace lockstep
