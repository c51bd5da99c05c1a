// Updates that look at a whole matrix, where others take element by element: what a rule may have beside
// them.
#pragma once

#include <memory>
#include <string>

#include "kernels/device.h"
#include "kernels/shape.h"

namespace lockstep {

/// Pointers to the first element of one matrix, dense float32 on the stream's device.
struct MatrixArgs {
  const float* gradients;  // summed over the global batch
  float* weights;
  float* state;  // the first of the rule's slots
  double lr, weight_decay;
  double grad_scale;  // 1 / samples of the global batch
};

/// The update of matrices of one shape, one after another, with the memory that it needs.
class MatrixUpdate {
 public:
  virtual ~MatrixUpdate() = default;
  virtual void update(Stream& stream, const MatrixArgs& args) = 0;
};

class MatrixRule {
 public:
  virtual ~MatrixRule() = default;
  /// Whether it is what updates the parameter of that name and shape.
  virtual bool takes(const std::string& name, const Shape& shape) const = 0;
  virtual std::shared_ptr<MatrixUpdate> make(Device device, const Shape& shape) const = 0;
};

}  // namespace lockstep
