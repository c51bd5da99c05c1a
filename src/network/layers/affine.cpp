// Affine layer (fully connected): dst = src · weight^T + bias.
#include "kernels/affine.h"

#include <fmt/format.h>

#include "src/network/layers/layers.h"
#include "src/network/onnx.h"

namespace lockstep {

namespace {

class AffineLayer : public Layer {
 public:
  explicit AffineLayer(const AffineOptions& options) : o_(options) {}
  std::string type() const override { return "affine"; }

  Shape infer(std::span<const Shape> src) const override {
    if (o_.each_step ? src[0].rank() < 1 : src[0].rank() != 1) {
      throw Error(
          "", fmt::format("needs a vector per sample, got shape {}", src[0].str()),
          "put 'flatten' before it, or say each_step: true to map the last axis of each step of a sequence");
    }
    Shape dst = src[0];
    dst[dst.rank() - 1] = o_.features;
    return dst;
  }

  std::vector<ParameterSpec> parameters(std::span<const Shape> src) const override {
    const int64_t in = src[0][src[0].rank() - 1];
    std::vector<ParameterSpec> specs = {
        {"weight", {o_.features, in}, ParameterSpec::Role::kWeight, in, o_.features}};
    specs[0].deviation = o_.deviation;
    specs[0].is_transposed_outside = o_.is_transposed_outside;
    if (o_.bias) specs.push_back({"bias", {o_.features}, ParameterSpec::Role::kBias, in, o_.features});
    if (o_.bias && o_.deviation) specs[1].initial = 0;
    return specs;
  }

  int64_t multiply_adds(std::span<const Shape> src) const override {
    return src[0].n_elements() * o_.features;
  }
  bool keeps_steps() const override { return o_.each_step; }
  std::shared_ptr<const Layer> over_steps() const override {
    AffineOptions options = o_;
    options.each_step = true;
    return std::make_shared<AffineLayer>(options);
  }
  bool fuses(Activation) const override { return true; }

  void to_onnx(OnnxVertex& vertex) const override {
    const std::string weight = vertex.parameter(0);
    if (vertex.shape().rank() == 1) {
      std::vector<std::string> reads{vertex.input(), weight};
      if (o_.bias) reads.push_back(vertex.parameter(1));
      return vertex.set_output(vertex.add("Gemm", reads, {{"transB", int64_t{1}}}));
    }
    std::string y = vertex.add("MatMul", {vertex.input(), vertex.transpose(weight, {1, 0})});
    if (o_.bias) y = vertex.add("Add", {y, vertex.parameter(1)});
    vertex.set_output(y);
  }

  std::unique_ptr<Op> lower(const LowerContext& context) const override {
    AffineDesc desc;
    desc.src = context.src[0];
    desc.out_features = o_.features;
    desc.has_bias = o_.bias;
    desc.activation = context.fused;
    desc.wants_diff_src = context.wants_diff_src;
    return make_affine(context.config, desc);
  }

 private:
  AffineOptions o_;
};

const bool affine_layer_registered = register_layer("affine", [](Config& options) {
  options.positional("features");
  const int64_t features = options.get_int("features");
  if (features < 1)
    throw options.error_at("features", fmt::format("must be at least 1, found {}", features),
                           "for instance affine: 10");
  const bool each_step = options.get_bool("each_step", false);
  return affine_layer(features, options.get_bool("bias", true), each_step);
});

}  // namespace

std::shared_ptr<const Layer> affine_layer(const AffineOptions& options) {
  return std::make_shared<AffineLayer>(options);
}
std::shared_ptr<const Layer> affine_layer(int64_t out_features, bool bias, bool each_step) {
  return affine_layer({.features = out_features, .bias = bias, .each_step = each_step});
}

}  // namespace lockstep
