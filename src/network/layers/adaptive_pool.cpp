// Average pooling whose windows follow from the extents of the result: adaptive_average_pool, and
// global_average_pool over the whole image or sequence.
#include <fmt/format.h>

#include "kernels/pool2d.h"
#include "src/network/layers/layers.h"

namespace lockstep {

namespace {

class AdaptivePoolLayer : public Layer {
 public:
  explicit AdaptivePoolLayer(std::array<int64_t, 2> extents) : extents_(extents) {}
  std::string type() const override {
    return extents_ == std::array<int64_t, 2>{1, 1} ? "global_average_pool" : "adaptive_average_pool";
  }

  Shape infer(std::span<const Shape> src) const override {
    const Shape& s = src[0];
    if (s.rank() == 3) return {s[0], extents_[0], extents_[1]};
    if (s.rank() == 2) return {s[0], extents_[1]};
    throw Error(
        "", fmt::format("needs an image (C, H, W) or a sequence (C, T) per sample, got shape {}", s.str()),
        "pool before the sample is flattened");
  }

  std::unique_ptr<Op> lower(const LowerContext& context) const override {
    Pool2dDesc desc;
    desc.src = context.src[0];
    desc.pooling = Pooling::kAverage;
    desc.adaptive = extents_;
    return make_pool2d(context.config, desc);
  }

 private:
  std::array<int64_t, 2> extents_;
};

const bool adaptive_pool_layer_registered =
    register_layer("global_average_pool", [](Config&) { return adaptive_average_pool_layer(); }) &&
    register_layer("adaptive_average_pool", [](Config& options) {
      options.positional("extents");
      return adaptive_average_pool_layer(read_pair(options, "extents", {1, 1}));
    });

}  // namespace

std::shared_ptr<const Layer> adaptive_average_pool_layer(std::array<int64_t, 2> extents) {
  return std::make_shared<AdaptivePoolLayer>(extents);
}

}  // namespace lockstep
