// Speed of single ops, forward and backward apart, as GFLOP/s and as the share of this
// machine's float32 matrix product (1024 x 1024 x 1024, measured first in the same run).
//
//   OMP_NUM_THREADS=1 lockstep_op_bench --benchmark_filter=lenet
//
// Backward is the whole backward call: weights, bias and, where the layer wants it, src.
#include <benchmark/benchmark.h>
#include <dnnl.hpp>

#include <algorithm>
#include <cstdio>
#include <ctime>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "bench/matrix_peak.h"
#include "kernels/affine.h"
#include "kernels/conv2d.h"
#include "kernels/op.h"

namespace {

using namespace lockstep;

double peak_flops = 0;  // of the sgemm

/// An op with all its tensors, small numbers in every input.
class Bound {
 public:
  Bound(std::unique_ptr<Op> op, const std::vector<Shape>& params, bool wants_diff_src) : op_(std::move(op)) {
    const OpInfo& info = op_->info();
    src_ = tensors(info.src);
    dst_ = tensors(info.dst);
    diff_dst_ = tensors(info.dst);
    diff_src_ = tensors(info.src);
    if (!wants_diff_src) {
      for (Tensor& tensor : diff_src_) tensor.data = nullptr;
    }
    std::vector<TensorDesc> descs;
    for (const Shape& shape : params) descs.push_back({shape});
    params_ = tensors(descs);
    diff_params_ = tensors(descs);
    args_ = {src_, dst_, params_, diff_src_, diff_dst_, diff_params_};
    args_.workspace = buffer(info.workspace_bytes);
    args_.scratchpad = buffer(info.scratchpad_bytes);
    op_->prepare(*stream_, params_);
    forward();
  }
  void prepare() { op_->prepare(*stream_, params_); }
  void forward() { op_->forward(*stream_, args_); }
  void backward() { op_->backward(*stream_, args_); }

 private:
  std::byte* buffer(int64_t n_bytes) { return memory_.emplace_back(Device{}, n_bytes).data(); }
  std::vector<Tensor> tensors(const std::vector<TensorDesc>& descs) {
    std::vector<Tensor> result;
    for (const TensorDesc& desc : descs) {
      Memory& memory = memory_.emplace_back(Device{}, desc.n_bytes());
      if (!desc.layout) {  // blocked ones stay zero, so that their padding does
        for (int64_t i = 0; i < desc.n_elements(); ++i)
          memory.as<float>()[i] = static_cast<float>(i % 17 - 8) / 64;
      }
      result.push_back({memory.data(), desc});
    }
    return result;
  }

  std::unique_ptr<Op> op_;
  std::unique_ptr<Stream> stream_ = make_stream({});
  std::vector<Memory> memory_;
  std::vector<Tensor> src_, dst_, params_, diff_src_, diff_dst_, diff_params_;
  OpArgs args_;
};

struct Case {
  std::string name;
  double forward_flops;
  bool wants_diff_src;
  std::function<std::unique_ptr<Bound>()> bind;
};

Case affine(const std::string& name, int64_t n, int64_t in, int64_t out, Activation activation,
            bool first = false) {
  return {name, 2.0 * static_cast<double>(n * in * out), !first, [=] {
            return std::make_unique<Bound>(make_affine({}, {.src = {Shape{n, in}},
                                                            .out_features = out,
                                                            .activation = activation,
                                                            .wants_diff_src = !first}),
                                           std::vector{Shape{out, in}, Shape{out}}, !first);
          }};
}

Case conv(const std::string& name, const Shape& src, int64_t out, int64_t kernel, int64_t stride,
          int64_t padding, bool first = false, int64_t groups = 1) {
  const Conv2dDesc desc{.src = {src},
                        .out_channels = out,
                        .kernel = {kernel, kernel},
                        .stride = {stride, stride},
                        .padding = {padding, padding, padding, padding},
                        .groups = groups,
                        .activation = Activation::kRelu,
                        .wants_diff_src = !first};
  const Shape weights{out, src[1] / groups, kernel, kernel};
  const int64_t extents = conv_output_extent(src[2], kernel, stride, 1, padding, padding) *
                          conv_output_extent(src[3], kernel, stride, 1, padding, padding);
  return {name, 2.0 * static_cast<double>(src[0] * extents * weights.n_elements()), !first, [=] {
            return std::make_unique<Bound>(make_conv2d({}, desc), std::vector{weights, Shape{out}}, !first);
          }};
}

const std::vector<Case>& all_cases() {
  constexpr int64_t n = 128;
  constexpr Activation relu = Activation::kRelu, none = Activation::kNone;
  static const std::vector<Case> cases = {
      affine("mlp/784x512", n, 784, 512, relu, true),
      affine("mlp/512x512", n, 512, 512, relu),
      affine("mlp/512x10", n, 512, 10, none),
      conv("lenet/conv1_32x32", {n, 1, 32, 32}, 6, 5, 1, 0, true),
      conv("lenet/conv1_28x28_pad2", {n, 1, 28, 28}, 6, 5, 1, 2, true),
      conv("lenet/conv2_14x14", {n, 6, 14, 14}, 16, 5, 1, 0),
      affine("lenet/400x120", n, 400, 120, relu),
      affine("lenet/120x84", n, 120, 84, relu),
      affine("lenet/84x10", n, 84, 10, none),
      conv("resnet18/conv1_32x32", {64, 3, 32, 32}, 64, 3, 1, 1, true),
      conv("resnet18/64x64_32x32", {64, 64, 32, 32}, 64, 3, 1, 1),
      conv("resnet18/128x128_16x16", {64, 128, 16, 16}, 128, 3, 1, 1),
      conv("resnet18/256x256_8x8", {64, 256, 8, 8}, 256, 3, 1, 1),
      conv("resnet18/512x512_4x4", {64, 512, 4, 4}, 512, 3, 1, 1),
      conv("mobilenet/depthwise96_56x56", {16, 96, 56, 56}, 96, 3, 1, 1, false, 96),
  };
  return cases;
}

void report(benchmark::State& state, double flops) {
  const auto rate = benchmark::Counter::kIsIterationInvariantRate;
  state.counters["FLOP/s"] = benchmark::Counter(flops, rate);
  state.counters["share_of_sgemm"] = benchmark::Counter(flops / peak_flops, rate);
}

template <typename Body>
void add_benchmark(const std::string& name, const Body& body) {
  auto* added = benchmark::RegisterBenchmark(name.c_str(), body);
  if (compute_threads() > 1) added->UseRealTime();
}

void register_all() {
  for (const Case& c : all_cases()) {
    add_benchmark(c.name + "/forward", [&c](benchmark::State& state) {
      const auto bound = c.bind();
      for (auto _ : state) bound->forward();
      report(state, c.forward_flops);
    });
    add_benchmark(c.name + "/backward", [&c](benchmark::State& state) {
      const auto bound = c.bind();
      for (auto _ : state) bound->backward();
      report(state, c.forward_flops * (c.wants_diff_src ? 2 : 1));
    });
    add_benchmark(c.name + "/prepare", [&c](benchmark::State& state) {
      const auto bound = c.bind();
      for (auto _ : state) bound->prepare();
    });
  }
}

}  // namespace

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  peak_flops = measure_peak();
  std::printf("%s, %d threads; float32 matrix product 1024^3: %.1f GFLOP/s\n", device_name({}).c_str(),
              compute_threads(), peak_flops * 1e-9);
  register_all();
  benchmark::RunSpecifiedBenchmarks();
}
