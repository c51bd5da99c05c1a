#include "src/network/zoo/parts.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace lockstep {

void require_image(const Graph& graph, const Config& options, int64_t smallest) {
  const Shape& input = graph.vertex(0).shape;
  const std::string name = options.get_string("zoo");
  if (input.rank() != 3) {
    throw options.error(fmt::format("{} needs images (C, H, W), got samples of shape {}", name, input.str()),
                        "give the data an image shape, or add input: [C, H, W] to the model");
  }
  if (std::min(input[1], input[2]) < smallest) {
    throw options.error(fmt::format("the image is too small for {0}: {1} pixels, at least {2}x{2} are needed",
                                    name, input.str(), smallest),
                        "use larger images or a network for small ones, such as lenet5 or resnet20");
  }
}

int64_t size_or(const Config& options, const std::string& key, int64_t fallback) {
  return options.has(key) ? read_size(options, key) : fallback;
}

Activation read_activation(const Config& options, const std::string& fallback) {
  const std::string name = options.get_choice("activation", fallback, {"tanh", "relu", "sigmoid"});
  return name == "tanh" ? Activation::kTanh : name == "relu" ? Activation::kRelu : Activation::kSigmoid;
}

double read_dropout(const Config& options, double fallback) {
  const double p = options.get_double("dropout", fallback);
  if (p < 0 || p >= 1)
    throw options.error_at("dropout", fmt::format("must be at least 0 and less than 1, found {}", p),
                           "it is the share that is dropped, for instance 0.5");
  return p;
}

double read_width(const Config& options) {
  const double width = options.get_double("width", 1);
  if (width <= 0)
    throw options.error_at("width", fmt::format("must be positive, found {}", width),
                           "it multiplies all channels: 1 is the usual network, 0.5 half of it");
  return width;
}

int64_t scaled(int64_t channels, double width) {
  return std::max<int64_t>(1, std::llround(width * static_cast<double>(channels)));
}

BatchNormOptions read_batch_norm(const Config& options, double epsilon) {
  return {.epsilon = epsilon, .synchronized = options.get_bool("sync_batch_norm", false)};
}

void append_dropout(Graph& graph, double p, const std::string& name) {
  if (p > 0) graph.append(dropout_layer(p), name);
}

void append_flatten(Graph& graph) {
  if (graph.vertex(graph.size() - 1).shape.rank() != 1) graph.append(flatten_layer());
}

Conv2dOptions square_conv(int64_t channels, int64_t kernel, int64_t stride, int64_t padding, bool bias) {
  return {.channels = channels,
          .kernel = {kernel, kernel},
          .stride = {stride, stride},
          .padding = {padding, padding, padding, padding},
          .bias = bias};
}

Pool2dOptions square_pool(Pooling pooling, int64_t kernel, int64_t stride, int64_t padding) {
  return {.pooling = pooling,
          .kernel = {kernel, kernel},
          .stride = {stride, stride},
          .padding = {padding, padding, padding, padding}};
}

int add_conv_norm(Graph& graph, int src, Conv2dOptions conv, const BatchNormOptions& norm,
                  const ConvNormNames& names, Activation activation) {
  conv.bias = false;  // the batch norm has one
  int last = graph.add(names.conv, conv2d_layer(conv), {src});
  last = graph.add(names.norm, batch_norm_layer(norm), {last});
  if (!names.activation.empty()) last = graph.add(names.activation, activation_layer(activation), {last});
  return last;
}

void append_average_classifier(Graph& graph, int64_t classes, double dropout, const std::string& affine) {
  graph.append(adaptive_average_pool_layer(), "avgpool");
  graph.append(flatten_layer());
  append_dropout(graph, dropout, "dropout");
  graph.append(affine_layer(classes), affine);
}

}  // namespace lockstep
