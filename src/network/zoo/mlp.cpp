// Multi-layer perceptron with any number of hidden layers, and the networks of one layer: linear
// (regression, any number of outputs), logistic (class scores) and Rosenblatt's perceptron (one sum,
// whose sign is the class).
#include <fmt/format.h>

#include "src/network/zoo/parts.h"

namespace lockstep {

namespace {

int64_t read_outputs(const Config& options) {
  const int64_t outputs = options.get_int("outputs", 1);
  if (outputs < 1)
    throw options.error_at("outputs", fmt::format("must be at least 1, found {}", outputs),
                           "leave it out for 1");
  return outputs;
}

void build_mlp(Graph& graph, const Config& options, const ModelContext& context) {
  const Activation activation = read_activation(options, "relu");
  const double dropout = read_dropout(options, 0);
  append_flatten(graph);
  int number = 1;
  for (int64_t width : options.get_ints("hidden", {512, 512})) {
    if (width < 1)
      throw options.error_at("hidden", fmt::format("widths must be at least 1, found {}", width),
                             "for instance hidden: [512, 512]");
    graph.append(affine_layer(width), "fc" + std::to_string(number++));
    graph.append(activation_layer(activation));
    if (dropout > 0) graph.append(dropout_layer(dropout));
  }
  const bool classifies = options.has("classes") || !options.has("outputs");
  const int64_t outputs = classifies ? read_classes(options, context) : read_outputs(options);
  graph.append(affine_layer(outputs), "fc" + std::to_string(number));
}

void build_linear(Graph& graph, const Config& options, const ModelContext&) {
  append_flatten(graph);
  graph.append(affine_layer(read_outputs(options)), "fc");
}

const bool mlp_registered =
    register_model("mlp", build_mlp) && register_model("linear", build_linear) &&
    register_model("perceptron",
                   [](Graph& graph, const Config&, const ModelContext&) {
                     append_flatten(graph);
                     graph.append(affine_layer(1), "fc");
                   }) &&
    register_model("logistic", [](Graph& graph, const Config& options, const ModelContext& context) {
      append_flatten(graph);
      graph.append(affine_layer(read_classes(options, context)), "fc");
    });

}  // namespace

}  // namespace lockstep
