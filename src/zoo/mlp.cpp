// Multi-layer perceptron with any number of hidden layers, and its one-layer forms: linear
// (regression, any number of outputs) and logistic (class scores).
#include "src/layers/layers.h"
#include "src/model.h"

namespace lockstep {

namespace {

void flatten_input(Graph& graph) {
  if (graph.vertex(0).shape.rank() != 1) graph.append(flatten_layer());
}

const bool registered =
    register_model(
        "mlp",
        [](Graph& graph, const Config& options, const ModelContext& context) {
          const std::string function = options.get_choice("activation", "relu", {"relu", "tanh", "sigmoid"});
          const Activation activation = function == "relu"   ? Activation::kRelu
                                        : function == "tanh" ? Activation::kTanh
                                                             : Activation::kSigmoid;
          flatten_input(graph);
          int number = 1;
          for (int64_t width : options.get_ints("hidden", {512, 512})) {
            if (width < 1) throw options.error_at("hidden", "widths must be at least 1");
            graph.append(affine_layer(width), "fc" + std::to_string(number++));
            graph.append(activation_layer(activation));
          }
          const bool classifies = options.has("classes") || !options.has("outputs");
          const int64_t outputs = classifies ? read_classes(options, context) : options.get_int("outputs");
          if (outputs < 1) throw options.error_at("outputs", "must be at least 1");
          graph.append(affine_layer(outputs), "fc" + std::to_string(number));
        }) &&
    register_model("linear",
                   [](Graph& graph, const Config& options, const ModelContext&) {
                     flatten_input(graph);
                     const int64_t outputs = options.get_int("outputs", 1);
                     if (outputs < 1) throw options.error_at("outputs", "must be at least 1");
                     graph.append(affine_layer(outputs), "fc");
                   }) &&
    register_model("logistic", [](Graph& graph, const Config& options, const ModelContext& context) {
      flatten_input(graph);
      graph.append(affine_layer(read_classes(options, context)), "fc");
    });

}  // namespace

}  // namespace lockstep
