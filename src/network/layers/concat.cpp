// Joining values along an axis of the sample, and cutting a part out of one.
#include "kernels/concat.h"

#include <fmt/format.h>

#include "src/network/layers/layers.h"
#include "src/network/onnx.h"

namespace lockstep {

namespace {

class ConcatLayer : public Layer {
 public:
  explicit ConcatLayer(int axis) : axis_(axis) {}
  std::string type() const override { return "concat"; }
  int max_inputs() const override { return 64; }
  bool keeps_steps() const override { return axis_ != 0; }

  Shape infer(std::span<const Shape> src) const override {
    const int axis = sample_axis(axis_, src[0]);
    Shape joined = src[0];
    for (const Shape& shape : src.subspan(1)) {
      bool fits = shape.rank() == joined.rank();
      for (int i = 0; fits && i < joined.rank(); ++i) fits = i == axis || shape[i] == joined[i];
      if (!fits)
        throw Error(
            "", fmt::format("shape {} does not continue {} along axis {}", shape.str(), src[0].str(), axis),
            "all other extents must be equal");
      joined[axis] += shape[axis];
    }
    return joined;
  }

  std::unique_ptr<Op> lower(const LowerContext& context) const override {
    const int axis = sample_axis(axis_, context.src[0].shape.without_front());
    return make_concat(context.config, {context.src, 1 + axis});
  }
  void to_onnx(OnnxVertex& vertex) const override {
    std::vector<std::string> parts;
    for (size_t i = 0; i < vertex.n_inputs(); ++i) parts.push_back(vertex.input(i));
    vertex.set_output(
        vertex.add("Concat", parts, {{"axis", int64_t{1} + sample_axis(axis_, vertex.shape())}}));
  }

 private:
  int axis_;
};

class SliceLayer : public Layer {
 public:
  SliceLayer(int axis, int64_t begin, int64_t end) : axis_(axis), begin_(begin), end_(end) {}
  std::string type() const override { return "slice"; }

  Shape infer(std::span<const Shape> src) const override {
    const int axis = sample_axis(axis_, src[0]);
    const auto [begin, end] = range(src[0][axis]);
    if (begin < 0 || end <= begin || end > src[0][axis])
      throw Error("", fmt::format("[{}, {}) is no part of axis {} of {}", begin_, end_, axis, src[0].str()),
                  "begin counts from 0, and end is the first element that is left out");
    Shape dst = src[0];
    dst[axis] = end - begin;
    return dst;
  }

  std::unique_ptr<Op> lower(const LowerContext& context) const override {
    const Shape sample = context.src[0].shape.without_front();
    const int axis = sample_axis(axis_, sample);
    const auto [begin, end] = range(sample[axis]);
    return make_slice(context.config, {context.src[0], 1 + axis, begin, end});
  }
  void to_onnx(OnnxVertex& vertex) const override {
    const int axis = sample_axis(axis_, vertex.shape());
    const auto [begin, end] = range(vertex.shape()[axis]);
    vertex.set_output(vertex.add(
        "Slice", {vertex.input(), vertex.wholes({begin}), vertex.wholes({end}), vertex.wholes({1 + axis})}));
  }

 private:
  /// Negative places count from the end.
  std::pair<int64_t, int64_t> range(int64_t extent) const {
    return {begin_ < 0 ? begin_ + extent : begin_, end_ < 0            ? end_ + extent
                                                   : end_ == kToTheEnd ? extent
                                                                       : end_};
  }
  int axis_;
  int64_t begin_, end_;
};

const bool concat_layer_registered =
    register_layer("concat",
                   [](Config& options) {
                     options.positional("axis");
                     return concat_layer(static_cast<int>(options.get_int("axis", 0)));
                   }) &&
    register_layer("slice", [](Config& options) {
      return slice_layer(static_cast<int>(options.get_int("axis", 0)), options.get_int("begin", 0),
                         options.get_int("end", kToTheEnd));
    });

}  // namespace

std::shared_ptr<const Layer> concat_layer(int axis) { return std::make_shared<ConcatLayer>(axis); }

std::shared_ptr<const Layer> slice_layer(int axis, int64_t begin, int64_t end) {
  return std::make_shared<SliceLayer>(axis, begin, end);
}

}  // namespace lockstep
