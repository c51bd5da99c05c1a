// How fast a network could train if it were nothing but its convolutions and affine layers: each is
// timed alone, without fused activation, in the layouts that its op prefers, its data ready in them.
// Backward is the gradient of weights and bias and, where something before the layer is trained, of
// src. The sum over the layers is the limit in samples/s that all other work can only lower.
//
//   lockstep_conv_limit bench/jobs/resnet18_cifar.yaml [--batch N] [--precision bfloat16] [--json]
#include <fmt/format.h>

#include <algorithm>
#include <boost/program_options.hpp>
#include <ctime>
#include <exception>
#include <iostream>
#include <set>

#include "io/files/metrics.h"
#include "kernels/reshape.h"
#include "src/network/model.h"
#include "src/run/job.h"

namespace {

using namespace lockstep;
namespace po = boost::program_options;

constexpr double kBudgetS = 0.1;  // of repetitions per layer and direction, beyond the first two

/// An op with tensors of its own; random values in the range [-1, 1).
class Bound {
 public:
  Bound(const OpConfig& config, std::unique_ptr<Op> op, const std::vector<ParameterSpec>& specs,
        bool wants_diff_src)
      : config_(config), op_(std::move(op)) {
    const OpInfo& info = op_->info();
    src_ = tensors(info.src);
    dst_ = tensors(info.dst);
    diff_dst_ = tensors(info.dst);
    diff_src_ = wants_diff_src ? tensors(info.src) : std::vector<Tensor>{{nullptr, info.src[0]}};
    std::vector<TensorDesc> params;
    for (const ParameterSpec& spec : specs) params.push_back({spec.shape});
    params_ = tensors(params);
    diff_params_ = tensors(params);
    args_ = {src_, dst_, params_, diff_src_, diff_dst_, diff_params_};
    args_.workspace = buffer(info.workspace_bytes);
    args_.scratchpad = buffer(info.scratchpad_bytes);
    batch_.n_valid = info.src[0].shape[0];
    args_.batch = &batch_;
    op_->prepare(*stream_, params_);
  }
  void forward() { op_->forward(*stream_, args_); }
  void backward() { op_->backward(*stream_, args_); }

 private:
  std::byte* buffer(int64_t n_bytes) { return memory_.emplace_back(Device{}, n_bytes + 64).data(); }
  std::vector<Tensor> tensors(const std::vector<TensorDesc>& descs) {
    std::vector<Tensor> result;
    for (const TensorDesc& desc : descs) result.push_back(random(desc));
    return result;
  }
  /// Written densely and brought into the layout, so that padded channels are zero.
  Tensor random(const TensorDesc& desc) {
    const TensorDesc dense{desc.shape, DType::kFloat32, nullptr};
    std::byte* data = buffer(dense.n_bytes());
    uint32_t state = 1;
    for (int64_t i = 0; i < dense.n_elements(); ++i) {
      state = state * 1664525 + 1013904223;
      reinterpret_cast<float*>(data)[i] = static_cast<float>(static_cast<int32_t>(state)) * 0x1p-31f;
    }
    const Tensor values{data, dense};
    if (desc.same_form(dense)) return values;
    const std::unique_ptr<Op> reorder = make_reorder(config_, dense, desc);
    const Tensor result{buffer(desc.n_bytes()), desc};
    OpArgs args;
    args.src = {&values, 1};
    args.dst = {&result, 1};
    args.batch = &batch_;
    args.scratchpad = buffer(reorder->info().scratchpad_bytes);
    reorder->forward(*stream_, args);
    return result;
  }

  OpConfig config_;
  std::unique_ptr<Op> op_;
  std::unique_ptr<Stream> stream_ = make_stream({});
  std::vector<Memory> memory_;
  BatchContext batch_;
  std::vector<Tensor> src_, dst_, params_, diff_src_, diff_dst_, diff_params_;
  OpArgs args_;
};

/// Processor time, which other programs do not disturb: there is one thread.
double seconds() {
  timespec time;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

/// The least seconds of a call, of at least two after a first one that touches the memory.
template <typename Call>
double least_s(const Call& call) {
  call();
  double least = 1e30, total = 0;
  for (int run = 0; run < 2 || (total < kBudgetS && run < 100); ++run) {
    const double start = seconds();
    call();
    const double took = seconds() - start;
    least = std::min(least, took);
    total += took;
  }
  return least;
}

struct Row {
  std::string name, type;
  double forward_flops = 0, backward_flops = 0, forward_s = 0, backward_s = 0;
};

std::vector<Row> time_layers(const Graph& graph, const OpConfig& config, int64_t batch) {
  static const std::set<std::string> kTypes = {"conv", "conv1d", "affine"};
  std::vector<Row> rows;
  std::vector<bool> trains(graph.size());
  for (int v = 0; v < graph.size(); ++v) {
    const Vertex& vertex = graph.vertex(v);
    if (!vertex.layer) continue;
    const std::vector<Shape> shapes = graph.input_shapes(v);
    const std::vector<ParameterSpec> specs = vertex.layer->parameters(shapes);
    LowerContext context;
    context.config = config;
    context.name = vertex.name;
    context.wants_diff_src =
        std::any_of(vertex.inputs.begin(), vertex.inputs.end(), [&](int i) { return trains[i]; });
    trains[v] = context.wants_diff_src || !specs.empty();
    if (kTypes.count(vertex.layer->type()) == 0) continue;
    context.src = {{shapes[0].with_front(batch), config.compute, nullptr}};
    Bound bound(config, vertex.layer->lower(context), specs, context.wants_diff_src);
    Row row{vertex.name, vertex.layer->type()};
    row.forward_flops = 2.0 * static_cast<double>(batch * vertex.layer->multiply_adds(shapes));
    row.backward_flops = row.forward_flops * (context.wants_diff_src ? 2 : 1);
    row.forward_s = least_s([&] { bound.forward(); });
    row.backward_s = least_s([&] { bound.backward(); });
    rows.push_back(row);
  }
  return rows;
}

void print_table(const std::vector<Row>& rows, const Row& sum, int64_t batch, const std::string& precision) {
  size_t width = 5;
  for (const Row& row : rows) width = std::max(width, row.name.size());
  fmt::print("{:{}} {:8} {:>12} {:>10} {:>12} {:>10}\n", "layer", width, "type", "forward ms", "GFLOP/s",
             "backward ms", "GFLOP/s");
  for (const Row& row : rows) {
    fmt::print("{:{}} {:8} {:12.3f} {:10.1f} {:12.3f} {:10.1f}\n", row.name, width, row.type,
               1e3 * row.forward_s, 1e-9 * row.forward_flops / row.forward_s, 1e3 * row.backward_s,
               1e-9 * row.backward_flops / row.backward_s);
  }
  fmt::print("{:{}} {:8} {:12.3f} {:10.1f} {:12.3f} {:10.1f}\n", "all", width, "", 1e3 * sum.forward_s,
             1e-9 * sum.forward_flops / sum.forward_s, 1e3 * sum.backward_s,
             1e-9 * sum.backward_flops / sum.backward_s);
  fmt::print("\nlimit {:.5g} samples/s: batch {}, {}, {} thread(s), {}\n",
             static_cast<double>(batch) / (sum.forward_s + sum.backward_s), batch, precision,
             compute_threads(), device_name({}));
}

void print_json(const std::vector<Row>& rows, const Row& sum, int64_t batch, const std::string& precision) {
  std::vector<std::string> layers;
  for (const Row& row : rows) {
    JsonObject layer;
    layer.set("name", row.name).set("type", row.type);
    layer.set("forward_ms", 1e3 * row.forward_s).set("backward_ms", 1e3 * row.backward_s);
    layer.set("forward_gflops", 1e-9 * row.forward_flops / row.forward_s);
    layer.set("backward_gflops", 1e-9 * row.backward_flops / row.backward_s);
    layers.push_back(layer.str());
  }
  JsonObject o;
  o.set("batch", batch).set("precision", precision).set("threads", compute_threads());
  o.set("forward_ms", 1e3 * sum.forward_s).set("backward_ms", 1e3 * sum.backward_s);
  o.set("limit_samples_per_s", static_cast<double>(batch) / (sum.forward_s + sum.backward_s));
  o.set_raw("layers", fmt::format("[{}]", fmt::join(layers, ", ")));
  fmt::print("{}\n", o.str());
}

int run(int argc, char** argv) {
  po::options_description options("lockstep_conv_limit JOB.yaml [options]");
  auto add = options.add_options();
  add("help", "show this");
  add("job", po::value<std::string>(), "the job file");
  add("batch", po::value<int64_t>()->default_value(0), "samples at once (default: the job's batch.micro)");
  add("precision", po::value<std::string>(), "float32 or bfloat16 (default: the job's)");
  add("json", "print one JSON object");
  po::positional_options_description positional;
  positional.add("job", 1);
  po::variables_map values;
  po::store(po::command_line_parser(argc, argv).options(options).positional(positional).run(), values);
  if (values.count("help") || !values.count("job")) {
    std::cout << options;
    return values.count("help") ? 0 : 2;
  }
  Config file = Config::from_file(values["job"].as<std::string>());
  if (values.count("precision")) file.set("precision=" + values["precision"].as<std::string>());
  const Job job = read_job(file);
  set_compute_threads(1);
  const int64_t batch = values["batch"].as<int64_t>() > 0 ? values["batch"].as<int64_t>() : job.micro_batch;
  OpConfig config;
  config.compute = job.precision;
  const std::vector<Row> rows = time_layers(build_model(*job.model, {}), config, batch);
  Row sum;
  for (const Row& row : rows) {
    sum.forward_flops += row.forward_flops;
    sum.backward_flops += row.backward_flops;
    sum.forward_s += row.forward_s;
    sum.backward_s += row.backward_s;
  }
  (values.count("json") ? print_json : print_table)(rows, sum, batch, std::string(name_of(job.precision)));
  return 0;
}

}  // namespace

int main(int argc, char** argv) try { return run(argc, argv); } catch (const std::exception& error) {
  fmt::print(stderr, "lockstep_conv_limit: {}\n", error.what());
  return 1;
}
