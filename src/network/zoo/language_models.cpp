// Language models of characters or words: ids become vectors, recurrent layers follow them, and at each step
// an affine layer scores what comes next (course texts 000 and 004).
#include <fmt/format.h>

#include "src/network/zoo/parts.h"

namespace lockstep {

namespace {

RecurrentOptions read_recurrent_options(const Config& options, RecurrentCell cell) {
  RecurrentOptions recurrent;
  recurrent.cell = cell;
  recurrent.hidden = options.has("hidden") ? read_size(options, "hidden") : 256;
  recurrent.layers = options.has("layers") ? read_size(options, "layers") : 1;
  recurrent.dropout = recurrent.layers > 1 ? read_dropout(options, 0) : 0;
  recurrent.carries_state = options.get_choice("state", "none", {"none", "carried"}) == "carried";
  return recurrent;
}

void build_language_model(Graph& graph, const Config& options, const ModelContext& context,
                          RecurrentCell cell) {
  const int64_t vocabulary = read_vocabulary(options, context);
  if (options.get_choice("encoding", "embedding", {"embedding", "one_hot"}) == "one_hot") {
    graph.append(one_hot_layer(vocabulary), "one_hot");
  } else {
    const int64_t width = options.has("embedding") ? read_size(options, "embedding") : 64;
    graph.append(embedding_layer({.width = width, .vocabulary = vocabulary}), "embedding");
  }
  const RecurrentOptions recurrent = read_recurrent_options(options, cell);
  const int last = graph.append(recurrent_layer(recurrent), "rnn");
  graph.set_output(graph.add("output", affine_layer(vocabulary, true, true), {last}));
}

bool register_language_model(const char* name, RecurrentCell cell) {
  return register_model(name,
                        [cell](Graph& graph, const Config& options, const ModelContext& context) {
                          build_language_model(graph, options, context, cell);
                        },
                        {{64}, 65});
}

const bool language_models_registered = register_language_model("char_rnn", RecurrentCell::kRnnTanh) &&
                                        register_language_model("char_lstm", RecurrentCell::kLstm) &&
                                        register_language_model("char_gru", RecurrentCell::kGru);

}  // namespace

}  // namespace lockstep
