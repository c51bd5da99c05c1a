// Own GPU kernels that are bound by memory: GB/s of the bytes that a call must move, and their share of
// what a copy within the device's memory moves in the same run.
//
//   lockstep_gpu_bandwidth [--filter adam] [--json]
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <boost/program_options.hpp>
#include <exception>
#include <iostream>
#include <string>
#include <vector>

#include "bench/gpu_bench.h"
#include "kernels/activation.h"
#include "kernels/batch_norm.h"
#include "kernels/cuda/layouts.h"
#include "kernels/dropout.h"
#include "kernels/elementwise.h"
#include "kernels/layer_norm.h"
#include "kernels/loss.h"
#include "kernels/optimizer_update.h"
#include "kernels/reshape.h"
#include "kernels/sum.h"

namespace {

using namespace lockstep;
using namespace lockstep::bench;
namespace po = boost::program_options;

void add_copy(Bench& bench, const Options& options) {
  Stream& stream = bench.stream();
  const int64_t n_bytes = (int64_t{256} << 20) / options.divide;
  bench.add("copy", 2.0 * static_cast<double>(n_bytes), [&stream, n_bytes](Buffers& b) {
    std::byte *from = b.random(DType::kFloat32, n_bytes), *to = b.bytes(n_bytes);
    return [&stream, n_bytes, from, to] { copy(stream, to, from, n_bytes); };
  });
}

/// Over the parameters of a large and of a small network.
void add_vectors(Bench& bench, const Options& options) {
  Stream& s = bench.stream();
  for (const auto& [label, elements] : {std::pair{"64M", int64_t{1} << 26}, {"1M", int64_t{1} << 20}}) {
    const int64_t n = elements / options.divide;
    const std::string suffix = std::string("/") + label;
    const auto bytes = [n](int arrays) { return 4.0 * arrays * static_cast<double>(n); };
    bench.add("fill" + suffix, bytes(1), [&, n](Buffers& b) {
      float* dst = b.floats(n);
      return [&s, n, dst] { fill(s, n, 1.0f, dst); };
    });
    bench.add("add" + suffix, bytes(3), [&, n](Buffers& b) {
      float *x = b.floats(n), *y = b.floats(n);
      return [&s, n, x, y] { add(s, n, x, y, x); };
    });
    bench.add("add_chain4" + suffix, bytes(6), [&, n](Buffers& b) {
      std::vector<const float*> partials;
      for (int i = 0; i < 4; ++i) partials.push_back(b.floats(n));
      float* last = b.floats(n);
      return [&s, n, partials, last] { add_chain(s, n, partials, last, last); };
    });
    bench.add("sgd_momentum" + suffix, bytes(5), [&, n](Buffers& b) {
      float *grad = b.floats(n), *weights = b.floats(n), *velocity = b.floats(n);
      auto whole = std::make_shared<UpdateRanges>(s.device(), std::vector<UpdateRange>{{0, n}});
      return [&s, whole, grad, weights, velocity] {
        sgd_update(s, {.lr = 1e-3f, .momentum = 0.9f}, *whole, grad, weights, velocity);
      };
    });
    bench.add("adam" + suffix, bytes(7), [&, n](Buffers& b) {
      float *grad = b.floats(n), *weights = b.floats(n), *m = b.floats(n), *v = b.floats(n);
      auto whole = std::make_shared<UpdateRanges>(s.device(), std::vector<UpdateRange>{{0, n}});
      return [&s, whole, grad, weights, m, v] { adam_update(s, {}, *whole, grad, weights, m, v); };
    });
  }
}

/// Activations of ResNet-50's first stage and of a transformer's width, a class score per row.
void add_ops(Bench& bench, const Options& options) {
  const auto rows = [&](int64_t n) { return std::max<int64_t>(n / options.divide, 1); };
  const int64_t side = std::clamp<int64_t>(56 * 64 / options.divide, 7, 56);
  const Shape images{rows(64), 256, side, side};
  const auto nhwc = [&](DType dtype) { return cuda::channels_last({images, dtype, nullptr}); };
  for (const DType dtype : {DType::kFloat32, DType::kBFloat16}) {
    const std::string type = "/" + std::string(name_of(dtype));
    bench.add_op(
        "relu" + type, [&](const OpConfig& c) { return make_activation(c, {nhwc(dtype)}); }, dtype);
    bench.add_op(
        "sum_relu" + type,
        [&](const OpConfig& c) {
          return make_sum(c, {{nhwc(dtype), nhwc(dtype)}, Activation::kRelu});
        },
        dtype);
    bench.add_op(
        "reorder_to_nhwc" + type,
        [&](const OpConfig& c) {
          return make_reorder(c, {images, dtype, nullptr}, nhwc(dtype));
        },
        dtype);
  }
  const DType half = DType::kBFloat16;
  const std::vector<Shape> of_channels(4, Shape{256});
  for (const Activation activation : {Activation::kNone, Activation::kRelu}) {
    const std::string name =
        activation == Activation::kRelu ? "batch_norm_relu/bfloat16" : "batch_norm/bfloat16";
    bench.add_op(
        name,
        [&](const OpConfig& c) { return make_batch_norm(c, {.src = nhwc(half), .activation = activation}); },
        half, of_channels, 2);
  }
  bench.add_op(
      "dropout/bfloat16",
      [&](const OpConfig& c) {
        return make_dropout(c, {.src = {Shape{rows(32768), 1024}, half, nullptr}});
      },
      half);
  bench.add_op("layer_norm/bfloat16",
               [&](const OpConfig& c) {
                 return make_layer_norm(c, {.src = {Shape{rows(32768), 1024}, half, nullptr}});
               },
               half, {Shape{1024}, Shape{1024}});
  for (const int64_t classes : {1000, 50257}) {
    const Shape scores{rows(int64_t{1} << (classes == 1000 ? 15 : 11)), classes};
    bench.add_op(
        fmt::format("softmax_cross_entropy/{}", classes),
        [&](const OpConfig& c) { return make_softmax_cross_entropy(c, {.prediction = {scores}}); },
        DType::kFloat32);
  }
}

void print_json(const std::vector<Row>& rows, const std::string& device, double limit,
                const Row& copied_again) {
  std::vector<std::string> cases;
  for (const Row& row : rows) {
    if (row.error.empty())
      cases.push_back(fmt::format(
          R"({{"name": "{}", "n_bytes": {:.0f}, "time_us": {:.3f}, "gb_per_s": {:.2f}, "share_of_copy": {:.4f}, "recorded": {}}})",
          row.name, row.n_bytes, 1e6 * row.time_s, 1e-9 * row.bandwidth(), row.bandwidth() / limit,
          row.recorded));
    else
      cases.push_back(fmt::format(R"({{"name": "{}", "error": "{}"}})", row.name, row.error));
  }
  fmt::print(
      "{{\"device\": \"{}\", \"copy_gb_per_s\": {:.2f}, \"copy_again_gb_per_s\": {:.2f}, \"cases\": [{}]}}\n",
      device, 1e-9 * limit, 1e-9 * copied_again.bandwidth(), fmt::join(cases, ", "));
}

void print_table(const std::vector<Row>& rows, const std::string& device, double limit,
                 const Row& copied_again) {
  fmt::print("{}; a copy reads and writes {:.1f} GB/s, {:.1f} at the end\n\n", device, 1e-9 * limit,
             1e-9 * copied_again.bandwidth());
  fmt::print("{:36} {:>10} {:>12} {:>10} {:>14}\n", "kernel", "MB moved", "us", "GB/s", "share of copy");
  for (const Row& row : rows) {
    if (row.error.empty())
      fmt::print("{:36} {:10.1f} {:12.2f} {:10.1f} {:13.0f}%{}\n", row.name, 1e-6 * row.n_bytes,
                 1e6 * row.time_s, 1e-9 * row.bandwidth(), 100 * row.bandwidth() / limit,
                 row.recorded ? "" : "  not recorded");
    else
      fmt::print("{:36} {}\n", row.name, row.error);
  }
}

int run(int argc, char** argv) {
  po::options_description description("lockstep_gpu_bandwidth [options]");
  auto option = description.add_options();
  option("help", "show this");
  option("filter", po::value<std::string>()->default_value(""), "only kernels whose name contains this");
  option("divide", po::value<int64_t>()->default_value(1),
         "sizes divided by this: for small GPUs, and for tests");
  option("round-ms", po::value<double>()->default_value(30), "least time between two looks at the clock");
  option("json", "print one JSON object");
  po::variables_map values;
  po::store(po::parse_command_line(argc, argv, description), values);
  if (values.count("help")) {
    std::cout << description;
    return 0;
  }
  Options options;
  options.filter = values["filter"].as<std::string>();
  options.divide = std::max<int64_t>(values["divide"].as<int64_t>(), 1);
  options.round_s = 1e-3 * values["round-ms"].as<double>();
  if (cuda_device_count() == 0)
    throw Error("lockstep_gpu_bandwidth", "this machine has no usable CUDA device",
                "see what nvidia-smi shows");

  Bench bench(options), last(options);
  add_copy(bench, options);
  if (!bench.rows()[0].error.empty()) throw Error("copy", bench.rows()[0].error);
  add_vectors(bench, options);
  add_ops(bench, options);
  add_copy(last, options);
  const bool json = values.count("json") > 0;
  (json ? print_json : print_table)(bench.rows(), device_name(options.device), bench.rows()[0].bandwidth(),
                                    last.rows()[0]);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return run(argc, argv);
  } catch (const std::exception& error) {
    std::cerr << "lockstep_gpu_bandwidth: " << error.what() << "\n";
    return 1;
  }
}
