// batch_norm: normalisation per channel over the micro-batch (Ioffe and Szegedy 2015).
#include "kernels/batch_norm.h"

#include <fmt/format.h>

#include "src/network/layers/layers.h"
#include "src/network/onnx.h"

namespace lockstep {

namespace {

class BatchNormLayer : public Layer {
 public:
  explicit BatchNormLayer(const BatchNormOptions& options) : o_(options) {}
  std::string type() const override { return "batch_norm"; }

  Shape infer(std::span<const Shape> src) const override {
    if (src[0].rank() < 1)
      throw Error("", "needs at least one dimension per sample", "give the data or the model a shape");
    return src[0];
  }

  std::vector<ParameterSpec> parameters(std::span<const Shape> src) const override {
    using Role = ParameterSpec::Role;
    const Shape channels{src[0][0]};
    std::vector<ParameterSpec> specs;
    if (o_.affine) {
      specs.push_back({.name = "weight", .shape = channels, .role = Role::kWeight, .initial = 1});
      specs.push_back({.name = "bias", .shape = channels, .role = Role::kBias, .initial = 0});
    }
    for (const auto& [name, initial] : {std::pair{"running_mean", 0.0}, {"running_var", 1.0}})
      specs.push_back({.name = name,
                       .shape = channels,
                       .role = Role::kStatistic,
                       .initial = initial,
                       .momentum = o_.momentum});
    return specs;
  }

  bool fuses(Activation activation) const override {
    return activation == Activation::kRelu || activation == Activation::kRelu6;
  }
  bool fuses_residual() const override { return true; }
  bool synchronizes() const override { return o_.synchronized; }

  void to_onnx(OnnxVertex& vertex) const override {
    const int64_t channels = vertex.shape()[0];
    const auto all = [&](float value) {
      return vertex.constant({channels}, std::vector<float>(static_cast<size_t>(channels), value));
    };
    const size_t first = o_.affine ? 2 : 0;  // of the statistics
    const std::string weight = o_.affine ? vertex.parameter(0) : all(1),
                      bias = o_.affine ? vertex.parameter(1) : all(0);
    vertex.set_output(
        vertex.add("BatchNormalization",
                   {vertex.input(), weight, bias, vertex.parameter(first), vertex.parameter(first + 1)},
                   {{"epsilon", static_cast<float>(o_.epsilon)}}));
  }

  std::unique_ptr<Op> lower(const LowerContext& context) const override {
    return make_batch_norm(context.config, {.src = context.src[0],
                                            .epsilon = o_.epsilon,
                                            .affine = o_.affine,
                                            .activation = context.fused,
                                            .adds_residual = context.adds_residual});
  }

 private:
  BatchNormOptions o_;
};

const bool batch_norm_layer_registered = register_layer("batch_norm", [](Config& options) {
  BatchNormOptions o;
  o.momentum = options.get_double("momentum", o.momentum);
  o.epsilon = options.get_double("epsilon", o.epsilon);
  o.affine = options.get_bool("affine", o.affine);
  if (!(o.momentum > 0 && o.momentum <= 1))
    throw options.error_at("momentum", fmt::format("must be in (0, 1], found {}", o.momentum),
                           "it is the share of the new value in the running averages; the usual one is 0.1");
  if (!(o.epsilon > 0))
    throw options.error_at("epsilon", fmt::format("must be positive, found {}", o.epsilon),
                           "the usual one is 1e-5");
  o.synchronized = options.get_bool("synchronized", false);
  return batch_norm_layer(o);
});

}  // namespace

std::shared_ptr<const Layer> batch_norm_layer(const BatchNormOptions& options) {
  return std::make_shared<BatchNormLayer>(options);
}

}  // namespace lockstep
