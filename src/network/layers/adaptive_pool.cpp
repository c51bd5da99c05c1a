// Average pooling whose windows follow from the extents of the result: adaptive_average_pool, and
// global_average_pool over the whole image or sequence.
#include <fmt/format.h>

#include "kernels/pool2d.h"
#include "src/network/layers/layers.h"
#include "src/network/onnx.h"

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

  void to_onnx(OnnxVertex& vertex) const override {
    const Shape& s = vertex.shape();
    if (extents_ == std::array<int64_t, 2>{1, 1} || (s.rank() == 2 && extents_[1] == 1))
      return vertex.set_output(vertex.add("GlobalAveragePool", {vertex.input()}));
    // The mean over windows of one axis is a product with a matrix: along the width, then along the height.
    std::string x =
        vertex.add("MatMul", {vertex.input(), windows(vertex, s[s.rank() - 1], extents_[1], true)});
    if (s.rank() == 3) x = vertex.add("MatMul", {windows(vertex, s[1], extents_[0], false), x});
    vertex.set_output(x);
  }

  std::unique_ptr<Op> lower(const LowerContext& context) const override {
    Pool2dDesc desc;
    desc.src = context.src[0];
    desc.pooling = Pooling::kAverage;
    desc.adaptive = extents_;
    return make_pool2d(context.config, desc);
  }

 private:
  /// (extent, n) or turned round (n, extent): window i goes from floor(i extent / n) to ceil((i + 1) extent /
  /// n).
  static std::string windows(OnnxVertex& vertex, int64_t extent, int64_t n, bool by_columns) {
    std::vector<float> weights(static_cast<size_t>(extent * n));
    for (int64_t i = 0; i < n; ++i) {
      const int64_t begin = i * extent / n, end = ((i + 1) * extent + n - 1) / n;
      for (int64_t j = begin; j < end; ++j)
        weights[static_cast<size_t>(by_columns ? j * n + i : i * extent + j)] =
            1.0F / static_cast<float>(end - begin);
    }
    return vertex.constant(by_columns ? Shape{extent, n} : Shape{n, extent}, std::move(weights));
  }

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
