// layer_norm: normalisation of each sample over its last dimensions (Ba, Kiros and Hinton 2016).
#include "kernels/layer_norm.h"

#include <fmt/format.h>

#include "src/network/layers/layers.h"
#include "src/network/onnx.h"

namespace lockstep {

namespace {

class LayerNormLayer : public Layer {
 public:
  LayerNormLayer(int axes, double epsilon, bool affine) : axes_(axes), epsilon_(epsilon), affine_(affine) {}
  std::string type() const override { return "layer_norm"; }
  bool keeps_steps() const override { return true; }

  Shape infer(std::span<const Shape> src) const override {
    if (axes_ > src[0].rank())
      throw Error("", fmt::format("cannot normalise the last {} dimensions of {}", axes_, src[0].str()),
                  fmt::format("use axes: {} or less", src[0].rank()));
    return src[0];
  }

  std::vector<ParameterSpec> parameters(std::span<const Shape> src) const override {
    if (!affine_) return {};
    const Shape normalized(std::span<const int64_t>(src[0].end() - axes_, src[0].end()));
    using Role = ParameterSpec::Role;
    return {{.name = "weight", .shape = normalized, .role = Role::kWeight, .initial = 1},
            {.name = "bias", .shape = normalized, .role = Role::kBias, .initial = 0}};
  }

  void to_onnx(OnnxVertex& vertex) const override {
    std::vector<std::string> reads{vertex.input()};
    if (affine_) {
      reads.push_back(vertex.parameter(0));
      reads.push_back(vertex.parameter(1));
    } else {
      const Shape& s = vertex.shape();
      const Shape normalized(std::span<const int64_t>(s.end() - axes_, s.end()));
      reads.push_back(vertex.constant(
          normalized, std::vector<float>(static_cast<size_t>(normalized.n_elements()), 1.0F)));
    }
    vertex.set_output(vertex.add("LayerNormalization", reads,
                                 {{"axis", int64_t{-axes_}}, {"epsilon", static_cast<float>(epsilon_)}}));
  }

  std::unique_ptr<Op> lower(const LowerContext& context) const override {
    return make_layer_norm(context.config,
                           {.src = context.src[0], .axes = axes_, .epsilon = epsilon_, .affine = affine_});
  }

 private:
  int axes_;
  double epsilon_;
  bool affine_;
};

const bool layer_norm_layer_registered = register_layer("layer_norm", [](Config& options) {
  const int64_t axes = options.get_int("axes", 1);
  const double epsilon = options.get_double("epsilon", 1e-5);
  const bool affine = options.get_bool("affine", true);
  if (axes < 1 || axes >= Shape::kMaxRank)
    throw options.error_at("axes", fmt::format("must be from 1 to the sample's rank, found {}", axes),
                           "it counts dimensions from the last: leave it out for 1");
  if (!(epsilon > 0))
    throw options.error_at("epsilon", fmt::format("must be positive, found {}", epsilon),
                           "the usual one is 1e-5");
  return layer_norm_layer(static_cast<int>(axes), epsilon, affine);
});

}  // namespace

std::shared_ptr<const Layer> layer_norm_layer(int axes, double epsilon, bool affine) {
  return std::make_shared<LayerNormLayer>(axes, epsilon, affine);
}

}  // namespace lockstep
