// VGG (Simonyan and Zisserman 2015, table 1: A, B, D, E): 3x3 convolutions in five groups, each
// closed by a 2x2 maximum, then three affine layers. Names and the 7x7 average before the affine
// layers, which lets other sizes than 224x224 in, are torchvision's.
#include <fmt/format.h>

#include <string>
#include <vector>

#include "src/network/zoo/parts.h"

namespace lockstep {

namespace {

constexpr int64_t kChannels[5] = {64, 128, 256, 512, 512};

void build_vgg(Graph& graph, const Config& options, const ModelContext& context,
               const std::vector<int>& convolutions, bool normed) {
  require_image(graph, options, 32);
  const double dropout = read_dropout(options, 0.5);
  const int64_t hidden = options.get_int("hidden", 4096);
  if (hidden < 1)
    throw options.error_at("hidden", fmt::format("must be at least 1, found {}", hidden),
                           "leave it out for 4096");
  const double width = read_width(options);
  const BatchNormOptions norm = normed ? read_batch_norm(options) : BatchNormOptions{};

  int index = 0;  // in torchvision's list of layers
  const auto next = [&] { return "features." + std::to_string(index++); };
  for (int group = 0; group < 5; ++group) {
    for (int i = 0; i < convolutions[group]; ++i) {
      graph.append(conv2d_layer(square_conv(scaled(kChannels[group], width), 3, 1, 1)), next());
      if (normed) graph.append(batch_norm_layer(norm), next());
      graph.append(activation_layer(Activation::kRelu), next());
    }
    graph.append(pool2d_layer(square_pool(Pooling::kMax, 2, 2)), next());
  }
  const Shape& features = graph.vertex(graph.size() - 1).shape;
  if (features[1] != 7 || features[2] != 7) graph.append(adaptive_average_pool_layer({7, 7}), "avgpool");
  graph.append(flatten_layer());
  graph.append(affine_layer(hidden), "classifier.0");
  graph.append(activation_layer(Activation::kRelu), "classifier.1");
  append_dropout(graph, dropout, "classifier.2");
  graph.append(affine_layer(hidden), "classifier.3");
  graph.append(activation_layer(Activation::kRelu), "classifier.4");
  append_dropout(graph, dropout, "classifier.5");
  graph.append(affine_layer(read_classes(options, context)), "classifier.6");
}

const bool vgg_registered = [] {
  const std::pair<std::string, std::vector<int>> forms[] = {{"vgg11", {1, 1, 2, 2, 2}},
                                                            {"vgg13", {2, 2, 2, 2, 2}},
                                                            {"vgg16", {2, 2, 3, 3, 3}},
                                                            {"vgg19", {2, 2, 4, 4, 4}}};
  for (const auto& [name, convolutions] : forms) {
    for (bool normed : {false, true}) {
      register_model(
          name + (normed ? "_bn" : ""),
          [convolutions, normed](Graph& graph, const Config& options, const ModelContext& context) {
            build_vgg(graph, options, context, convolutions, normed);
          },
          {{3, 224, 224}, 1000});
    }
  }
  return true;
}();

}  // namespace

}  // namespace lockstep
