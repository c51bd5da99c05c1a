// ResNet for ImageNet (He et al. 2016, table 1; the stride of a bottleneck at its 3x3 convolution,
// as in torchvision), and resnet18_cifar: the same four stages behind a 3x3 convolution without
// stride and pooling, for images of 32x32.
#include <array>
#include <cmath>

#include "src/network/zoo/resnet_block.h"

namespace lockstep {

namespace {

struct Form {
  std::string name;
  std::array<int, 4> blocks;
  bool bottleneck = false;
  bool small_images = false;
};

void build_resnet(Graph& graph, const Config& options, const ModelContext& context, const Form& form) {
  require_image(graph, options);
  const double width = read_width(options);
  const double dropout = read_dropout(options, 0);
  ResidualBlock block{.bottleneck = form.bottleneck, .norm = read_batch_norm(options)};
  block.projection = options.get_choice("shortcut", "projection", {"projection", "pad"}) == "projection";
  const auto channels = [&](int stage) { return scaled(int64_t{64} << stage, width); };

  const Conv2dOptions stem =
      form.small_images ? square_conv(channels(0), 3, 1, 1) : square_conv(channels(0), 7, 2, 3);
  add_conv_norm(graph, 0, stem, block.norm, {"conv1", "bn1", "relu"});
  if (!form.small_images) graph.append(pool2d_layer(square_pool(Pooling::kMax, 3, 2, 1)), "maxpool");
  for (int stage = 0; stage < 4; ++stage) {
    block.channels = channels(stage);
    for (int i = 0; i < form.blocks[stage]; ++i) {
      block.stride = stage > 0 && i == 0 ? 2 : 1;
      append_residual_block(graph, block, "layer" + std::to_string(stage + 1) + "." + std::to_string(i));
    }
  }
  append_average_classifier(graph, read_classes(options, context), dropout, "fc");
}

const bool resnet_registered = [] {
  const Form forms[] = {{"resnet18", {2, 2, 2, 2}},         {"resnet34", {3, 4, 6, 3}},
                        {"resnet50", {3, 4, 6, 3}, true},   {"resnet101", {3, 4, 23, 3}, true},
                        {"resnet152", {3, 8, 36, 3}, true}, {"resnet18_cifar", {2, 2, 2, 2}, false, true}};
  for (const Form& form : forms) {
    const ModelDefaults defaults =
        form.small_images ? ModelDefaults{{3, 32, 32}, 10} : ModelDefaults{{3, 224, 224}, 1000};
    register_model(
        form.name,
        [form](Graph& graph, const Config& options, const ModelContext& context) {
          build_resnet(graph, options, context, form);
        },
        defaults);
  }
  return true;
}();

}  // namespace

}  // namespace lockstep
