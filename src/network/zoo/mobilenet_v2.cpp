// MobileNetV2 (Sandler et al. 2018, table 2): inverted residual blocks of a 1x1 expansion, a
// depthwise 3x3 convolution and a 1x1 projection without activation. Names and the rounding of
// channels to multiples of 8 are torchvision's.
#include <algorithm>
#include <cmath>

#include "src/network/zoo/parts.h"

namespace lockstep {

namespace {

struct Stage {
  int64_t expansion, channels;
  int blocks;
  int64_t stride;
};
constexpr Stage kStages[] = {{1, 16, 1, 1}, {6, 24, 2, 2},  {6, 32, 3, 2}, {6, 64, 4, 2},
                             {6, 96, 3, 1}, {6, 160, 3, 2}, {6, 320, 1, 1}};

/// The nearest multiple of 8, but no more than a tenth below.
int64_t rounded(double channels) {
  const int64_t near = std::max<int64_t>(8, static_cast<int64_t>(channels + 4) / 8 * 8);
  return static_cast<double>(near) < 0.9 * channels ? near + 8 : near;
}

void append_inverted_residual(Graph& graph, int64_t expansion, int64_t channels, int64_t stride,
                              const BatchNormOptions& norm, const std::string& name) {
  const int src = graph.size() - 1;
  const int64_t in = graph.vertex(src).shape[0], wide = in * expansion;
  int last = src, index = 0;
  const auto unit = [&](const Conv2dOptions& conv) {
    const std::string prefix = name + ".conv." + std::to_string(index++);
    last = add_conv_norm(graph, last, conv, norm, {prefix + ".0", prefix + ".1", prefix + ".2"},
                         Activation::kRelu6);
  };
  if (expansion != 1) unit(square_conv(wide, 1));
  Conv2dOptions depthwise = square_conv(wide, 3, stride, 1);
  depthwise.groups = wide;
  unit(depthwise);
  const std::string prefix = name + ".conv.";
  last = add_conv_norm(graph, last, square_conv(channels, 1), norm,
                       {prefix + std::to_string(index), prefix + std::to_string(index + 1), ""});
  if (stride == 1 && in == channels) graph.add(name + ".add", add_layer(), {last, src});
}

void build_mobilenet_v2(Graph& graph, const Config& options, const ModelContext& context) {
  require_image(graph, options);
  const double width = read_width(options);
  const double dropout = read_dropout(options, 0.2);
  const BatchNormOptions norm = read_batch_norm(options);
  int number = 0;
  const auto next = [&] { return "features." + std::to_string(number++); };
  const auto unit = [&](const Conv2dOptions& conv) {
    const std::string name = next();
    add_conv_norm(graph, graph.size() - 1, conv, norm, {name + ".0", name + ".1", name + ".2"},
                  Activation::kRelu6);
  };
  unit(square_conv(rounded(32 * width), 3, 2, 1));
  for (const Stage& stage : kStages) {
    for (int i = 0; i < stage.blocks; ++i) {
      append_inverted_residual(graph, stage.expansion, rounded(static_cast<double>(stage.channels) * width),
                               i == 0 ? stage.stride : 1, norm, next());
    }
  }
  unit(square_conv(rounded(1280 * std::max(1.0, width)), 1));
  append_average_classifier(graph, read_classes(options, context), dropout, "classifier.1");
}

const bool mobilenet_v2_registered =
    register_model("mobilenet_v2", build_mobilenet_v2, {{3, 224, 224}, 1000});

}  // namespace

}  // namespace lockstep
