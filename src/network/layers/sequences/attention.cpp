// Attention of several heads, and what it needs to know the order of its steps (Vaswani et al. 2017).
#include "kernels/attention.h"

#include <fmt/format.h>

#include <array>
#include <cmath>

#include "kernels/positions.h"
#include "kernels/random.h"
#include "src/network/layers/layers.h"
#include "src/network/onnx.h"

namespace lockstep {

namespace {

class AttentionLayer : public Layer {
 public:
  explicit AttentionLayer(const AttentionOptions& options) : o_(options) {}
  std::string type() const override { return "attention"; }
  int min_inputs() const override { return o_.packed ? 1 : 3; }
  int max_inputs() const override { return o_.packed ? 1 : 3; }
  bool keeps_steps() const override { return true; }
  bool looks_back() const override { return true; }
  Lengths lengths() const override { return o_.packed ? Lengths{0, 1} : Lengths{1, 3}; }
  std::vector<std::string> further_outputs() const override { return {"weights"}; }

  Shape infer(std::span<const Shape> src) const override {
    const Shape& query = src[0];
    if (query.rank() != 2 || (o_.packed && query[1] % 3 != 0))
      throw Error("",
                  fmt::format("needs {}, got shape {}",
                              o_.packed ? "a sequence (T, 3 D) of queries, keys and values side by side"
                                        : "sequences (T, D) of queries, keys and values",
                              query.str()),
                  o_.packed ? "put {affine: {features: 3 D, each_step: true}} before it"
                            : "put {affine: {features: D, each_step: true}} before each");
    const int64_t width = width_of(query);
    if (!o_.packed) {
      const Shape &keys = src[1], &values = src[2];
      if (keys.rank() != 2 || keys[1] != width || values != keys)
        throw Error("",
                    fmt::format("queries {}, keys {} and values {} do not fit together", query.str(),
                                keys.str(), values.str()),
                    "they are (T, D), (S, D) and (S, D)");
    }
    if (width % o_.heads != 0)
      throw Error("", fmt::format("{} heads do not divide the width {}", o_.heads, width),
                  "take a number of heads that divides it, such as 8 for 256");
    return {query[0], width};
  }
  Shape infer_further(int, std::span<const Shape> src) const override {
    return {o_.heads, src[0][0], o_.packed ? src[0][0] : src[1][0]};
  }
  int64_t multiply_adds(std::span<const Shape> src) const override {
    return 2 * src[0][0] * (o_.packed ? src[0][0] : src[1][0]) * width_of(src[0]);
  }

  void to_onnx(OnnxVertex& vertex) const override;

  std::unique_ptr<Op> lower(const LowerContext& context) const override {
    AttentionDesc desc;
    desc.query = context.src[0];
    if (!o_.packed) desc.keys = context.src[1], desc.values = context.src[2];
    desc.packed = o_.packed;
    desc.heads = o_.heads;
    desc.causal = o_.causal;
    desc.self = o_.self || o_.packed;
    desc.has_lengths = context.src.size() > static_cast<size_t>(o_.packed ? 1 : 3);
    desc.dropout = context.as_evaluated ? 0 : o_.dropout;
    desc.key = hash_name(context.name);
    desc.wants_weights = context.wants_output(0);
    if (desc.wants_weights && context.config.training)
      throw Error("", "its weights are read in training, which keeps none",
                  "look at them in a report or by `predict`, where they are written");
    if (context.cache_steps > 0) {
      if (!desc.self || !o_.causal)
        throw Error("", "it looks at steps that are not there yet", "let it be causal to go on step by step");
      desc.cache_steps = context.cache_steps;
    }
    return make_attention(context.config, desc);
  }

 private:
  int64_t width_of(const Shape& query) const { return o_.packed ? query[1] / 3 : query[1]; }

  AttentionOptions o_;
};

void AttentionLayer::to_onnx(OnnxVertex& vertex) const {
  const int64_t width = width_of(vertex.shape()), deep = width / o_.heads, n_queries = vertex.shape()[0];
  const int64_t n_keys = o_.packed ? n_queries : vertex.shape(1)[0];
  const size_t at_lengths = o_.packed ? 1 : 3;
  const bool has_lengths = vertex.n_inputs() > at_lengths;
  std::array<std::string, 3> of;  // queries, keys, values
  for (int64_t i = 0; i < 3; ++i)
    of[static_cast<size_t>(i)] =
        o_.packed ? vertex.add("Slice", {vertex.input(), vertex.wholes({i * width}),
                                         vertex.wholes({(i + 1) * width}), vertex.wholes({2})})
                  : vertex.input(static_cast<size_t>(i));
  const auto by_heads = [&](const std::string& value, int64_t n, std::vector<int64_t> axes) {
    return vertex.transpose(vertex.reshape(value, {n, o_.heads, deep}), std::move(axes));
  };
  const std::string queries = by_heads(of[0], n_queries, {0, 2, 1, 3}),
                    keys = by_heads(of[1], n_keys, {0, 2, 3, 1});
  const std::string scale = vertex.constant(static_cast<float>(1 / std::sqrt(static_cast<double>(deep))));
  std::string scores = vertex.add("Mul", {vertex.add("MatMul", {queries, keys}), scale});
  std::string seen, valid;  // of the scores (N, heads, T, S); of the keys (N, S)
  if (o_.causal) {
    std::vector<uint8_t> back(static_cast<size_t>(n_queries * n_keys));
    for (int64_t t = 0; t < n_queries; ++t)
      for (int64_t s = 0; s <= t && s < n_keys; ++s) back[static_cast<size_t>(t * n_keys + s)] = 1;
    seen = vertex.truths({n_queries, n_keys}, std::move(back));
  }
  if (has_lengths) {
    valid = vertex.below_lengths(at_lengths, n_keys);
    const std::string of_keys = vertex.reshape(valid, {1, 1, n_keys});
    seen = seen.empty() ? of_keys : vertex.add("And", {seen, of_keys});
  }
  if (!seen.empty()) scores = vertex.add("Where", {seen, scores, vertex.constant(-1e30F)});
  std::string weights = vertex.add("Softmax", {scores}, {{"axis", int64_t{-1}}});
  if (has_lengths)
    weights = vertex.add("Where", {seen, weights, vertex.constant(0)});  // rows without any key
  const std::string mixed = vertex.add("MatMul", {weights, by_heads(of[2], n_keys, {0, 2, 1, 3})});
  std::string y = vertex.reshape(vertex.transpose(mixed, {0, 2, 1, 3}), {n_queries, width});
  if (has_lengths && (o_.self || o_.packed))
    y = vertex.add("Where", {vertex.reshape(valid, {n_queries, 1}), y, vertex.constant(0)});
  if (vertex.wants_output(0)) vertex.set_output(weights, 1);
  vertex.set_output(y);
}

class PositionsLayer : public Layer {
 public:
  explicit PositionsLayer(const PositionsOptions& options) : o_(options) {}
  std::string type() const override { return "positions"; }
  bool keeps_steps() const override { return true; }

  Shape infer(std::span<const Shape> src) const override {
    if (src[0].rank() != 2)
      throw Error("", fmt::format("needs a sequence (T, features) per sample, got shape {}", src[0].str()),
                  "put it behind 'embedding'");
    if (is_learned() && src[0][0] > o_.max_steps)
      throw Error(
          "", fmt::format("sequences of {} steps are longer than its {} positions", src[0][0], o_.max_steps),
          "set a larger number of positions, or a smaller data.train.window or max_length");
    return src[0];
  }
  std::vector<ParameterSpec> parameters(std::span<const Shape> src) const override {
    if (!is_learned()) return {};
    ParameterSpec spec{"weight", {o_.max_steps, src[0][1]}};
    spec.fan_in = spec.fan_out = src[0][1];
    spec.deviation = o_.deviation;
    return {spec};
  }
  void to_onnx(OnnxVertex& vertex) const override {
    const int64_t n_steps = vertex.shape()[0], width = vertex.shape()[1];
    std::string places;
    if (is_learned()) {
      const std::vector<int64_t> first{0}, last{n_steps};
      places = vertex.add("Slice", {vertex.parameter(0), vertex.wholes(first), vertex.wholes(last)});
    } else {
      places = vertex.constant({n_steps, width}, sinusoid_table(n_steps, width, sinusoids()));
    }
    vertex.set_output(vertex.add("Add", {vertex.input(), places}));
  }

  std::unique_ptr<Op> lower(const LowerContext& context) const override {
    PositionsDesc desc;
    desc.src = context.src[0];
    desc.learned = is_learned();
    desc.sinusoids = sinusoids();
    desc.max_steps = is_learned() ? o_.max_steps : std::max(context.cache_steps, context.src[0].shape[1]);
    return make_positions(context.config, desc);
  }

 private:
  bool is_learned() const { return o_.kind == PositionsOptions::Kind::kLearned; }
  Sinusoids sinusoids() const {
    return o_.kind == PositionsOptions::Kind::kSinesThenCosines ? Sinusoids::kSinesThenCosines
                                                                : Sinusoids::kInterleaved;
  }

  PositionsOptions o_;
};

const bool attention_layer_registered = register_layer("attention", [](Config& options) {
  options.positional("heads");
  AttentionOptions o;
  o.heads = read_size(options, "heads");
  o.causal = options.get_bool("causal", false);
  o.packed = options.get_bool("packed", false);
  o.self = o.packed || options.get_bool("self", false);
  o.dropout = read_probability(options, "dropout");
  return attention_layer(o);
});

const bool positions_layer_registered = register_layer("positions", [](Config& options) {
  options.positional("kind");
  PositionsOptions o;
  using Kind = PositionsOptions::Kind;
  const std::string kind =
      options.get_choice("kind", "learned", {"learned", "sinusoidal", "sines_then_cosines"});
  o.kind = kind == "learned"      ? Kind::kLearned
           : kind == "sinusoidal" ? Kind::kSinusoidal
                                  : Kind::kSinesThenCosines;
  if (o.kind == Kind::kLearned) o.max_steps = read_size(options, "max_steps");
  return positions_layer(o);
});

}  // namespace

std::shared_ptr<const Layer> attention_layer(const AttentionOptions& options) {
  return std::make_shared<AttentionLayer>(options);
}
std::shared_ptr<const Layer> positions_layer(const PositionsOptions& options) {
  return std::make_shared<PositionsLayer>(options);
}

}  // namespace lockstep
