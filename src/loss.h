// Losses of a job: which op ends the network, what the target must look like, and how the
// raw sums of a step become the reported loss and accuracy.
#pragma once

#include <memory>
#include <string>

#include "kernels/loss.h"
#include "src/config.h"

namespace lockstep {

struct LossSpec {
  enum class Kind { kSoftmaxCrossEntropy, kL2 };
  Kind kind = Kind::kSoftmaxCrossEntropy;
  bool half = true;    // L2: half the squared error (course text 000)
  bool mean = false;   // L2: divided by the elements of a sample (PyTorch's MSELoss)
  std::string of;      // the layer it judges; empty: the network's output
  std::string target;  // a graph input or a field of the dataset; empty: the data's target

  bool is_classification() const { return kind == Kind::kSoftmaxCrossEntropy; }
  DType target_dtype() const { return is_classification() ? DType::kInt64 : DType::kFloat32; }
  /// Shape of one target sample for a prediction of the given sample shape.
  Shape target_shape(const Shape& prediction) const { return is_classification() ? Shape{} : prediction; }
};

/// From "softmax_cross_entropy", "l2" or {l2: {half: false, mean: true}}.
LossSpec read_loss(const Config& description);

/// prediction: (N, …). Throws Error if the loss cannot follow such an output.
std::unique_ptr<Op> make_loss(const OpConfig& config, const LossSpec& loss, const TensorDesc& prediction);

}  // namespace lockstep
