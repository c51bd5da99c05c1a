// LeNet-5 (LeCun et al. 1998, figure 2; course texts 001 and 003): 32x32 in, 6@5x5, pool,
// 16@5x5, pool, 120, 84, classes. Smaller images are padded by the first convolution:
// 28x28 by 2 (as in the course), and images below 20 pixels keep their size through both
// convolutions, so that 8x8 digits work too.
#include <algorithm>

#include "src/network/zoo/parts.h"

namespace lockstep {

namespace {

const bool lenet5_registered = register_model(
    "lenet5",
    [](Graph& graph, const Config& options, const ModelContext& context) {
      const Shape input = graph.vertex(0).shape;
      const int64_t size = input.rank() == 3 ? std::min(input[1], input[2]) : 0;
      const Activation activation = read_activation(options, "tanh");
      const std::string pooling = options.get_choice("pooling", "average", {"average", "max"});
      const double width = read_width(options);
      const auto scaled = [&](int64_t n) {
        return std::max<int64_t>(1, static_cast<int64_t>(static_cast<double>(n) * width));
      };

      Conv2dOptions conv1{.channels = scaled(6), .kernel = {5, 5}};
      Conv2dOptions conv2{.channels = scaled(16), .kernel = {5, 5}};
      if (size < 32) conv1.padding = {2, 2, 2, 2};
      if (size < 20) conv2.padding = {2, 2, 2, 2};
      const Pool2dOptions pool{.pooling = pooling == "max" ? Pooling::kMax : Pooling::kAverage};

      graph.append(conv2d_layer(conv1), "conv1");
      graph.append(activation_layer(activation));
      graph.append(pool2d_layer(pool), "pool1");
      graph.append(conv2d_layer(conv2), "conv2");
      graph.append(activation_layer(activation));
      graph.append(pool2d_layer(pool), "pool2");
      graph.append(flatten_layer());
      graph.append(affine_layer(scaled(120)), "fc1");
      graph.append(activation_layer(activation));
      graph.append(affine_layer(scaled(84)), "fc2");
      graph.append(activation_layer(activation));
      graph.append(affine_layer(read_classes(options, context)), "fc3");
    },
    {{1, 32, 32}, 10});

}  // namespace

}  // namespace lockstep
