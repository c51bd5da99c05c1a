// A layer of one's own: 1.7159 tanh(2/3 x), the squashing function of LeNet-5 (LeCun et al. 1998, appendix
// A).
#include <cmath>

#include "src/network/layer.h"

namespace {

using namespace lockstep;

constexpr float kAmplitude = 1.7159f, kSlope = 2.0f / 3;

/// Any shape, dense float32 on the CPU.
class ScaledTanhOp : public Op {
 public:
  explicit ScaledTanhOp(const TensorDesc& src) {
    info_.src = {src.dense()};
    info_.dst = {src.dense()};
    info_.backward_needs_src = false;  // the slope follows from dst
  }
  void forward(Stream&, const OpArgs& args) override {
    const float* x = args.src[0].as<float>();
    float* y = args.dst[0].as<float>();
    for (int64_t i = 0; i < args.src[0].desc.n_elements(); ++i) y[i] = kAmplitude * std::tanh(kSlope * x[i]);
  }
  void backward(Stream&, const OpArgs& args) override {
    const float *y = args.dst[0].as<float>(), *diff_y = args.diff_dst[0].as<float>();
    float* diff_x = args.diff_src[0].as<float>();
    if (diff_x == nullptr) return;  // nobody wants it
    for (int64_t i = 0; i < args.dst[0].desc.n_elements(); ++i)
      diff_x[i] = diff_y[i] * kSlope * (kAmplitude - y[i] * y[i] / kAmplitude);
  }
};

class ScaledTanhLayer : public Layer {
 public:
  std::string type() const override { return "scaled_tanh"; }
  Shape infer(std::span<const Shape> src) const override { return src[0]; }
  std::unique_ptr<Op> lower(const LowerContext& context) const override {
    if (context.config.device.kind != Device::Kind::kCpu || context.config.compute != DType::kFloat32)
      throw Error("", "scaled_tanh works in float32 on the CPU only",
                  "set device: cpu and precision: float32");
    return std::make_unique<ScaledTanhOp>(context.src[0]);
  }
};

const bool registered =
    register_layer("scaled_tanh", [](Config&) { return std::make_shared<ScaledTanhLayer>(); });

}  // namespace
