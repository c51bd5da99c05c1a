// Integers become vectors: rows of a learned table, or unit vectors.
#include "kernels/embedding.h"

#include <fmt/format.h>

#include "kernels/one_hot.h"
#include "src/network/layers/layers.h"
#include "src/network/onnx.h"

namespace lockstep {

namespace {

/// A sample of ids with one more axis.
Shape with_last(const Shape& ids, int64_t extent) {
  std::vector<int64_t> extents(ids.begin(), ids.end());
  extents.push_back(extent);
  return Shape(std::span<const int64_t>(extents));
}

class EmbeddingLayer : public Layer {
 public:
  explicit EmbeddingLayer(const EmbeddingOptions& options) : options_(options) {}
  std::string type() const override { return "embedding"; }
  int64_t reads_ids(int) const override { return options_.vocabulary; }
  bool keeps_steps() const override { return true; }
  Shape infer(std::span<const Shape> src) const override { return with_last(src[0], options_.width); }
  std::vector<ParameterSpec> parameters(std::span<const Shape>) const override {
    // A row is one unit's weights; so many units are not summed over.
    ParameterSpec spec{"weight", {options_.vocabulary, options_.width}};
    spec.fan_in = spec.fan_out = options_.width;
    spec.deviation = options_.deviation;
    return {spec};
  }
  std::unique_ptr<Op> lower(const LowerContext& context) const override {
    EmbeddingDesc desc;
    desc.ids = context.src[0];
    desc.vocabulary = options_.vocabulary;
    desc.width = options_.width;
    desc.padding_id = options_.padding_id;
    return make_embedding(context.config, desc);
  }
  void to_onnx(OnnxVertex& vertex) const override {
    vertex.set_output(vertex.add("Gather", {vertex.parameter(0), vertex.input()}));
  }

 private:
  EmbeddingOptions options_;
};

class OneHotLayer : public Layer {
 public:
  explicit OneHotLayer(int64_t classes) : classes_(classes) {}
  std::string type() const override { return "one_hot"; }
  int64_t reads_ids(int) const override { return classes_; }
  bool keeps_steps() const override { return true; }
  Shape infer(std::span<const Shape> src) const override { return with_last(src[0], classes_); }
  std::unique_ptr<Op> lower(const LowerContext& context) const override {
    OneHotDesc desc;
    desc.ids = context.src[0];
    desc.classes = classes_;
    return make_one_hot(context.config, desc);
  }
  void to_onnx(OnnxVertex& vertex) const override {
    const std::string values = vertex.constant({2}, {0, 1});
    // onnxruntime has it for ids of 64 bits.
    const std::string ids = vertex.cast(vertex.input(), OnnxType::kInt64);
    vertex.set_output(vertex.add("OneHot", {ids, vertex.whole(classes_), values}));
  }

 private:
  int64_t classes_;
};

const bool embedding_layer_registered = register_layer("embedding", [](Config& options) {
  options.positional("width");
  EmbeddingOptions embedding;
  embedding.width = read_size(options, "width");
  embedding.vocabulary = read_size(options, "vocabulary");
  if (options.has("padding")) embedding.padding_id = options.get_int("padding");
  return embedding_layer(embedding);
});

const bool one_hot_layer_registered = register_layer("one_hot", [](Config& options) {
  options.positional("classes");
  return one_hot_layer(read_size(options, "classes"));
});

}  // namespace

std::shared_ptr<const Layer> embedding_layer(const EmbeddingOptions& options) {
  return std::make_shared<EmbeddingLayer>(options);
}
std::shared_ptr<const Layer> one_hot_layer(int64_t classes) { return std::make_shared<OneHotLayer>(classes); }

}  // namespace lockstep
