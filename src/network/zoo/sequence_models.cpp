// Networks that read or write whole sequences: classification by a bidirectional LSTM, forecasts of series,
// translation by an encoder and a decoder with one context vector or with additive attention, captions of
// images (course texts 000 and 004).
#include <fmt/format.h>

#include "src/network/scan.h"
#include "src/network/zoo/parts.h"

namespace lockstep {

namespace {

RecurrentCell read_cell(const Config& options, const std::string& fallback) {
  const std::string cell = options.get_choice("cell", fallback, {"rnn", "lstm", "gru"});
  return cell == "rnn" ? RecurrentCell::kRnnTanh : cell == "gru" ? RecurrentCell::kGru : RecurrentCell::kLstm;
}

int add_embedding(Graph& graph, const std::string& name, int ids, int64_t width, int64_t vocabulary) {
  return graph.add(name, embedding_layer({.width = width, .vocabulary = vocabulary}), {ids});
}

/// One label for a sequence: the states behind the last step of either direction.
void build_sentiment_bilstm(Graph& graph, const Config& options, const ModelContext& context) {
  const int64_t vocabulary = read_vocabulary(options, context);
  RecurrentOptions recurrent;
  recurrent.cell = read_cell(options, "lstm");
  recurrent.hidden = size_or(options, "hidden", 64);
  recurrent.layers = size_or(options, "layers", 1);
  recurrent.bidirectional = true;
  const double dropout = read_dropout(options, 0.5);
  recurrent.dropout = recurrent.layers > 1 ? dropout : 0;
  const int words = add_embedding(graph, "embedding", 0, size_or(options, "embedding", 64), vocabulary);
  const int rnn = graph.add("rnn", recurrent_layer(recurrent), {words});
  int last;
  if (options.get_choice("pooling", "last", {"last", "mean"}) == "mean") {
    last = graph.add("mean", mean_steps_layer(), {rnn});
  } else {
    const std::string layer = fmt::format("rnn.l{}", recurrent.layers - 1);
    const int forward = graph.output_of(graph.find(layer), "h_n");
    const int backward = graph.output_of(graph.find(layer + "_reverse"), "h_n");
    last = graph.add("last", concat_layer(0), {forward, backward});
  }
  if (dropout > 0) last = graph.add("dropout", dropout_layer(dropout), {last});
  graph.set_output(graph.add("output", affine_layer(read_classes(options, context)), {last}));
}

/// The steps behind a window of a series (T, D): `horizon` of them, each of `outputs` numbers.
void build_forecaster(Graph& graph, const Config& options, const ModelContext&) {
  const Shape input = graph.vertex(0).shape;
  if (input.rank() != 2)
    throw options.error(
        fmt::format("forecaster needs windows (T, D) of a series, got samples of shape {}", input.str()),
        "set data.train.window, or add input: [steps, features] to the model");
  RecurrentOptions recurrent;
  recurrent.cell = read_cell(options, "lstm");
  recurrent.hidden = size_or(options, "hidden", 64);
  recurrent.layers = size_or(options, "layers", 1);
  recurrent.dropout = recurrent.layers > 1 ? read_dropout(options, 0) : 0;
  const int64_t horizon = size_or(options, "horizon", 1), outputs = size_or(options, "outputs", input[1]);
  const int rnn = graph.append(recurrent_layer(recurrent), "rnn");
  const int last = graph.add("last", pick_step_layer(), {rnn});
  graph.add("steps", affine_layer(horizon * outputs), {last});
  graph.append(reshape_layer({horizon, outputs}), "output");
}

/// The inputs of an encoder and a decoder, as embeddings.
struct Translation {
  int64_t target_vocabulary = 0, embedding = 0, hidden = 0;
  int source = 0, previous = 0;  // vertices (S, W) and (T, W)
};

Translation add_translation(Graph& graph, const Config& options, const ModelContext& context) {
  Translation t;
  const int64_t source_vocabulary = read_vocabulary(options, context, "source_vocabulary", "source");
  t.target_vocabulary = read_vocabulary(options, context, "target_vocabulary", "");
  t.embedding = size_or(options, "embedding", 64);
  t.hidden = size_or(options, "hidden", 128);
  const auto input = [&](const std::string& name) {
    const auto told = context.inputs.find(name);
    return add_data_input(graph, name, context, told != context.inputs.end() ? told->second : Shape{20});
  };
  const int source = input("source"), previous = input("previous");
  t.source = add_embedding(graph, "source_embedding", source, t.embedding, source_vocabulary);
  t.previous = add_embedding(graph, "target_embedding", previous, t.embedding, t.target_vocabulary);
  return t;
}

void build_seq2seq(Graph& graph, const Config& options, const ModelContext& context) {
  const Translation t = add_translation(graph, options, context);
  RecurrentOptions recurrent;
  recurrent.cell = read_cell(options, "gru");
  recurrent.hidden = t.hidden;
  const int encoder = graph.add("encoder", recurrent_layer(recurrent), {t.source});
  std::vector<int> states{graph.output_of(encoder, "h_n")};
  if (is_lstm(recurrent.cell)) states.push_back(graph.output_of(encoder, "c_n"));
  // The context goes into every step of the decoder, and is the state that it begins with.
  const int everywhere = graph.add("context", repeat_steps_layer(), {states[0], t.previous});
  const int reads = graph.add("decoder_input", concat_layer(-1), {t.previous, everywhere});
  std::vector<int> inputs{reads};
  inputs.insert(inputs.end(), states.begin(), states.end());
  const int decoder = graph.add("decoder", recurrent_layer(recurrent), inputs);
  graph.set_output(graph.add("output", affine_layer(t.target_vocabulary, true, true), {decoder}));
}

void build_seq2seq_attention(Graph& graph, const Config& options, const ModelContext& context) {
  const Translation t = add_translation(graph, options, context);
  const int64_t attention = size_or(options, "attention", t.hidden);
  RecurrentOptions both;
  both.cell = RecurrentCell::kGru;
  both.hidden = t.hidden;
  both.bidirectional = true;
  const int encoder = graph.add("encoder", recurrent_layer(both), {t.source});
  const int keys = graph.add("keys", affine_layer(attention, true, true), {encoder});
  const int backward = graph.output_of(graph.find("encoder.l0_reverse"), "h_n");
  const int begin = graph.add("begin", affine_layer(t.hidden), {backward});
  const int first = graph.add("begin_tanh", activation_layer(Activation::kTanh), {begin});

  ScanBody step;
  Graph& body = step.graph;
  const int x = body.add_input("x", {t.embedding});
  const int k = body.add_input("keys", graph.vertex(keys).shape);
  const int z = body.add_input("values", graph.vertex(encoder).shape);
  const int h = body.add_input("h", {t.hidden});
  if (graph.vertex(keys).lengths >= 0) body.add_lengths(k);
  const int query = body.add("query", affine_layer(attention, false), {h});
  const int summary = body.add("attention", additive_attention_layer(), {query, k, z});
  const int weights = body.output_of(summary, "weights");
  const int joined = body.add("joined", concat_layer(0), {x, summary});
  const int one_step = body.add("one_step", reshape_layer({1, t.embedding + 2 * t.hidden}), {joined});
  RecurrentOptions cell;
  cell.cell = RecurrentCell::kGru;
  cell.hidden = t.hidden;
  const int gru = body.add("cell", recurrent_layer(cell), {one_step, h});
  const int next = body.output_of(gru, "h_n");
  const int features = body.add("features", concat_layer(0), {next, summary});
  step.sequences = {x};
  step.constants = {k, z};
  step.carries = {{h, next, false}};
  step.outputs = {features, weights};
  ScanInputs around;
  around.sequences = {t.previous};
  around.constants = {keys, encoder};
  around.initial = {first};
  const int decoder = add_scan(graph, "decoder", step, around);
  graph.set_output(graph.add("output", affine_layer(t.target_vocabulary, true, true), {decoder}));
}

/// Tokens that follow from an image: a small convolutional network gives the state that an LSTM begins with.
void build_caption(Graph& graph, const Config& options, const ModelContext& context) {
  const int64_t vocabulary = read_vocabulary(options, context, "vocabulary", "previous");
  const int64_t hidden = size_or(options, "hidden", 128), width = size_or(options, "embedding", 64);
  const auto shape_of = [&](const std::string& name, const Shape& fallback) {
    const auto told = context.inputs.find(name);
    return told != context.inputs.end() ? told->second : fallback;
  };
  int v = add_data_input(graph, "image", context, shape_of("image", {3, 32, 32}));
  const int previous = add_data_input(graph, "previous", context, shape_of("previous", {16}));
  const std::vector<int64_t> channels = options.get_ints("channels", {32, 64, 128});
  for (size_t i = 0; i < channels.size(); ++i) {
    const std::string number = std::to_string(i + 1);
    v = add_conv_norm(graph, v, square_conv(channels[i], 3, 1, 1, false), read_batch_norm(options),
                      {"conv" + number, "bn" + number, "relu" + number});
    v = graph.add("pool" + number, pool2d_layer(square_pool(Pooling::kMax, 2, 2)), {v});
  }
  v = graph.add("average", adaptive_average_pool_layer(), {v});
  v = graph.add("flatten", flatten_layer(), {v});
  std::vector<int> inputs{add_embedding(graph, "embedding", previous, width, vocabulary)};
  for (const char* state : {"h_0", "c_0"}) {
    const int sum = graph.add(std::string(state) + "_sum", affine_layer(hidden), {v});
    inputs.push_back(graph.add(state, activation_layer(Activation::kTanh), {sum}));
  }
  RecurrentOptions recurrent;
  recurrent.hidden = hidden;
  int decoder = graph.add("decoder", recurrent_layer(recurrent), inputs);
  if (const double dropout = read_dropout(options, 0); dropout > 0)
    decoder = graph.add("dropout", dropout_layer(dropout), {decoder});
  graph.set_output(graph.add("output", affine_layer(vocabulary, true, true), {decoder}));
}

const bool sequence_models_registered =
    register_model("sentiment_bilstm", build_sentiment_bilstm, {{40}, 2, false, 1000}) &&
    register_model("forecaster", build_forecaster, {{24, 1}, 0}) &&
    register_model("seq2seq", build_seq2seq, {{20}, 50, true}) &&
    register_model("seq2seq_attention", build_seq2seq_attention, {{20}, 50, true}) &&
    register_model("caption", build_caption, {{3, 32, 32}, 50, true});

}  // namespace

}  // namespace lockstep
