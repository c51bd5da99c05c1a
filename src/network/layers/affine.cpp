// Affine layer (fully connected): dst = src · weight^T + bias.
#include "kernels/affine.h"

#include <fmt/format.h>

#include "src/network/layers/layers.h"

namespace lockstep {

namespace {

class AffineLayer : public Layer {
 public:
  AffineLayer(int64_t out_features, bool bias, bool each_step)
      : out_features_(out_features), bias_(bias), each_step_(each_step) {}
  std::string type() const override { return "affine"; }

  Shape infer(std::span<const Shape> src) const override {
    if (each_step_ ? src[0].rank() < 1 : src[0].rank() != 1) {
      throw Error(
          "", fmt::format("needs a vector per sample, got shape {}", src[0].str()),
          "put 'flatten' before it, or say each_step: true to map the last axis of each step of a sequence");
    }
    Shape dst = src[0];
    dst[dst.rank() - 1] = out_features_;
    return dst;
  }

  std::vector<ParameterSpec> parameters(std::span<const Shape> src) const override {
    const int64_t in = src[0][src[0].rank() - 1];
    std::vector<ParameterSpec> specs = {
        {"weight", {out_features_, in}, ParameterSpec::Role::kWeight, in, out_features_}};
    if (bias_) specs.push_back({"bias", {out_features_}, ParameterSpec::Role::kBias, in, out_features_});
    return specs;
  }

  int64_t multiply_adds(std::span<const Shape> src) const override {
    return src[0].n_elements() * out_features_;
  }
  bool keeps_steps() const override { return each_step_; }
  std::shared_ptr<const Layer> over_steps() const override {
    return std::make_shared<AffineLayer>(out_features_, bias_, true);
  }
  bool fuses(Activation) const override { return true; }

  std::unique_ptr<Op> lower(const LowerContext& context) const override {
    AffineDesc desc;
    desc.src = context.src[0];
    desc.out_features = out_features_;
    desc.has_bias = bias_;
    desc.activation = context.fused;
    desc.wants_diff_src = context.wants_diff_src;
    return make_affine(context.config, desc);
  }

 private:
  int64_t out_features_;
  bool bias_, each_step_;
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

std::shared_ptr<const Layer> affine_layer(int64_t out_features, bool bias, bool each_step) {
  return std::make_shared<AffineLayer>(out_features, bias, each_step);
}

}  // namespace lockstep
