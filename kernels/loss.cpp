// Checks and the switch to a backend; see loss.h.
#include "kernels/loss.h"

#include "kernels/backend.h"
#include "kernels/error.h"

namespace lockstep {

std::unique_ptr<Op> make_softmax_cross_entropy(const OpConfig& config, const TensorDesc& prediction) {
  if (prediction.shape.rank() != 2 || prediction.shape[1] < 1)
    throw Error(
        "softmax_cross_entropy",
        "the prediction has shape " + prediction.shape.str() + ", expected (N, K) with K >= 1 classes",
        "end the network with a layer of one value per class, such as affine or flatten");
  if (prediction.dtype != DType::kFloat32)
    throw Error("softmax_cross_entropy",
                "the prediction is " + std::string(name_of(prediction.dtype)) + ", losses take float32");
  if (config.device.kind == Device::Kind::kCuda) return cuda::make_softmax_cross_entropy(config, prediction);
  return cpu::make_softmax_cross_entropy(config, prediction);
}

std::unique_ptr<Op> make_l2_loss(const OpConfig& config, const L2LossDesc& desc) {
  if (desc.prediction.shape.rank() < 1)
    throw Error("l2_loss", "the prediction has no dimensions, expected (N, ...)");
  if (desc.prediction.dtype != DType::kFloat32)
    throw Error("l2_loss",
                "the prediction is " + std::string(name_of(desc.prediction.dtype)) + ", losses take float32");
  if (config.device.kind == Device::Kind::kCuda) return cuda::make_l2_loss(config, desc);
  return cpu::make_l2_loss(config, desc);
}

}  // namespace lockstep
