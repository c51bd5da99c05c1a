// The residual networks of He et al. 2016, section 4.2, for 32x32 images: a 3x3 convolution, three
// stages of n blocks with 16, 32 and 64 channels, global average, classes: 6n + 2 layers. The paper's
// shortcuts have no parameters (`pad`, option A).
#include <fmt/format.h>

#include <cmath>

#include "src/network/zoo/resnet_block.h"

namespace lockstep {

namespace {

void build_resnet_cifar(Graph& graph, const Config& options, const ModelContext& context, int64_t depth) {
  require_image(graph, options);
  const double width = read_width(options);
  const double dropout = read_dropout(options, 0);
  ResidualBlock block{.norm = read_batch_norm(options)};
  block.projection = options.get_choice("shortcut", "pad", {"pad", "projection"}) == "projection";
  const auto channels = [&](int stage) { return scaled(int64_t{16} << stage, width); };

  add_conv_norm(graph, 0, square_conv(channels(0), 3, 1, 1), block.norm, {"conv1", "bn1", "relu"});
  for (int stage = 0; stage < 3; ++stage) {
    block.channels = channels(stage);
    for (int64_t i = 0; i < (depth - 2) / 6; ++i) {
      block.stride = stage > 0 && i == 0 ? 2 : 1;
      append_residual_block(graph, block, fmt::format("layer{}.{}", stage + 1, i));
    }
  }
  append_average_classifier(graph, read_classes(options, context), dropout, "fc");
}

const bool resnet_cifar_registered = [] {
  const ModelDefaults defaults{{3, 32, 32}, 10};
  for (int64_t depth : {20, 32, 44, 56, 110}) {
    register_model(
        fmt::format("resnet{}", depth),
        [depth](Graph& graph, const Config& options, const ModelContext& context) {
          build_resnet_cifar(graph, options, context, depth);
        },
        defaults);
  }
  return register_model(
      "resnet_cifar",
      [](Graph& graph, const Config& options, const ModelContext& context) {
        const int64_t depth = options.get_int("depth", 20);
        if (depth < 8 || depth % 6 != 2) {
          const int64_t below = std::max<int64_t>(8, (depth - 2) / 6 * 6 + 2);
          throw options.error_at("depth", fmt::format("{} is not 6n + 2 with n of at least 1", depth),
                                 fmt::format("nearest: {} and {}", below, below + 6));
        }
        build_resnet_cifar(graph, options, context, depth);
      },
      defaults);
}();

}  // namespace

}  // namespace lockstep
