#include "src/network/zoo/resnet_block.h"

namespace lockstep {

namespace {

/// Identity where shapes agree, else what the block says; stands before the block's convolutions so
/// that the last batch norm can add it.
int add_shortcut(Graph& graph, int src, const ResidualBlock& block, int64_t out, const std::string& name) {
  const int64_t in = graph.vertex(src).shape[0];
  if (block.stride == 1 && in == out) return src;
  if (block.projection) {
    return add_conv_norm(graph, src, square_conv(out, 1, block.stride), block.norm,
                         {name + ".downsample.0", name + ".downsample.1", ""});
  }
  // Option A as a convolution with the identity for weights: exact, and nothing to train.
  std::vector<float> identity(out * in);
  for (int64_t c = 0; c < std::min(in, out); ++c) identity[c * in + c] = 1;
  return graph.add(name + ".shortcut",
                   fixed_conv2d_layer(square_conv(out, 1, block.stride, 0, false), std::move(identity)),
                   {src});
}

}  // namespace

void append_residual_block(Graph& graph, const ResidualBlock& block, const std::string& name) {
  const int src = graph.size() - 1;
  const int64_t c = block.channels, out = block.bottleneck ? 4 * c : c;
  const int shortcut = add_shortcut(graph, src, block, out, name);
  int last = src;
  const auto unit = [&](const Conv2dOptions& conv, const std::string& number, bool activated) {
    last = add_conv_norm(
        graph, last, conv, block.norm,
        {name + ".conv" + number, name + ".bn" + number, activated ? name + ".relu" + number : ""});
  };
  if (block.bottleneck) {
    unit(square_conv(c, 1), "1", true);
    unit(square_conv(c, 3, block.stride, 1), "2", true);  // the stride stands here, as in torchvision
    unit(square_conv(out, 1), "3", false);
  } else {
    unit(square_conv(c, 3, block.stride, 1), "1", true);
    unit(square_conv(c, 3, 1, 1), "2", false);
  }
  graph.add(name + ".add", add_layer(), {last, shortcut});
  graph.append(activation_layer(Activation::kRelu), name + ".relu");
}

}  // namespace lockstep
