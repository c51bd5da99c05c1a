// The model zoo against what can be looked up: parameter counts and multiply-adds of the papers and
// of torchvision, its names and shapes tensor by tensor (zoo_names/, written by
// tests/fixtures/torchvision_names.py), the shapes of outputs, and what refuses an input.
#include <fstream>
#include <set>
#include <sstream>

#include "src/network/model.h"
#include "tests/src/expect_error.h"

namespace lockstep {
namespace {

Graph zoo(const std::string& options) {
  return build_model(Config::from_text("{zoo: " + options + "}", "model"), {});
}

Shape output_shape(const std::string& options) {
  const Graph graph = zoo(options);
  return graph.vertex(graph.output()).shape;
}

struct Count {
  const char* model;
  int64_t n_parameters;
};

TEST(Zoo, ParameterCounts) {
  const Count counts[] = {
      // torchvision's, 1000 classes; the network's name is all that is needed
      {"alexnet", 61'100'840},
      {"vgg11", 132'863'336},
      {"vgg11_bn", 132'868'840},
      {"vgg13", 133'047'848},
      {"vgg13_bn", 133'053'736},
      {"vgg16", 138'357'544},
      {"vgg16_bn", 138'365'992},
      {"vgg19", 143'667'240},
      {"vgg19_bn", 143'678'248},
      {"resnet18", 11'689'512},
      {"resnet34", 21'797'672},
      {"resnet50", 25'557'032},
      {"resnet101", 44'549'160},
      {"resnet152", 60'192'808},
      {"mobilenet_v2", 3'504'872},
      {"mobilenet_v2, width: 0.5", 1'968'680},
      {"googlenet", 6'624'904},
      // the papers'
      {"alexnet, two_groups: true", 60'965'224},
      {"googlenet, form: paper", 6'998'552},
      {"mlp, input: [784], hidden: 800, classes: 10", 636'010},
      {"tdnn", 16 * 3 * 8 + 8 + 8 * 5 * 3 + 3},
      // CIFAR forms: counted by hand below
      {"resnet18_cifar", 11'173'962},
      {"resnet20", 269'722},
      {"resnet20, shortcut: projection", 272'474},
      {"resnet110", 1'727'962},
      // small ones
      {"perceptron, input: [4]", 5},
      {"autoencoder, input: [1, 28, 28]", 784 * 128 + 128 + 128 * 32 + 32 + 32 * 128 + 128 + 128 * 784 + 784},
      {"conv_autoencoder, input: [1, 28, 28]",
       1 * 9 * 16 + 16 + 16 * 9 * 32 + 32 + 32 * 9 * 16 + 16 + 16 * 9 * 1 + 1},
  };
  for (const Count& count : counts)
    EXPECT_EQ(zoo(count.model).n_parameters(), count.n_parameters) << count.model;
}

TEST(Zoo, EachStepOfDepthOfCifarNetworksHasThreeMoreBlocks) {
  // One more block of 16, 32 and 64 channels: two 3x3 convolutions and two batch norms each.
  int64_t more = 0;
  for (int64_t c : {16, 32, 64}) more += 2 * (9 * c * c + 2 * c);
  for (int64_t n : {1, 2, 3, 5, 7, 9, 18}) {
    const int64_t depth = 6 * n + 2;
    EXPECT_EQ(zoo("resnet_cifar, depth: " + std::to_string(depth)).n_parameters(), 269'722 + (n - 3) * more)
        << depth;
  }
  EXPECT_EQ(zoo("resnet32").n_parameters(), 269'722 + 2 * more);
  EXPECT_EQ(zoo("resnet44").n_parameters(), 269'722 + 4 * more);
  EXPECT_EQ(zoo("resnet56").n_parameters(), 269'722 + 6 * more);
}

TEST(Zoo, MultiplyAdds) {
  // Papers and torchvision count convolutions and affine layers.
  const std::pair<const char*, double> counts[] = {
      {"alexnet", 0.714e9},  {"vgg16", 15.47e9},     {"vgg19", 19.63e9},        {"resnet18", 1.814e9},
      {"resnet50", 4.089e9}, {"resnet152", 11.51e9}, {"mobilenet_v2", 0.301e9}, {"googlenet", 1.498e9}};
  for (const auto& [model, expected] : counts)
    EXPECT_NEAR(static_cast<double>(zoo(model).multiply_adds()) / expected, 1, 2e-3) << model;
}

TEST(Zoo, NamesAndShapesAreTorchvisions) {
  for (const std::string model :
       {"alexnet", "vgg16", "vgg16_bn", "resnet18", "resnet50", "mobilenet_v2", "googlenet"}) {
    std::ifstream file(LOCKSTEP_SOURCE_DIR "/tests/src/zoo_names/" + model + ".txt");
    std::set<std::string> expected, found;
    for (std::string line; std::getline(file, line);) expected.insert(line);
    ASSERT_GE(expected.size(), 16u) << model;
    const Graph graph = zoo(model);
    for (int v = 0; v < graph.size(); ++v) {
      for (const ParameterSpec& spec : graph.parameters(v)) {
        std::stringstream line;
        line << graph.vertex(v).name << '.' << spec.name;
        for (int64_t extent : spec.shape) line << ' ' << extent;
        EXPECT_TRUE(found.insert(line.str()).second) << model << ": " << line.str() << " twice";
        EXPECT_TRUE(expected.contains(line.str())) << model << ": " << line.str();
      }
    }
    EXPECT_EQ(found.size(), expected.size()) << model;
  }
}

TEST(Zoo, OutputShapes) {
  const std::pair<const char*, Shape> outputs[] = {
      {"resnet50, classes: 7", {7}},
      {"resnet18, input: [1, 20, 33], classes: 5", {5}},
      {"resnet18_cifar, width: 0.25", {10}},
      {"resnet20, width: 2, dropout: 0.1, sync_batch_norm: true", {10}},
      {"mobilenet_v2, input: [3, 32, 32], classes: 10", {10}},
      {"vgg11, input: [3, 32, 32], classes: 10, hidden: 512, dropout: 0", {10}},
      {"vgg16_bn, input: [1, 64, 48], classes: 3", {3}},
      {"alexnet, input: [3, 63, 63], classes: 10", {10}},
      {"alexnet, input: [3, 227, 227], classes: 10, two_groups: true, lrn: false", {10}},
      {"googlenet, input: [3, 31, 32], classes: 10", {10}},
      {"googlenet, input: [3, 47, 47], classes: 10, form: paper", {10}},
      {"tdnn, input: [16, 40], classes: 4, channels: [8, 6], kernel: [3, 5, 1], dilation: [1, 2, 1]", {4}},
      {"autoencoder, input: [3, 5, 7], hidden: [20, 10], code: 2, output_activation: sigmoid", {3, 5, 7}},
      {"autoencoder, input: [30]", {30}},
      {"conv_autoencoder, input: [3, 29, 30], channels: [4, 8, 16]", {3, 29, 30}},
      {"conv_autoencoder, input: [1, 28, 28], code: 10, output_activation: sigmoid", {1, 28, 28}},
      {"unet, input: [3, 32, 48], classes: 5", {5, 32, 48}},
      {"unet, input: [1, 4, 4], classes: 2, depth: 2, channels: 4, dropout: 0.5", {2, 4, 4}},
  };
  for (const auto& [model, shape] : outputs) EXPECT_EQ(output_shape(model), shape) << model;
}

TEST(Zoo, HalvesImagesLikeThePapers) {
  const std::pair<const char*, std::pair<const char*, Shape>> places[] = {
      {"resnet50", {"maxpool", {64, 56, 56}}},
      {"resnet50", {"layer4.2.relu", {2048, 7, 7}}},
      {"resnet56", {"layer3.8.relu", {64, 8, 8}}},
      {"googlenet", {"inception3a", {256, 28, 28}}},
      {"googlenet", {"inception5b", {1024, 7, 7}}},
      {"googlenet, form: paper", {"inception5b", {1024, 7, 7}}},
      {"alexnet", {"features.12", {256, 6, 6}}},
      {"alexnet, two_groups: true", {"norm1", {96, 55, 55}}},
      {"mobilenet_v2", {"features.18.2", {1280, 7, 7}}}};
  for (const auto& [model, place] : places) {
    const Graph graph = zoo(model);
    const int vertex = graph.find(place.first);
    ASSERT_GE(vertex, 0) << model << " has no " << place.first;
    EXPECT_EQ(graph.vertex(vertex).shape, place.second) << model << ' ' << place.first;
  }
}

TEST(Zoo, ShortcutsWithoutParameters) {
  for (const char* model : {"resnet20", "resnet18, shortcut: pad"}) {
    const Graph graph = zoo(model);
    EXPECT_GE(graph.find("layer2.0.shortcut"), 0) << model;
    EXPECT_EQ(graph.find("layer2.0.downsample.0"), -1) << model;
  }
  EXPECT_GE(zoo("resnet20, shortcut: projection").find("layer2.0.downsample.0"), 0);
}

TEST(Zoo, MistakesNameTheRemedy) {
  const auto refuses = [](const std::string& options, const std::vector<std::string>& words) {
    expect_error([&] { zoo(options); }, words);
  };
  refuses("alexnet, input: [3, 32, 32], classes: 10",
          {"the image is too small for alexnet: (3, 32, 32) pixels, at least 63x63", "resnet20"});
  refuses("alexnet, input: [3, 62, 63], classes: 10", {"too small for alexnet"});
  refuses("vgg16, input: [3, 31, 64], classes: 10", {"too small for vgg16", "32x32"});
  refuses("googlenet, input: [3, 28, 28], classes: 10", {"too small for googlenet", "31x31"});
  refuses("googlenet, input: [3, 46, 47], classes: 10, form: paper", {"too small for googlenet", "47x47"});
  refuses("resnet50, input: [784], classes: 10", {"resnet50 needs images (C, H, W)", "(784)"});
  refuses("resnet50, input: [3, 64, 64]", {"number of classes is unknown"});
  refuses("resnet_cifar, depth: 21", {"depth", "21 is not 6n + 2", "20 and 26"});
  refuses("resnet_cifar, depth: 2", {"depth", "8 and 14"});
  refuses("resnet18, shortcut: none", {"shortcut", "projection, pad"});
  refuses("resnet18, widht: 2", {"widht", "did you mean 'width'"});
  refuses("mobilenet_v2, width: 0", {"width", "positive"});
  refuses("vgg11, dropout: 1", {"dropout", "less than 1"});
  refuses("vgg11, hidden: 0", {"hidden", "at least 1"});
  refuses("unet, input: [3, 36, 32], classes: 2", {"unet of depth 3", "divisible by 8", "(3, 36, 32)"});
  refuses("unet, input: [3, 32, 32], classes: 2, depth: 0", {"depth", "from 1 to 8"});
  refuses("tdnn, input: [1, 28, 28], classes: 2", {"tdnn needs sequences (C, T)"});
  refuses("tdnn, kernel: [3]", {"kernel", "1 numbers for 2 layers"});
  refuses("autoencoder, input: [4], code: 0", {"code", "at least 1"});
  refuses("conv_autoencoder, input: [4]", {"needs images"});
}

}  // namespace
}  // namespace lockstep
