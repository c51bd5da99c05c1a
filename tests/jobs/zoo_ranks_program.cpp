// Trains every zoo model for two steps at a small size on the ranks it is started with, in float32
// and bfloat16 (on GPUs also float16), and prints one line each: both losses, and a hash of all weights and
// running averages. zoo_ranks_test compares the lines of 1, 2, 4 and 8 ranks, zoo_cuda_test those of devices.
//
//   mpirun -n P zoo_ranks_program FOLDER [cpu|cuda] [NAME]
//
// FOLDER: for the random data, shared by the ranks. NAME: only models whose options hold that text.
#include <fmt/format.h>

#include <array>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <vector>

#include "comm/agreement.h"
#include "io/dataset/synthetic.h"
#include "src/data/data.h"
#include "src/network/loss_place.h"
#include "src/run/job.h"
#include "src/step/replica.h"

namespace lockstep {
namespace {

struct SmallModel {
  const char* model;  // options of `model`
  const char* loss;
};
constexpr int64_t kMicro = 2, kGlobal = 8 * kMicro;

// Every name of the zoo stands here: zoo_ranks_test checks that against the registry.
const std::vector<SmallModel> kModels = {
    {"zoo: perceptron, input: [6]", "perceptron"},
    {"zoo: linear, input: [6], outputs: 2", "l2"},
    {"zoo: logistic, input: [6], classes: 3", "softmax_cross_entropy"},
    {"zoo: mlp, input: [20], hidden: [33, 17], classes: 5, dropout: 0.3", "softmax_cross_entropy"},
    {"zoo: lenet5, input: [1, 28, 28], classes: 10", "softmax_cross_entropy"},
    {"zoo: alexnet, input: [3, 63, 63], hidden: 24, classes: 10", "softmax_cross_entropy"},
    {"zoo: alexnet, two_groups: true, input: [3, 67, 67], hidden: 24, classes: 10", "softmax_cross_entropy"},
    {"zoo: vgg11, input: [3, 32, 32], width: 0.125, hidden: 24, classes: 10", "softmax_cross_entropy"},
    {"zoo: vgg13, input: [3, 32, 32], width: 0.125, hidden: 24, classes: 10", "softmax_cross_entropy"},
    {"zoo: vgg16, input: [3, 32, 32], width: 0.125, hidden: 24, classes: 10", "softmax_cross_entropy"},
    {"zoo: vgg19, input: [3, 32, 32], width: 0.125, hidden: 24, classes: 10", "softmax_cross_entropy"},
    {"zoo: vgg11_bn, input: [3, 32, 32], width: 0.125, hidden: 24, classes: 10", "softmax_cross_entropy"},
    {"zoo: vgg13_bn, input: [3, 32, 32], width: 0.125, hidden: 24, classes: 10", "softmax_cross_entropy"},
    {"zoo: vgg16_bn, input: [3, 32, 32], width: 0.125, hidden: 24, classes: 10", "softmax_cross_entropy"},
    {"zoo: vgg19_bn, input: [3, 32, 32], width: 0.125, hidden: 24, classes: 10", "softmax_cross_entropy"},
    {"zoo: resnet18, input: [3, 32, 32], width: 0.125, classes: 10", "softmax_cross_entropy"},
    {"zoo: resnet34, input: [3, 32, 32], width: 0.125, classes: 10", "softmax_cross_entropy"},
    {"zoo: resnet50, input: [3, 32, 32], width: 0.125, classes: 10", "softmax_cross_entropy"},
    {"zoo: resnet101, input: [3, 32, 32], width: 0.125, classes: 10", "softmax_cross_entropy"},
    {"zoo: resnet152, input: [3, 32, 32], width: 0.125, classes: 10", "softmax_cross_entropy"},
    {"zoo: resnet18, input: [3, 32, 32], width: 0.125, classes: 10, sync_batch_norm: true, recompute: "
     "[layer2, layer3]",
     "softmax_cross_entropy"},
    {"zoo: resnet18_cifar, input: [3, 16, 16], width: 0.5, classes: 10", "softmax_cross_entropy"},
    {"zoo: resnet20, input: [3, 16, 16], width: 0.5, classes: 10", "softmax_cross_entropy"},
    {"zoo: resnet32, input: [3, 16, 16], width: 0.5, classes: 10", "softmax_cross_entropy"},
    {"zoo: resnet44, input: [3, 16, 16], width: 0.5, classes: 10", "softmax_cross_entropy"},
    {"zoo: resnet56, input: [3, 16, 16], width: 0.5, classes: 10", "softmax_cross_entropy"},
    {"zoo: resnet110, input: [3, 16, 16], width: 0.5, classes: 10", "softmax_cross_entropy"},
    {"zoo: resnet_cifar, input: [3, 16, 16], width: 0.5, classes: 10", "softmax_cross_entropy"},
    {"zoo: mobilenet_v2, input: [3, 32, 32], width: 0.25, classes: 10", "softmax_cross_entropy"},
    {"zoo: googlenet, input: [3, 64, 64], classes: 10", "softmax_cross_entropy"},
    {"zoo: tdnn, input: [16, 15], classes: 3", "softmax_cross_entropy"},
    {"zoo: autoencoder, input: [1, 8, 8], hidden: [20], code: 5", "{l2: {target: input}}"},
    {"zoo: conv_autoencoder, input: [1, 16, 16], channels: [8, 16]", "{l2: {target: input}}"},
    {"zoo: unet, input: [3, 16, 16], depth: 2, channels: 8, classes: 3", "softmax_cross_entropy"},
    {"zoo: sobel, input: [1, 8, 8]", "l2"},
};

std::string job_text(const SmallModel& small, const std::string& precision, const std::string& device) {
  return fmt::format(
      "name: zoo\ndevice: {}\nprecision: {}\nmodel: {{{}}}\nloss: {}\nbatch: {{global: {}, micro: {}, "
      "first_bucket_mb: "
      "0.01, "
      "bucket_mb: 0.05}}\noptimizer: {{sgd: {{lr: 0.01, momentum: 0.9}}}}\ntrain: {{steps: 2}}\n",
      device, precision, small.model, small.loss, kGlobal, kMicro);
}

void train(const SmallModel& small, const std::string& precision, const std::string& device,
           const std::filesystem::path& folder, Communicator& world) {
  Job job = read_job(Config::from_text(job_text(small, precision, device), "zoo_ranks"));
  const Graph graph = build_graph(job, {});
  const std::filesystem::path data = folder / "data.h5";
  check_on_root(world, [&] {
    const Shape output = graph.vertex(loss_vertex(graph, job.loss)).shape;
    const bool has_target = count_targets(graph, job.losses()) > 0;
    // The second step ends in padding.
    write_synthetic_dataset(data, graph.vertex(0).shape, has_target ? job.loss.target_shape(output) : Shape{},
                            job.loss.is_classification() ? job.loss.n_classes(output) : 0, kGlobal * 2 - 3,
                            7);
  });
  job.train = DataSource{data, "input", "target", {}};
  job.normalize = Job::Normalize::kNone;
  const JobData opened = open_data(job);
  Replica replica(job, graph, world);
  DataLoader loader(*opened.train,
                    make_loader_options(job, *opened.train, opened.train_fields, graph, true, {},
                                        world.rank(), world.size()),
                    0);
  std::array<double, 2> losses{};
  for (int64_t step = 0; step < 2; ++step) losses[step] = replica.step(loader, step, 2).loss;
  const SyncVerdict verdict = replica.compare_weights();  // brings them to the host
  if (!verdict.tensors.empty()) throw Error(small.model, verdict.str());
  uint64_t hash = 0xcbf29ce484222325u;
  for (const Segment& segment : replica.arena().segments()) {
    const auto* words = replica.arena().host().as<const uint32_t>() + segment.offset;
    for (int64_t i = 0; i < segment.n_elements(); ++i) hash = (hash ^ words[i]) * 0x100000001b3u;
  }
  if (world.is_root())
    fmt::print("{} {} loss {} {} weights {:016x}\n", small.model, precision, losses[0], losses[1], hash);
  world.barrier();
}

}  // namespace

int run(int argc, char** argv) {
  MpiSession session(&argc, &argv);
  Communicator world = Communicator::world();
  set_compute_threads(1);
  if (argc < 2 || argc > 4) {
    if (world.is_root()) fmt::print(stderr, "usage: zoo_ranks_program FOLDER [cpu|cuda] [NAME]\n");
    return 2;
  }
  const std::string device = argc > 2 ? argv[2] : "cpu", name = argc > 3 ? argv[3] : "";
  try {
    for (const SmallModel& small : kModels) {
      if (std::string_view(small.model).find(name) == std::string_view::npos) continue;
      for (const char* precision : {"float32", "bfloat16", "float16"}) {
        if (device == "cuda" || std::string_view(precision) != "float16")
          train(small, precision, device, argv[1], world);
      }
    }
  } catch (const std::exception& e) {
    abort_all(fmt::format("rank {}: {}", world.rank(), e.what()), 1);
  }
  return 0;
}

}  // namespace lockstep

int main(int argc, char** argv) { return lockstep::run(argc, argv); }
