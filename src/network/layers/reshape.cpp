// The same elements under another shape (reshape, a view), and in another order of axes (permute).
#include "kernels/reshape.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>

#include "kernels/permute.h"
#include "src/network/layers/layers.h"
#include "src/network/model_limits.h"
#include "src/network/onnx.h"

namespace lockstep {

namespace {

class ReshapeLayer : public Layer {
 public:
  explicit ReshapeLayer(std::vector<int64_t> extents) : extents_(std::move(extents)) {}
  std::string type() const override { return "reshape"; }

  Shape infer(std::span<const Shape> src) const override {
    int64_t known = 1, n_open = 0;
    for (const int64_t extent : extents_) {
      if (extent < -1 || extent == 0 || (extent == -1 && ++n_open > 1))
        throw Error("", fmt::format("extents [{}] are no shape", fmt::join(extents_, ", ")),
                    "at most one may be -1, for what is left");
      if (extent > 0 && (__builtin_mul_overflow(known, extent, &known) || known > kMaxElements))
        throw Error("", fmt::format("extents [{}] have too many elements", fmt::join(extents_, ", ")),
                    "the product of the extents must stay");
    }
    const int64_t n_elements = src[0].n_elements();
    if (n_open == 0 ? known != n_elements : n_elements % known != 0)
      throw Error(
          "",
          fmt::format("shape {} does not have the elements of [{}]", src[0].str(), fmt::join(extents_, ", ")),
          "the product of the extents must stay; -1 stands for what is left");
    Shape dst{std::span<const int64_t>(extents_)};
    for (int i = 0; i < dst.rank(); ++i) {
      if (dst[i] == -1) dst[i] = n_elements / known;
    }
    return dst;
  }

  void to_onnx(OnnxVertex& vertex) const override {
    vertex.set_output(vertex.reshape(vertex.input(), vertex.output_shape()));
  }

  std::unique_ptr<Op> lower(const LowerContext& context) const override {
    const Shape sample = context.src[0].shape.without_front();
    return make_reshape(context.config, context.src[0],
                        infer(std::span(&sample, 1)).with_front(context.src[0].shape[0]));
  }

 private:
  std::vector<int64_t> extents_;
};

class PermuteLayer : public Layer {
 public:
  explicit PermuteLayer(std::vector<int64_t> axes) : axes_(std::move(axes)) {}
  std::string type() const override { return "permute"; }

  Shape infer(std::span<const Shape> src) const override {
    std::vector<int64_t> sorted = axes_, all(static_cast<size_t>(src[0].rank()));
    std::sort(sorted.begin(), sorted.end());
    std::iota(all.begin(), all.end(), 0);
    if (sorted != all)
      throw Error("",
                  fmt::format("axes [{}] are no order of those of {}", fmt::join(axes_, ", "), src[0].str()),
                  "name every axis of the sample once, from 0");
    Shape dst = src[0];
    for (int i = 0; i < dst.rank(); ++i) dst[i] = src[0][static_cast<int>(axes_[static_cast<size_t>(i)])];
    return dst;
  }

  void to_onnx(OnnxVertex& vertex) const override {
    std::vector<int64_t> axes{0};
    for (const int64_t axis : axes_) axes.push_back(1 + axis);
    vertex.set_output(vertex.transpose(vertex.input(), axes));
  }

  std::unique_ptr<Op> lower(const LowerContext& context) const override {
    std::vector<int> axes = {0};
    for (const int64_t axis : axes_) axes.push_back(1 + static_cast<int>(axis));
    return make_permute(context.config, context.src[0], axes);
  }

 private:
  std::vector<int64_t> axes_;
};

std::vector<int64_t> read_list(Config& options, const std::string& key) {
  options.positional(key);
  const std::vector<int64_t> values = options.get_ints(key, {});
  if (values.empty() || values.size() >= Shape::kMaxRank)
    throw options.error_at(key, fmt::format("needs 1 to {} whole numbers", Shape::kMaxRank - 1),
                           fmt::format("for instance {}: [{}]", key, key == "axes" ? "1, 0" : "16, -1"));
  return values;
}

const bool reshape_layer_registered =
    register_layer("reshape", [](Config& options) { return reshape_layer(read_list(options, "extents")); }) &&
    register_layer("permute", [](Config& options) { return permute_layer(read_list(options, "axes")); });

}  // namespace

std::shared_ptr<const Layer> reshape_layer(const std::vector<int64_t>& extents) {
  return std::make_shared<ReshapeLayer>(extents);
}

std::shared_ptr<const Layer> permute_layer(const std::vector<int64_t>& axes) {
  return std::make_shared<PermuteLayer>(axes);
}

}  // namespace lockstep
