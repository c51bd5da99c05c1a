// A U-Net (Ronneberger et al. 2015) for per-pixel prediction: `depth` times two 3x3 convolutions and
// a 2x2 maximum, two convolutions at the bottom, then back up by 2x2 transposed convolutions, each
// joined with the features of its size. Padded, unlike the paper's, so that every pixel gets its
// scores (classes, H, W); batch norm behind each 3x3 convolution.
#include <fmt/format.h>

#include "src/network/zoo/parts.h"

namespace lockstep {

namespace {

void append_double_conv(Graph& graph, int64_t channels, const BatchNormOptions& norm,
                        const std::string& name) {
  for (const char* number : {"1", "2"}) {
    add_conv_norm(graph, graph.size() - 1, square_conv(channels, 3, 1, 1), norm,
                  {name + ".conv" + number, name + ".bn" + number, name + ".relu" + number});
  }
}

void build_unet(Graph& graph, const Config& options, const ModelContext& context) {
  const int64_t depth = options.get_int("depth", 3), channels = options.get_int("channels", 16);
  if (depth < 1 || depth > 8)
    throw options.error_at("depth", fmt::format("must be from 1 to 8, found {}", depth),
                           "leave it out for 3");
  if (channels < 1)
    throw options.error_at("channels", fmt::format("must be at least 1, found {}", channels),
                           "leave it out for 16");
  const int64_t multiple = int64_t{1} << depth;
  require_image(graph, options, multiple);
  const Shape input = graph.vertex(0).shape;
  if (input[1] % multiple != 0 || input[2] % multiple != 0) {
    throw options.error(
        fmt::format("unet of depth {} needs sides divisible by {}, got {}", depth, multiple, input.str()),
        "pad or crop the images, or use a smaller depth");
  }
  const double dropout = read_dropout(options, 0);
  const BatchNormOptions norm = read_batch_norm(options);

  std::vector<int> skips;
  for (int64_t level = 0; level < depth; ++level) {
    append_double_conv(graph, channels << level, norm, fmt::format("down{}", level + 1));
    skips.push_back(graph.size() - 1);
    graph.append(pool2d_layer(square_pool(Pooling::kMax, 2, 2)), fmt::format("down{}.pool", level + 1));
  }
  append_double_conv(graph, channels << depth, norm, "bottom");
  append_dropout(graph, dropout, "dropout");
  for (int64_t level = depth; level-- > 0;) {
    const std::string name = fmt::format("up{}", level + 1);
    ConvTranspose2dOptions conv;
    static_cast<Conv2dOptions&>(conv) = square_conv(channels << level, 2, 2);
    const int up = graph.append(conv_transpose2d_layer(conv), name + ".up");
    graph.add(name + ".concat", concat_layer(), {skips[level], up});
    append_double_conv(graph, channels << level, norm, name);
  }
  graph.append(conv2d_layer(square_conv(read_classes(options, context), 1)), "scores");
}

const bool unet_registered = register_model("unet", build_unet);

}  // namespace

}  // namespace lockstep
