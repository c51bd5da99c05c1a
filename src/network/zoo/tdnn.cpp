// Time-delay network (Waibel et al. 1989, figure 2): convolutions over time, whose scores are then
// averaged over time, so that a pattern counts wherever it stands. Samples are (C, T): 16 mel
// coefficients of 15 frames there. Hidden layers by `channels`, the windows of all layers by
// `kernel`, the last one that of the scores.
#include <fmt/format.h>

#include "src/network/zoo/parts.h"

namespace lockstep {

namespace {

void build_tdnn(Graph& graph, const Config& options, const ModelContext& context) {
  const Shape& input = graph.vertex(0).shape;
  if (input.rank() != 2) {
    throw options.error(fmt::format("tdnn needs sequences (C, T), got samples of shape {}", input.str()),
                        "add input: [channels, time] to the model");
  }
  const Activation activation = read_activation(options, "sigmoid");
  std::vector<int64_t> channels = options.get_ints("channels", {8});
  channels.push_back(read_classes(options, context));
  const size_t n = channels.size();
  const std::vector<int64_t> kernel = options.get_ints("kernel", {3, 5});
  const std::vector<int64_t> dilation = options.get_ints("dilation", std::vector<int64_t>(n, 1));
  using Option = std::pair<const char*, const std::vector<int64_t>*>;
  for (const auto& [key, list] :
       {Option{"channels", &channels}, Option{"kernel", &kernel}, Option{"dilation", &dilation}}) {
    for (int64_t value : *list) {
      if (value < 1)
        throw options.error_at(key, fmt::format("must be at least 1, found {}", value),
                               "give a number of 1 or more for each layer");
    }
    if (list->size() != n) {
      throw options.error_at(key, fmt::format("{} numbers for {} layers", list->size(), n),
                             "give one for each hidden layer and one for the scores");
    }
  }
  const double dropout = read_dropout(options, 0);
  for (size_t i = 0; i < n; ++i) {
    Conv2dOptions conv{.channels = channels[i]};
    conv.kernel = {1, kernel[i]};
    conv.dilation = {1, dilation[i]};
    graph.append(conv1d_layer(conv), "conv" + std::to_string(i + 1));
    if (i + 1 == n) break;
    graph.append(activation_layer(activation));
    if (dropout > 0) graph.append(dropout_layer(dropout));
  }
  graph.append(adaptive_average_pool_layer(), "average");
  graph.append(flatten_layer());
}

const bool tdnn_registered = register_model("tdnn", build_tdnn, {{16, 15}, 3});

}  // namespace

}  // namespace lockstep
