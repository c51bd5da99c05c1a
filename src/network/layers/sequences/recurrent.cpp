// Recurrent layers over sequences (T, D): one layer in one direction is an op over the whole sequence; stacks
// and both directions are several of them, under the names of PyTorch's state dicts.
#include "kernels/recurrent.h"

#include <fmt/format.h>

#include "src/network/graph.h"
#include "src/network/layers/layers.h"
#include "src/network/onnx.h"

namespace lockstep {

namespace {

class RecurrentLayer : public Layer {
 public:
  /// suffix: of parameter names.
  explicit RecurrentLayer(const RecurrentOptions& options, std::string suffix = "_l0")
      : o_(options), suffix_(std::move(suffix)) {}

  std::string type() const override {
    return is_lstm(o_.cell) ? "lstm" : o_.cell == RecurrentCell::kGru ? "gru" : "rnn";
  }
  int max_inputs() const override {
    return 1 + static_cast<int>(o_.layers) * (o_.bidirectional ? 2 : 1) * n_states();
  }
  bool keeps_steps() const override { return true; }
  Lengths lengths() const override { return {0, 1}; }
  std::vector<std::string> further_outputs() const override {
    return is_lstm(o_.cell) ? std::vector<std::string>{"h_n", "c_n"} : std::vector<std::string>{"h_n"};
  }
  Shape infer_further(int, std::span<const Shape>) const override { return {o_.hidden}; }

  Shape infer(std::span<const Shape> src) const override {
    if (src[0].rank() != 2)
      throw Error("", fmt::format("needs a sequence (T, features) per sample, got shape {}", src[0].str()),
                  "put 'embedding' or 'one_hot' before it for ids, or reshape the sample to [T, features]");
    const size_t first = src.size() > 1 && src[1].rank() == 0 ? 2 : 1;  // behind the lengths
    const size_t n = src.size() - first;
    if (n != 0 && n != static_cast<size_t>(n_states()))
      throw Error(
          "", fmt::format("it reads {} initial states, not {}", n_states(), n),
          is_lstm(o_.cell) ? "name h_0 and c_0: from: [sequence, h, c]" : "name h_0: from: [sequence, h]");
    for (const Shape& state : src.subspan(first)) {
      if (state != Shape{o_.hidden})
        throw Error("", fmt::format("an initial state is ({}), not {}", o_.hidden, state.str()),
                    fmt::format("let an affine layer of {} features make it", o_.hidden));
    }
    return {src[0][0], o_.hidden};
  }

  std::vector<ParameterSpec> parameters(std::span<const Shape> src) const override {
    const int64_t rows = gates_of(o_.cell) * o_.hidden, in = src[0][1], h = o_.hidden;
    using Role = ParameterSpec::Role;
    // All of them are drawn from U(±1 / sqrt(H)), as PyTorch's.
    std::vector<ParameterSpec> specs = {{"weight_ih" + suffix_, {rows, in}, Role::kWeight, h, h},
                                        {"weight_hh" + suffix_, {rows, h}, Role::kWeight, h, h}};
    if (o_.bias) {
      specs.push_back({"bias_ih" + suffix_, {rows}, Role::kBias, h, h});
      specs.push_back({"bias_hh" + suffix_, {rows}, Role::kBias, h, h});
    }
    if (o_.cell == RecurrentCell::kLstmPeephole)
      specs.push_back({"peephole" + suffix_, {3 * h}, Role::kWeight, h, h});
    return specs;
  }
  int64_t multiply_adds(std::span<const Shape> src) const override {
    return src[0][0] * gates_of(o_.cell) * o_.hidden * (src[0][1] + o_.hidden);
  }

  std::unique_ptr<Op> lower(const LowerContext& context) const override {
    RecurrentDesc desc;
    desc.src = context.src[0];
    desc.cell = o_.cell;
    desc.hidden = o_.hidden;
    desc.reversed = o_.reversed;
    desc.has_bias = o_.bias;
    desc.has_lengths = context.src.size() > 1 && context.src[1].dtype == DType::kInt32;
    desc.has_state = static_cast<int>(context.src.size()) - desc.has_lengths > 1;
    desc.wants_diff_src = context.wants_diff_src;
    desc.reset_after = o_.reset_after;
    desc.update_keeps = o_.update_keeps;
    return make_recurrent(context.config, desc);
  }

  void to_onnx(OnnxVertex& vertex) const override;

  int expand(Graph& graph, const std::string& name, const std::vector<int>& inputs) const override {
    const bool carries = o_.carries_state || graph.carries_states();
    const bool begins_elsewhere = inputs.size() > 1;
    if (is_single_ || (o_.layers == 1 && !o_.bidirectional && (!carries || begins_elsewhere))) return -1;
    if (carries && (o_.bidirectional || o_.reversed))
      throw Error("layer '" + name + "'", "a backward direction cannot carry its state: it begins at the end",
                  "leave out bidirectional and reversed, or state: carried");
    const int n_directions = o_.bidirectional ? 2 : 1;
    const size_t n_given = inputs.size() - 1;
    const auto n_wanted = static_cast<size_t>(o_.layers * n_directions * n_states());
    if (n_given != 0 && n_given != n_wanted)
      throw Error("layer '" + name + "'",
                  fmt::format("it reads {} initial states, not {}", n_wanted, n_given),
                  "name those of every layer and direction, or none");
    int x = inputs[0];
    size_t next_state = 1;
    for (int64_t l = 0; l < o_.layers; ++l) {
      const bool is_last = l + 1 == o_.layers;
      if (l > 0 && o_.dropout > 0)
        x = graph.add(fmt::format("{}.dropout{}", name, l), dropout_layer(o_.dropout), {x});
      std::vector<int> directions;
      for (int d = 0; d < n_directions; ++d) {
        RecurrentOptions one = o_;
        one.layers = 1;
        one.bidirectional = false;
        one.reversed = o_.reversed || d == 1;
        const std::string suffix = fmt::format("l{}{}", l, d == 1 ? "_reverse" : "");
        const std::string own = is_last && n_directions == 1 ? name : name + "." + suffix;
        auto layer = std::make_shared<RecurrentLayer>(one, "_" + suffix);
        layer->is_single_ = true;
        std::vector<int> reads{x}, states;
        for (int s = 0; s < n_states(); ++s) {
          if (n_given > 0) reads.push_back(inputs[next_state++]);
          if (n_given == 0 && carries) {
            states.push_back(graph.add_state(own + (s == 0 ? ".h_0" : ".c_0"), {o_.hidden}));
            reads.push_back(states.back());
          }
        }
        const int vertex = graph.add(own, layer, reads, -1, name);
        for (size_t s = 0; s < states.size(); ++s)
          graph.set_state(states[s], graph.output_of(vertex, s == 0 ? "h_n" : "c_n"));
        directions.push_back(vertex);
      }
      x = directions[0];
      if (n_directions == 2)
        x = graph.add(is_last ? name : fmt::format("{}.l{}", name, l) + "_both", concat_layer(-1),
                      directions);
    }
    return x;
  }

 private:
  int n_states() const { return is_lstm(o_.cell) ? 2 : 1; }

  RecurrentOptions o_;
  std::string suffix_;
  bool is_single_ = false;
};

/// The blocks of `rows` that ONNX wants, in its order: of each the block here, or with a minus sign its
/// negative.
std::vector<float> gates_in_onnx(std::span<const float> values, int64_t n_gates,
                                 const std::vector<int>& order, int negative) {
  const auto block = static_cast<int64_t>(values.size()) / n_gates;
  std::vector<float> result;
  for (size_t i = 0; i < order.size(); ++i)
    for (const float value :
         values.subspan(static_cast<size_t>(order[i] * block), static_cast<size_t>(block)))
      result.push_back(static_cast<int>(i) == negative ? -value : value);
  return result;
}

void RecurrentLayer::to_onnx(OnnxVertex& vertex) const {
  const int64_t h = o_.hidden, in = vertex.shape()[1], n_gates = gates_of(o_.cell);
  // ONNX stacks i, o, f, c and z, r, h; here they are i, f, g, o (coupled: f, g, o) and r, z, n.
  const bool is_coupled = o_.cell == RecurrentCell::kLstmCoupled, is_gru = o_.cell == RecurrentCell::kGru;
  const std::vector<int> order = is_coupled         ? std::vector<int>{0, 2, 0, 1}
                                 : is_lstm(o_.cell) ? std::vector<int>{0, 3, 1, 2}
                                 : is_gru           ? std::vector<int>{1, 0, 2}
                                                    : std::vector<int>{0};
  // 1 - sigmoid(a) = sigmoid(-a): the coupled input gate, and an update gate that takes.
  const int negative = is_coupled || (is_gru && !o_.update_keeps) ? 0 : -1;
  const auto n_blocks = static_cast<int64_t>(order.size());
  const auto stacked = [&](size_t parameter) {
    return gates_in_onnx(vertex.parameter_values(parameter), n_gates, order, negative);
  };
  std::vector<std::string> reads{vertex.transpose(vertex.input(), {1, 0, 2}),
                                 vertex.constant({1, n_blocks * h, in}, stacked(0)),
                                 vertex.constant({1, n_blocks * h, h}, stacked(1))};
  std::string bias;
  if (o_.bias) {
    std::vector<float> both = stacked(2), hidden = stacked(3);
    both.insert(both.end(), hidden.begin(), hidden.end());
    bias = vertex.constant({1, 2 * n_blocks * h}, std::move(both));
  }
  reads.push_back(bias);
  const bool has_lengths = vertex.n_inputs() > 1 && vertex.shape(1).rank() == 0;
  reads.push_back(has_lengths ? vertex.input(1) : "");
  for (size_t i = has_lengths ? 2 : 1; i < vertex.n_inputs(); ++i)
    reads.push_back(vertex.unsqueeze(vertex.input(i), 0));
  if (o_.cell == RecurrentCell::kLstmPeephole) {
    reads.resize(7);
    reads.push_back(vertex.constant(
        {1, 3 * h}, gates_in_onnx(vertex.parameter_values(o_.bias ? 4 : 2), 3, {0, 2, 1}, -1)));
  }
  while (reads.back().empty()) reads.pop_back();
  std::vector<OnnxAttribute> attributes = {{"hidden_size", h},
                                           {"direction", std::string(o_.reversed ? "reverse" : "forward")}};
  if (is_gru) attributes.push_back({"linear_before_reset", int64_t{o_.reset_after}});
  if (o_.cell == RecurrentCell::kRnnTanh || o_.cell == RecurrentCell::kRnnRelu)
    attributes.push_back(
        {"activations", std::vector<std::string>{o_.cell == RecurrentCell::kRnnTanh ? "Tanh" : "Relu"}});
  const std::string y = vertex.add(is_lstm(o_.cell) ? "LSTM"
                                   : is_gru         ? "GRU"
                                                    : "RNN",
                                   reads, attributes, n_states());
  for (int s = 0; s < n_states(); ++s)
    if (vertex.wants_output(static_cast<size_t>(s)))
      vertex.set_output(vertex.squeeze(y + "." + std::to_string(1 + s), 0), static_cast<size_t>(1 + s));
  vertex.set_output(vertex.transpose(vertex.squeeze(y, 1), {1, 0, 2}));
}

/// What all three kinds have.
RecurrentOptions read_recurrent(Config& options, RecurrentCell cell) {
  options.positional("hidden");
  RecurrentOptions o;
  o.cell = cell;
  o.hidden = read_size(options, "hidden");
  if (options.has("layers")) o.layers = read_size(options, "layers");
  if (o.layers > 1000)
    throw options.error_at("layers", fmt::format("must be at most 1000, found {}", o.layers),
                           "for instance layers: 2");
  const std::string direction =
      options.get_choice("direction", "forward", {"forward", "reversed", "bidirectional"});
  o.bidirectional = direction == "bidirectional";
  o.reversed = direction == "reversed";
  o.bias = options.get_bool("bias", true);
  o.dropout = options.get_double("dropout", 0);
  if (!(o.dropout >= 0 && o.dropout < 1))
    throw options.error_at("dropout", fmt::format("must lie in [0, 1), found {}", o.dropout),
                           "for instance dropout: 0.2");
  if (o.dropout > 0 && o.layers == 1)
    throw options.error_at("dropout", "it stands between layers, and there is one",
                           "put 'dropout' behind it, or say layers: 2");
  o.carries_state = options.get_choice("state", "none", {"none", "carried"}) == "carried";
  return o;
}

const bool rnn_layer_registered = register_layer("rnn", [](Config& options) {
  RecurrentOptions o = read_recurrent(options, RecurrentCell::kRnnTanh);
  if (options.get_choice("activation", "tanh", {"tanh", "relu"}) == "relu") o.cell = RecurrentCell::kRnnRelu;
  return recurrent_layer(o);
});

const bool lstm_layer_registered = register_layer("lstm", [](Config& options) {
  RecurrentOptions o = read_recurrent(options, RecurrentCell::kLstm);
  const std::string form = options.get_choice("form", "plain", {"plain", "peepholes", "coupled"});
  if (form == "peepholes") o.cell = RecurrentCell::kLstmPeephole;
  if (form == "coupled") o.cell = RecurrentCell::kLstmCoupled;
  return recurrent_layer(o);
});

const bool gru_layer_registered = register_layer("gru", [](Config& options) {
  RecurrentOptions o = read_recurrent(options, RecurrentCell::kGru);
  o.reset_after = options.get_choice("reset", "after", {"after", "before"}) == "after";
  o.update_keeps = options.get_choice("update", "keeps", {"keeps", "takes"}) == "keeps";
  return recurrent_layer(o);
});

}  // namespace

std::shared_ptr<const Layer> recurrent_layer(const RecurrentOptions& options) {
  return std::make_shared<RecurrentLayer>(options);
}

}  // namespace lockstep
