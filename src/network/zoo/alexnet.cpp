// AlexNet. The default is torchvision's: one tower (Krizhevsky 2014, "One weird trick") with
// averages of 6x6 before the affine layers. `two_groups` is the network of Krizhevsky et al. 2012:
// wider, the 2nd, 4th and 5th convolution in two groups, local response norm, dropout behind the
// affine layers; 60,965,224 parameters for 1000 classes.
#include <fmt/format.h>

#include <array>

#include "src/network/zoo/parts.h"

namespace lockstep {

namespace {

void build_alexnet(Graph& graph, const Config& options, const ModelContext& context) {
  require_image(graph, options, 63);
  const bool two_groups = options.get_bool("two_groups", false);
  const bool response_norm = options.get_bool("lrn", two_groups);
  const double dropout = read_dropout(options, 0.5);
  const int64_t hidden = options.get_int("hidden", 4096);
  if (hidden < 1)
    throw options.error_at("hidden", fmt::format("must be at least 1, found {}", hidden),
                           "leave it out for 4096");
  const int64_t groups = two_groups ? 2 : 1;
  const std::array<int64_t, 5> channels = two_groups ? std::array<int64_t, 5>{96, 256, 384, 384, 256}
                                                     : std::array<int64_t, 5>{64, 192, 384, 256, 256};
  // Section 3.3: (2 + 1e-4 * sum over 5 channels)^0.75; our alpha is of the mean.
  const LocalResponseNormOptions norm{.size = 5, .alpha = 5e-4, .beta = 0.75, .k = 2};

  const auto relu = [&](const char* name) { graph.append(activation_layer(Activation::kRelu), name); };
  const auto pool = [&](const char* name) {
    graph.append(pool2d_layer(square_pool(Pooling::kMax, 3, 2)), name);
  };
  const auto conv = [&](int64_t k, int64_t kernel, int64_t stride, int64_t padding, int64_t n_groups,
                        const char* name) {
    Conv2dOptions o = square_conv(k, kernel, stride, padding);
    o.groups = n_groups;
    graph.append(conv2d_layer(o), name);
  };
  conv(channels[0], 11, 4, 2, 1, "features.0");
  relu("features.1");
  if (response_norm) graph.append(local_response_norm_layer(norm), "norm1");
  pool("features.2");
  conv(channels[1], 5, 1, 2, groups, "features.3");
  relu("features.4");
  if (response_norm) graph.append(local_response_norm_layer(norm), "norm2");
  pool("features.5");
  conv(channels[2], 3, 1, 1, 1, "features.6");
  relu("features.7");
  conv(channels[3], 3, 1, 1, groups, "features.8");
  relu("features.9");
  conv(channels[4], 3, 1, 1, groups, "features.10");
  relu("features.11");
  pool("features.12");

  const Shape& features = graph.vertex(graph.size() - 1).shape;
  if (features[1] != 6 || features[2] != 6) graph.append(adaptive_average_pool_layer({6, 6}), "avgpool");
  graph.append(flatten_layer());
  if (!two_groups) append_dropout(graph, dropout, "classifier.0");
  graph.append(affine_layer(hidden), "classifier.1");
  relu("classifier.2");
  append_dropout(graph, dropout, "classifier.3");
  graph.append(affine_layer(hidden), "classifier.4");
  relu("classifier.5");
  if (two_groups) append_dropout(graph, dropout, "dropout2");
  graph.append(affine_layer(read_classes(options, context)), "classifier.6");
}

const bool alexnet_registered = register_model("alexnet", build_alexnet, {{3, 224, 224}, 1000});

}  // namespace

}  // namespace lockstep
