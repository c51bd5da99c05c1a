// Checks and the switch to a backend; see loss.h.
#include "kernels/loss.h"

#include "kernels/backend.h"
#include "kernels/error.h"

namespace lockstep {

namespace {

bool is_cuda(const OpConfig& config) { return config.device.kind == Device::Kind::kCuda; }

void check_prediction(const char* loss, const TensorDesc& prediction, int min_rank) {
  if (prediction.shape.rank() < min_rank)
    throw Error(loss,
                "the prediction has shape " + prediction.shape.str() + ", expected " +
                    (min_rank == 1 ? "(N, ...)" : "(N, K, ...)"),
                "end the network with a layer of one value per class, such as affine or flatten");
  if (prediction.dtype != DType::kFloat32)
    throw Error(loss, "the prediction is " + std::string(name_of(prediction.dtype)) + ", losses take float32",
                "reorder it to float32 before the loss (make_reorder)");
}

}  // namespace

std::unique_ptr<Op> make_softmax_cross_entropy(const OpConfig& config, const SoftmaxCrossEntropyDesc& desc) {
  const char* name = "softmax_cross_entropy";
  check_prediction(name, desc.prediction, 2);
  const Shape& shape = desc.prediction.shape;
  const int64_t k = shape[desc.classes_last ? shape.rank() - 1 : 1];
  if (k < 1)
    throw Error(name, "the prediction has shape " + shape.str() + ", without a class",
                "end the network with one score per class");
  if (!desc.class_weights.empty() && static_cast<int64_t>(desc.class_weights.size()) != k)
    throw Error(
        name,
        std::to_string(desc.class_weights.size()) + " class_weights for " + std::to_string(k) + " classes",
        "give one weight per class");
  for (const float weight : desc.class_weights)
    if (!(weight >= 0)) throw Error(name, "a class weight is negative", "weights are 0 or more");
  if (!(desc.label_smoothing >= 0 && desc.label_smoothing < 1))
    throw Error(name, "label_smoothing must lie in [0, 1)", "the usual one is 0.1");
  return is_cuda(config) ? cuda::make_softmax_cross_entropy(config, desc)
                         : cpu::make_softmax_cross_entropy(config, desc);
}

ClassView class_view(const SoftmaxCrossEntropyDesc& desc) {
  const Shape& shape = desc.prediction.shape;
  const int class_axis = desc.classes_last ? shape.rank() - 1 : 1;
  std::vector<int64_t> extents;
  for (int i = 0; i < shape.rank(); ++i)
    if (i != class_axis) extents.push_back(shape[i]);
  const Shape target{std::span<const int64_t>(extents)};
  return {shape[0], shape[class_axis], target.without_front().n_elements(), target};
}

std::unique_ptr<Op> make_l2_loss(const OpConfig& config, const L2LossDesc& desc) {
  check_prediction("l2", desc.prediction, 1);
  return is_cuda(config) ? cuda::make_l2_loss(config, desc) : cpu::make_l2_loss(config, desc);
}

std::unique_ptr<Op> make_l1_loss(const OpConfig& config, const L1LossDesc& desc) {
  check_prediction("l1", desc.prediction, 1);
  return is_cuda(config) ? cuda::make_l1_loss(config, desc) : cpu::make_l1_loss(config, desc);
}

std::unique_ptr<Op> make_binary_cross_entropy(const OpConfig& config, const BinaryCrossEntropyDesc& desc) {
  check_prediction("binary_cross_entropy", desc.prediction, 1);
  return is_cuda(config) ? cuda::make_binary_cross_entropy(config, desc)
                         : cpu::make_binary_cross_entropy(config, desc);
}

std::unique_ptr<Op> make_hinge_loss(const OpConfig& config, const HingeLossDesc& desc) {
  check_prediction("hinge", desc.prediction, 1);
  const Shape& shape = desc.prediction.shape;
  const bool one_score = shape.without_front().n_elements() == 1;
  if (shape.rank() > 2 || (shape.rank() == 2 && shape[1] < 1))
    throw Error("hinge", "the prediction has shape " + shape.str() + ", expected (N, K)",
                "end the network with 'flatten' and 'affine: CLASSES'");
  if (!(desc.margin > 0)) throw Error("hinge", "the margin must be positive", "the usual one is 1");
  if (desc.signs && !one_score)
    throw Error("hinge", "targets that are signs need one score, the prediction has shape " + shape.str(),
                "use class ids as targets");
  return is_cuda(config) ? cuda::make_hinge_loss(config, desc) : cpu::make_hinge_loss(config, desc);
}

std::unique_ptr<Op> make_perceptron_loss(const OpConfig& config, const PerceptronLossDesc& desc) {
  check_prediction("perceptron", desc.prediction, 1);
  if (desc.prediction.shape.without_front().n_elements() != 1)
    throw Error("perceptron",
                "the prediction has shape " + desc.prediction.shape.str() + ", expected one score (N, 1)",
                "end the network with 'affine: 1'");
  return is_cuda(config) ? cuda::make_perceptron_loss(config, desc) : cpu::make_perceptron_loss(config, desc);
}

}  // namespace lockstep
