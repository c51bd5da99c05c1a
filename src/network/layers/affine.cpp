// Affine layer (fully connected): dst = src · weight^T + bias.
#include "kernels/affine.h"

#include <fmt/format.h>

#include "src/network/layers/layers.h"

namespace lockstep {

namespace {

class AffineLayer : public Layer {
 public:
  AffineLayer(int64_t out_features, bool bias) : out_features_(out_features), bias_(bias) {}
  std::string type() const override { return "affine"; }

  Shape infer(std::span<const Shape> src) const override {
    if (src[0].rank() != 1) {
      throw Error("", fmt::format("needs a vector per sample, got shape {}", src[0].str()),
                  "put 'flatten' before it");
    }
    return {out_features_};
  }

  std::vector<ParameterSpec> parameters(std::span<const Shape> src) const override {
    const int64_t in = src[0][0];
    std::vector<ParameterSpec> specs = {
        {"weight", {out_features_, in}, ParameterSpec::Role::kWeight, in, out_features_}};
    if (bias_) specs.push_back({"bias", {out_features_}, ParameterSpec::Role::kBias, in, out_features_});
    return specs;
  }

  int64_t multiply_adds(std::span<const Shape> src) const override { return src[0][0] * out_features_; }
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
  bool bias_;
};

const bool affine_layer_registered = register_layer("affine", [](Config& options) {
  options.positional("features");
  const int64_t features = options.get_int("features");
  if (features < 1)
    throw options.error_at("features", fmt::format("must be at least 1, found {}", features),
                           "for instance affine: 10");
  return affine_layer(features, options.get_bool("bias", true));
});

}  // namespace

std::shared_ptr<const Layer> affine_layer(int64_t out_features, bool bias) {
  return std::make_shared<AffineLayer>(out_features, bias);
}

}  // namespace lockstep
