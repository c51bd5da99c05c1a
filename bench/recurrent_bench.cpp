// Speed of a training step of recurrent layers alone: packing of weights, forward, backward with all
// gradients, in milliseconds and as the share of this machine's float32 matrix product (1024 x 1024 x 1024,
// measured first in the same run). bench/pytorch/recurrent.py sets PyTorch beside it.
//
//   OMP_NUM_THREADS=1 lockstep_recurrent_bench lstm 64 64 64 256 2 [steps]
//                      cell (rnn_tanh, rnn_relu, lstm, peephole, coupled, gru, gru_before), batch, steps of a
//                      sequence, inputs, hidden units, layers
#include <dnnl.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "bench/matrix_peak.h"
#include "kernels/recurrent.h"

namespace {

using namespace lockstep;

/// Layers one above the other; each reads the y of the one below.
class Network {
 public:
  Network(const RecurrentDesc& first, int64_t n_layers) {
    RecurrentDesc desc = first;
    const int64_t n = desc.src.shape[0], steps = desc.src.shape[1], gates = gates_of(desc.cell) * desc.hidden;
    Tensor src = tensor(desc.src.shape), diff_src = tensor(desc.src.shape);
    for (int64_t i = 0; i < n_layers; ++i) {
      Layer& layer = layers_.emplace_back();
      layer.op = make_recurrent({}, desc);
      layer.src = {src};
      layer.diff_src = {diff_src};
      std::vector<Shape> params{Shape{gates, desc.src.shape[2]}, Shape{gates, desc.hidden}, Shape{gates},
                                Shape{gates}};
      if (desc.cell == RecurrentCell::kLstmPeephole) params.push_back(Shape{3 * desc.hidden});
      for (const Shape& shape : params) {
        layer.params.push_back(tensor(shape));
        layer.diff_params.push_back(tensor(shape));
      }
      for (const TensorDesc& dst : layer.op->info().dst) {
        layer.dst.push_back(tensor(dst.shape));
        layer.diff_dst.push_back(layer.dst.size() == 1 ? tensor(dst.shape) : Tensor{nullptr, dst});
      }
      src = layer.dst[0];
      diff_src = layer.diff_dst[0];
      layer.args = {layer.src, layer.dst, layer.params, layer.diff_src, layer.diff_dst, layer.diff_params};
      layer.args.workspace = memory_.emplace_back(Device{}, layer.op->info().workspace_bytes).data();
      layer.args.scratchpad = memory_.emplace_back(Device{}, layer.op->info().scratchpad_bytes).data();
      layer.args.batch = &batch_;
      flops_ += 3 * 2.0 * static_cast<double>(n * steps * gates * (desc.src.shape[2] + desc.hidden));
      desc.src = {Shape{n, steps, desc.hidden}};
    }
    batch_.n_valid = n;
  }
  void step() {
    for (Layer& layer : layers_) {
      layer.op->prepare(*stream_, layer.params);
      layer.op->forward(*stream_, layer.args);
    }
    for (auto layer = layers_.rbegin(); layer != layers_.rend(); ++layer)
      layer->op->backward(*stream_, layer->args);
  }
  void parts() {
    for (Layer& layer : layers_) {
      double at[4] = {now_s()};
      layer.op->prepare(*stream_, layer.params);
      at[1] = now_s();
      layer.op->forward(*stream_, layer.args);
      at[2] = now_s();
      layer.op->backward(*stream_, layer.args);
      at[3] = now_s();
      std::printf("  prepare %.3f ms, forward %.3f ms, backward %.3f ms\n", (at[1] - at[0]) * 1e3,
                  (at[2] - at[1]) * 1e3, (at[3] - at[2]) * 1e3);
    }
  }
  double flops() const { return flops_; }

 private:
  struct Layer {
    std::unique_ptr<Op> op;
    std::vector<Tensor> src, dst, params, diff_src, diff_dst, diff_params;
    OpArgs args;
  };
  Tensor tensor(const Shape& shape) {
    Memory& memory = memory_.emplace_back(Device{}, shape.n_elements() * 4);
    for (int64_t i = 0; i < shape.n_elements(); ++i)
      memory.as<float>()[i] = 0.05f * (static_cast<float>(std::rand() % 2001) / 1000 - 1);
    return {memory.data(), {shape}};
  }

  std::vector<Memory> memory_;
  std::vector<Layer> layers_;
  BatchContext batch_;
  std::unique_ptr<Stream> stream_ = make_stream({});
  double flops_ = 0;
};

}  // namespace

int main(int argc, char** argv) {
  const std::map<std::string, RecurrentCell> cells = {
      {"rnn_tanh", RecurrentCell::kRnnTanh},    {"rnn_relu", RecurrentCell::kRnnRelu},
      {"lstm", RecurrentCell::kLstm},           {"peephole", RecurrentCell::kLstmPeephole},
      {"coupled", RecurrentCell::kLstmCoupled}, {"gru", RecurrentCell::kGru},
      {"gru_before", RecurrentCell::kGru}};
  if (argc < 7 || !cells.contains(argv[1])) {
    std::fprintf(stderr, "usage: %s CELL BATCH STEPS INPUTS HIDDEN LAYERS [REPEATS]\n", argv[0]);
    return 2;
  }
  const auto number = [&](int i) { return static_cast<int64_t>(std::atoll(argv[i])); };
  RecurrentDesc desc{.src = {Shape{number(2), number(3), number(4)}}};
  desc.cell = cells.at(argv[1]);
  desc.hidden = number(5);
  desc.reset_after = std::string(argv[1]) != "gru_before";
  Network network(desc, number(6));
  const double peak = measure_peak();
  network.step();
  std::vector<double> times_s;
  const int64_t repeats = argc > 7 ? number(7) : 20;
  for (int64_t i = 0; i < repeats; ++i) {
    const double begin_s = now_s();
    network.step();
    times_s.push_back(now_s() - begin_s);
  }
  std::sort(times_s.begin(), times_s.end());
  const double median_s = times_s[times_s.size() / 2];
  std::printf("ms %.4f GFLOP/s %.2f limit %.2f share %.3f\n", median_s * 1e3,
              network.flops() / median_s * 1e-9, peak * 1e-9, network.flops() / median_s / peak);
  network.parts();
}
