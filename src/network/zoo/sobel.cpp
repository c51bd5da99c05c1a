// Sobel's edge filters (course text 000): two fixed 3x3 convolutions per channel, "gx" for vertical
// edges and "gy" for horizontal ones, and "magnitude" = sqrt(gx^2 + gy^2). Nothing is trained.
#include "src/network/zoo/parts.h"

namespace lockstep {

namespace {

int add_filter(Graph& graph, const std::string& name, const std::vector<float>& filter, int64_t padding) {
  const int64_t channels = graph.vertex(0).shape[0];
  Conv2dOptions conv = square_conv(channels, 3, 1, padding, false);
  conv.groups = channels;
  std::vector<float> weights;
  for (int64_t c = 0; c < channels; ++c) weights.insert(weights.end(), filter.begin(), filter.end());
  return graph.add(name, fixed_conv2d_layer(conv, std::move(weights)), {0});
}

void build_sobel(Graph& graph, const Config& options, const ModelContext&) {
  require_image(graph, options, 3);
  const int64_t padding = options.get_choice("padding", "valid", {"valid", "same"}) == "same" ? 1 : 0;
  const int gx = add_filter(graph, "gx", {-1, 0, 1, -2, 0, 2, -1, 0, 1}, padding);
  const int gy = add_filter(graph, "gy", {-1, -2, -1, 0, 0, 0, 1, 2, 1}, padding);
  const int gx2 = graph.add("gx.squared", map_layer(Map::kPower, 2), {gx});
  const int gy2 = graph.add("gy.squared", map_layer(Map::kPower, 2), {gy});
  graph.add("sum", add_layer(), {gx2, gy2});
  graph.append(map_layer(Map::kSquareRoot), "magnitude");
}

const bool sobel_registered = register_model("sobel", build_sobel);

}  // namespace

}  // namespace lockstep
