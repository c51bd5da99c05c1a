// GoogLeNet (Szegedy et al. 2015, table 1) without the auxiliary heads. The default is torchvision's
// form: batch norm, 3x3 kernels where the paper has 5x5, a 2x2 last maximum. `form: paper` has biases,
// 5x5 kernels and local response norm; 6,998,552 parameters for 1000 classes.
#include <string>

#include "src/network/zoo/parts.h"

namespace lockstep {

namespace {

struct Inception {  // channels of the branches: 1x1, 3x3 behind 1x1, 5x5 behind 1x1, 1x1 behind maximum
  std::string name;
  int64_t one, three_reduce, three, five_reduce, five, pool;
};

struct Builder {
  Graph& graph;
  bool paper = false;
  BatchNormOptions norm;

  int conv(int src, int64_t channels, int64_t kernel, const std::string& name, int64_t stride = 1) {
    const Conv2dOptions options = square_conv(channels, kernel, stride, kernel / 2);
    if (!paper)
      return add_conv_norm(graph, src, options, norm, {name + ".conv", name + ".bn", name + ".relu"});
    const int last = graph.add(name + ".conv", conv2d_layer(options), {src});
    return graph.add(name + ".relu", activation_layer(Activation::kRelu), {last});
  }

  int pool(int src, int64_t kernel, int64_t stride, int64_t padding, const std::string& name) {
    Pool2dOptions options = square_pool(Pooling::kMax, kernel, stride, padding);
    options.ceil = true;
    return graph.add(name, pool2d_layer(options), {src});
  }

  int response_norm(int src, const std::string& name) {
    return paper ? graph.add(name, local_response_norm_layer(), {src}) : src;
  }

  int inception(int src, const Inception& block) {
    const std::string& name = block.name;
    const int one = conv(src, block.one, 1, name + ".branch1");
    const int three =
        conv(conv(src, block.three_reduce, 1, name + ".branch2.0"), block.three, 3, name + ".branch2.1");
    const int five = conv(conv(src, block.five_reduce, 1, name + ".branch3.0"), block.five, paper ? 5 : 3,
                          name + ".branch3.1");
    const int pooled = conv(pool(src, 3, 1, 1, name + ".branch4.0"), block.pool, 1, name + ".branch4.1");
    return graph.add(name, concat_layer(), {one, three, five, pooled});
  }
};

void build_googlenet(Graph& graph, const Config& options, const ModelContext& context) {
  const bool paper = options.get_choice("form", "torchvision", {"torchvision", "paper"}) == "paper";
  require_image(graph, options, paper ? 47 : 31);  // what the last maximum needs
  const double dropout = read_dropout(options, paper ? 0.4 : 0.2);
  Builder b{graph, paper, paper ? BatchNormOptions{} : read_batch_norm(options, 1e-3)};

  int last = b.pool(b.conv(0, 64, 7, "conv1", 2), 3, 2, 0, "maxpool1");
  last = b.response_norm(last, "norm1");
  last = b.conv(b.conv(last, 64, 1, "conv2"), 192, 3, "conv3");
  last = b.response_norm(last, "norm2");
  last = b.pool(last, 3, 2, 0, "maxpool2");
  last = b.inception(last, {"inception3a", 64, 96, 128, 16, 32, 32});
  last = b.inception(last, {"inception3b", 128, 128, 192, 32, 96, 64});
  last = b.pool(last, 3, 2, 0, "maxpool3");
  last = b.inception(last, {"inception4a", 192, 96, 208, 16, 48, 64});
  last = b.inception(last, {"inception4b", 160, 112, 224, 24, 64, 64});
  last = b.inception(last, {"inception4c", 128, 128, 256, 24, 64, 64});
  last = b.inception(last, {"inception4d", 112, 144, 288, 32, 64, 64});
  last = b.inception(last, {"inception4e", 256, 160, 320, 32, 128, 128});
  last = b.pool(last, paper ? 3 : 2, 2, 0, "maxpool4");
  last = b.inception(last, {"inception5a", 256, 160, 320, 32, 128, 128});
  b.inception(last, {"inception5b", 384, 192, 384, 48, 128, 128});
  append_average_classifier(graph, read_classes(options, context), dropout, "fc");
}

const bool googlenet_registered = register_model("googlenet", build_googlenet, {{3, 224, 224}, 1000});

}  // namespace

}  // namespace lockstep
