// A layer of one's own in one file: Swish, x * sigmoid(beta x), with one trained beta per layer
// (Ramachandran et al. 2017). The op computes, the layer describes it to the graph, and the last
// lines make it known to job files as `swish`.
#include <cmath>

#include "src/network/layer.h"

namespace {

using namespace lockstep;

/// dst = src * sigmoid(beta src), any shape, dense float32 on the CPU. params = {beta (1)}.
class SwishOp : public Op {
 public:
  explicit SwishOp(const TensorDesc& src) {
    info_.src = {src.dense()};
    info_.dst = {src.dense()};
    info_.backward_needs_dst = false;  // backward computes from src alone
  }

  void forward(Stream&, const OpArgs& args) override {
    const float* x = args.src[0].as<float>();
    float* y = args.dst[0].as<float>();
    const float beta = *args.params[0].as<float>();
    const int64_t n = args.src[0].desc.n_elements();
    for (int64_t i = 0; i < n; ++i) y[i] = x[i] * sigmoid(beta * x[i]);
  }

  void backward(Stream&, const OpArgs& args) override {
    const float* x = args.src[0].as<float>();
    const float* diff_y = args.diff_dst[0].as<float>();
    float* diff_x = args.diff_src[0].as<float>();  // null if nobody wants it
    const float beta = *args.params[0].as<float>();
    const int64_t n = args.src[0].desc.n_elements();
    double diff_beta = 0;  // in the order of the elements: the same bits every time
    for (int64_t i = 0; i < n; ++i) {
      const float s = sigmoid(beta * x[i]), slope = s * (1 - s);
      if (diff_x) diff_x[i] = diff_y[i] * (s + beta * x[i] * slope);
      diff_beta += static_cast<double>(diff_y[i]) * x[i] * x[i] * slope;  // rows of padding have diff_y 0
    }
    *args.diff_params[0].as<float>() = static_cast<float>(diff_beta);  // write, never add
  }

 private:
  static float sigmoid(float x) { return 1 / (1 + std::exp(-x)); }
};

class SwishLayer : public Layer {
 public:
  explicit SwishLayer(double beta) : beta_(beta) {}
  std::string type() const override { return "swish"; }
  Shape infer(std::span<const Shape> src) const override { return src[0]; }
  std::vector<ParameterSpec> parameters(std::span<const Shape>) const override {
    ParameterSpec beta{"beta", {1}};
    beta.initial = beta_;  // whatever the job's `init` says
    return {beta};
  }
  std::unique_ptr<Op> lower(const LowerContext& context) const override {
    if (context.config.device.kind != Device::Kind::kCpu || context.config.compute != DType::kFloat32)
      throw Error("", "swish works in float32 on the CPU only", "set device: cpu and precision: float32");
    return std::make_unique<SwishOp>(context.src[0]);
  }

 private:
  double beta_;
};

const bool registered = register_layer("swish", [](Config& options) {
  options.positional("beta");  // {swish: 1.5} for {swish: {beta: 1.5}}
  return std::make_shared<SwishLayer>(options.get_double("beta", 1));
});

}  // namespace
