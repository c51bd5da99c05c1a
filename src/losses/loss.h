// Losses of a job: which op ends the network, what the target must look like, and how the
// raw sums of a step become the reported loss and accuracy.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "kernels/loss.h"
#include "src/config/config.h"

namespace lockstep {

struct LossSpec {
  enum class Kind { kSoftmaxCrossEntropy, kL2, kL1, kBinaryCrossEntropy, kHinge, kPerceptron };
  Kind kind = Kind::kSoftmaxCrossEntropy;
  std::string of;      // the layer it judges; empty: the network's output
  std::string target;  // a graph input or a field of the dataset; empty: the data's target
  double weight = 1;   // of this loss; scales loss and gradient
  bool half = true;    // L2: half the squared error (course text 000)
  bool mean = false;   // L1, L2, binary: over the elements of a sample (PyTorch); hinge: over the classes
  // Softmax cross-entropy
  std::vector<float> class_weights;  // empty: 1 each
  double label_smoothing = 0;
  std::optional<int64_t> ignore;  // target that counts nothing
  bool classes_last = false;      // prediction (…, K) instead of (K, …)
  // Hinge and perceptron
  double margin = 1;
  bool signs = false;             // the target is a number whose sign counts, not a class
  bool zero_is_positive = false;  // perceptron: the sign of 0 is 1 (course text 004)

  /// Whether targets are class ids (int64).
  bool is_classification() const;
  /// Whether the op counts what is right: kNCorrect of kNCounted.
  bool has_accuracy() const { return kind != Kind::kL1 && kind != Kind::kL2; }
  DType target_dtype() const { return is_classification() ? DType::kInt64 : DType::kFloat32; }
  /// Shape of one target sample for a prediction of the given sample shape.
  Shape target_shape(const Shape& prediction) const;
  /// Number of classes of such a prediction; one score tells two classes (class 1: greater than 0).
  /// 0 where targets are not class ids.
  int64_t n_classes(const Shape& prediction) const;
};

/// From "softmax_cross_entropy", "l2" or {l2: {half: false, mean: true}}.
LossSpec read_loss(const Config& description);

/// prediction: (N, …). Throws Error if the loss cannot follow such an output.
std::unique_ptr<Op> make_loss(const OpConfig& config, const LossSpec& loss, const TensorDesc& prediction);

}  // namespace lockstep
