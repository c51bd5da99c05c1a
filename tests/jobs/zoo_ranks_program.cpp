// Trains every zoo model for two steps at a small size on the ranks it is started with, in float32
// and bfloat16 (on GPUs also float16), and prints one line each: both losses, and a hash of all weights and
// running averages. zoo_ranks_test compares the lines of 1, 2, 4 and 8 ranks, zoo_cuda_test those of devices.
//
//   mpirun -n P zoo_ranks_program FOLDER [cpu|cuda|onnx] [NAME]
//
// onnx (one rank): writes each trained network, and some of further layers, as an ONNX file into FOLDER, with
// inputs and outputs; the hash is then of the file's structure (scripts/check-onnx).
//
// FOLDER: for the random data, shared by the ranks. NAME: only models whose options hold that text.
#include <fmt/format.h>

#include <array>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <regex>
#include <vector>

#include "comm/agreement.h"
#include "io/convert/convert.h"
#include "io/dataset/synthetic.h"
#include "kernels/random.h"
#include "src/data/data.h"
#include "src/network/loss_place.h"
#include "src/run/job.h"
#include "src/run/run_setup.h"
#include "src/step/replica.h"
#include "tests/jobs/onnx_files.h"

namespace lockstep {
namespace {

struct SmallModel {
  const char* model;  // options of `model`
  const char* loss;
  const char* data = nullptr;  // of sequences: the key `data`, in which @ stands for the folder
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
    {"zoo: char_rnn, hidden: 20, embedding: 8, layers: 2, dropout: 0.3, state: carried",
     "token_cross_entropy", "{train: {path: @/text, window: 7}}"},
    {"zoo: char_lstm, hidden: 20, embedding: 8, layers: 2, dropout: 0.3, state: carried",
     "token_cross_entropy", "{train: {path: @/text, window: 7}}"},
    {"zoo: char_gru, hidden: 20, encoding: one_hot", "token_cross_entropy",
     "{train: {path: @/text, window: {length: 7, stride: 5}}}"},
    {"zoo: sentiment_bilstm, hidden: 12, embedding: 8, layers: 2, dropout: 0.3", "softmax_cross_entropy",
     "{train: @/labelled}"},
    {"zoo: sentiment_bilstm, hidden: 12, embedding: 8, pooling: mean", "softmax_cross_entropy",
     "{train: @/labelled, shuffle: false}"},
    {"zoo: forecaster, hidden: 12, horizon: 2", "l2",
     "{train: {path: @/series, window: {length: 9, stride: 2, horizon: 2}}}"},
    {"zoo: seq2seq, hidden: 12, embedding: 8", "token_cross_entropy", "{train: @/pairs}"},
    {"zoo: seq2seq_attention, hidden: 12, embedding: 8", "token_cross_entropy", "{train: @/pairs}"},
    {"zoo: caption, hidden: 12, embedding: 8, channels: [4, 8], dropout: 0.3", "token_cross_entropy",
     "{train: {inputs: {image: {path: @/images.h5, field: input}, previous: {path: @/pairs, field: target}}, "
     "target: {path: @/pairs, field: target}}, normalize: none}"},
    {"zoo: gpt2, layers: 1, width: 16, heads: 2, positions: 8, dropout: 0.2, tied: false",
     "token_cross_entropy", "{train: {path: @/text, window: 7}}"},
    {"zoo: gpt2_mini, layers: 2, width: 16, heads: 4, positions: 8, dropout: 0.2", "token_cross_entropy",
     "{train: {path: @/text, window: {length: 7, stride: 5}}}"},
    {"zoo: bert, layers: 1, width: 16, heads: 2, positions: 8, dropout: 0.2, padding: 0",
     "token_cross_entropy", "{train: {path: @/text, window: 7}, masking: 0.3}"},
    {"zoo: bert_small, layers: 2, width: 16, heads: 4, positions: 32, dropout: 0.2, norm: pre",
     "token_cross_entropy", "{train: @/labelled, masking: 0.3}"},
    {"zoo: transformer, layers: 2, width: 16, heads: 2, feed_forward: 20, dropout: 0.2",
     "token_cross_entropy", "{train: @/pairs}"},
};

// Layers that no network of the zoo has, for ONNX.
const std::vector<SmallModel> kFurtherLayers = {
    {"layers: [{conv: {channels: 4, kernel: 3, padding: 1, padding_mode: reflect}}, {leaky_relu: 0.1}, "
     "{conv: {channels: 4, kernel: [3, 2], padding: [1, 0, 2, 1], padding_mode: replicate, groups: 2}}, "
     "{elu: 0.5}, "
     "{conv: {channels: 4, kernel: 3, stride: 2, dilation: 2, padding: 2, padding_mode: circular}}, "
     "{prelu: {per_channel: true}}, {average_pool: {kernel: 3, stride: 2, padding: 1, ceil: true, "
     "count_padding: true}}, relu6, flatten, {prelu: {}}, {affine: {features: 5, bias: false}}, softmax, "
     "{scale: 0.5}], input: [2, 17, 16]",
     "l2"},
    {"layers: [{local_conv: {channels: 3, kernel: 3, stride: 2, padding: [1, 0, 1, 2]}}, gelu, "
     "{weighted_pool: {weights: [[1, 2], [2, 4]], stride: 2, ceil: true}}, {weighted_pool: {weights: [[1, "
     "-2]], "
     "stride: 1, normalize: false}}, {local_response_norm: {size: 3}}, {adaptive_average_pool: [2, 3]}, "
     "{gelu: {approximate: tanh}}, {permute: [1, 2, 0]}, {reshape: [6, -1]}, {layer_norm: {affine: false}}, "
     "{power: 2}, {shift: 1}, square_root, log, exp, absolute], input: [2, 15, 13]",
     "l2"},
    {"layers: [{average_pool: {kernel: 3, stride: 2, padding: 1, name: a}}, {max_pool: {kernel: 3, stride: "
     "2, "
     "padding: 1, ceil: true, from: input, name: b}}, {slice: {axis: 1, begin: 0, end: -1, from: b, name: "
     "c}}, "
     "{slice: {axis: 2, begin: 1, from: c, name: d}}, {global_average_pool: {name: e, from: a}}, {multiply: "
     "{from: "
     "[a, e], name: f}}, {broadcast_add: {from: [f, e], name: g}}, {subtract: {from: [g, a], name: h}}, "
     "{exp: {name: "
     "i}}, {divide: {from: [h, i], name: j}}, {concat: {axis: 0, from: [j, a, d]}}, {batch_norm: {affine: "
     "false}}, "
     "{dropout: {p: 0.3, scaling: test}}, {conv_transpose: {channels: 3, kernel: 4, stride: 2, padding: 1, "
     "output_padding: 1}}, {sign: {at_zero: 1}}], input: [3, 12, 12]",
     "l2"},
    {"layers: [{conv1d: {channels: 6, kernel: 3, padding: [2, 0], padding_mode: replicate}}, tanh, "
     "{max_pool1d: {kernel: 2, ceil: true}}, {average_pool1d: {kernel: 3, stride: 1, padding: 1}}, {permute: "
     "[1, 0]}, "
     "{rnn: {hidden: 5, activation: relu}}, {gru: {hidden: 6, reset: before, update: takes, direction: "
     "reversed}}, "
     "{gru: {hidden: 6, direction: bidirectional, layers: 2}}, {lstm: {hidden: 7, form: peepholes}}, "
     "{lstm: {hidden: 5, form: coupled, bias: false}}, reverse_steps, first_step], input: [4, 11]",
     "l2"},
};

/// Texts, pairs, labelled texts and a series of a few lines of unequal lengths, converted as users do.
void make_sequences(const std::filesystem::path& folder, Communicator& world) {
  const RandomStream random(5, RandomPurpose::kSynthetic, 0, 0);
  constexpr int kLines = kGlobal * 3 - 5;  // the last step ends in padding
  check_on_root(world, [&] {
    std::ofstream text(folder / "text.txt"), pairs(folder / "pairs.tsv"), labelled(folder / "labelled.tsv"),
        series(folder / "series.csv");
    uint64_t at = 0;
    const auto draw = [&](uint32_t below) { return random.bits(at++) % below; };
    const auto word = [&] {
      std::string letters;
      for (uint32_t n = 1 + draw(9); n > 0; --n) letters += static_cast<char>('a' + draw(6));
      return letters;
    };
    for (int i = 0; i < 60; ++i) text << word() << ' ';
    series << "value\n";
    for (int i = 0; i < 90; ++i) series << std::sin(0.4 * i) << '\n';
    for (int i = 0; i < kLines; ++i) {
      pairs << word() << '\t' << word() << '\n';
      labelled << (i % 3 == 0 ? "yes" : "no") << '\t' << word();
      for (uint32_t n = draw(7); n > 0; --n) labelled << ' ' << word();
      labelled << '\n';
    }
    write_synthetic_dataset(folder / "images.h5", {3, 16, 16}, {}, 0, kLines, 7);
  });
  const auto into = [&](const char* name) {
    ConvertOptions options;
    options.out = folder / name;
    return options;
  };
  convert_text(world, {{folder / "text.txt"}}, into("text"));
  convert_pairs(world, {folder / "pairs.tsv", ""}, into("pairs"));
  convert_labelled_text(world, {folder / "labelled.tsv"}, into("labelled"));
  convert_series(world, {folder / "series.csv", {}}, into("series"));
}

std::string job_text(const SmallModel& small, const std::string& precision, const std::string& device) {
  return fmt::format(
      "name: zoo\ndevice: {}\nprecision: {}\nmodel: {{{}}}\nloss: {}\nbatch: {{global: {}, micro: {}, "
      "first_bucket_mb: "
      "0.01, "
      "bucket_mb: 0.05}}\noptimizer: {{sgd: {{lr: 0.01, momentum: 0.9}}}}\ntrain: {{steps: 2}}\n",
      device, precision, small.model, small.loss, kGlobal, kMicro);
}

std::string onnx_folder;  // empty: no files are asked for
int n_onnx = 0;

/// Two steps; prints both losses and a hash of the weights.
void step_and_tell(const SmallModel& small, const std::string& precision, const Graph& graph,
                   Replica& replica, DataLoader& loader, Communicator& world) {
  std::array<double, 2> losses{};
  for (int64_t step = 0; step < 2; ++step) losses[step] = replica.step(loader, step, 2).loss;
  const SyncVerdict verdict = replica.compare_weights();  // brings them to the host
  if (!verdict.tensors.empty()) throw Error(small.model, verdict.str());
  if (!onnx_folder.empty()) {
    const std::string stem = fmt::format("network-{:02}", n_onnx++);
    fmt::print("{} structure {}\n", small.model,
               write_onnx_case(onnx_folder, stem, small.model, graph, replica.arena()));
    return;
  }
  uint64_t hash = 0xcbf29ce484222325u;
  for (const Segment& segment : replica.arena().segments()) {
    const auto* words = replica.arena().host().as<const uint32_t>() + segment.offset;
    for (int64_t i = 0; i < segment.n_elements(); ++i) hash = (hash ^ words[i]) * 0x100000001b3u;
  }
  if (world.is_root())
    fmt::print("{} {} loss {} {} weights {:016x}\n", small.model, precision, losses[0], losses[1], hash);
  world.barrier();
}

void train_sequences(const SmallModel& small, const std::string& precision, const std::string& device,
                     const std::filesystem::path& folder, Communicator& world) {
  const std::string data = std::regex_replace(std::string(small.data), std::regex("@"), folder.string());
  const Job job = read_job(
      Config::from_text(job_text(small, precision, device) + "clip: 0.5\ndata: " + data, "zoo_ranks"));
  const RunSetup setup(job, world);
  Replica replica(job, setup.graph, world, {.shorter = setup.shorter});
  DataLoader loader(*setup.data.train, setup.loader_options(job, world.rank(), world.size()), 0);
  step_and_tell(small, precision, setup.graph, replica, loader, world);
}

void train(const SmallModel& small, const std::string& precision, const std::string& device,
           const std::filesystem::path& folder, Communicator& world) {
  if (small.data) return train_sequences(small, precision, device, folder, world);
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
  step_and_tell(small, precision, graph, replica, loader, world);
}

}  // namespace

int run(int argc, char** argv) {
  MpiSession session(&argc, &argv);
  Communicator world = Communicator::world();
  set_compute_threads(1);
  if (argc < 2 || argc > 4) {
    if (world.is_root()) fmt::print(stderr, "usage: zoo_ranks_program FOLDER [cpu|cuda|onnx] [NAME]\n");
    return 2;
  }
  std::string device = argc > 2 ? argv[2] : "cpu";
  const std::string name = argc > 3 ? argv[3] : "";
  std::vector<SmallModel> models = kModels;
  if (device == "onnx") {
    onnx_folder = argv[1];
    device = "cpu";
    models.insert(models.end(), kFurtherLayers.begin(), kFurtherLayers.end());
  }
  try {
    make_sequences(argv[1], world);
    for (const SmallModel& small : models) {
      if (std::string_view(small.model).find(name) == std::string_view::npos) continue;
      for (const char* precision : {"float32", "bfloat16", "float16"}) {
        if (!onnx_folder.empty() && std::string_view(precision) != "float32") continue;
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
