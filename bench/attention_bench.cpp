// Speed of attention alone, forward and backward with all gradients, in milliseconds and as the share of this
// machine's float32 matrix product (1024 x 1024 x 1024, measured first in the same run); and of softmax
// cross-entropy over a large vocabulary, as the share of a copy of as many bytes. bench/pytorch/attention.py
// sets PyTorch beside both.
//
//   OMP_NUM_THREADS=1 lockstep_attention_bench causal 16 128 256 8 [repeats]
//                      causal or full; batch, steps of a sequence, features, heads
//   OMP_NUM_THREADS=1 lockstep_attention_bench cross_entropy 2048 50257 [repeats]
//                      rows, classes
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "bench/matrix_peak.h"
#include "kernels/attention.h"
#include "kernels/loss.h"

namespace {

using namespace lockstep;

/// An op with its tensors, all float32 but given otherwise.
class Bound {
 public:
  explicit Bound(std::unique_ptr<Op> op) : op_(std::move(op)) {
    const OpInfo& info = op_->info();
    for (const TensorDesc& desc : info.src) {
      src_.push_back(tensor(desc));
      const bool has_gradient = desc.dtype == DType::kFloat32;
      diff_src_.push_back(has_gradient ? tensor(desc) : Tensor{nullptr, desc});
    }
    for (const TensorDesc& desc : info.dst) {
      dst_.push_back(tensor(desc));
      diff_dst_.push_back(tensor(desc));
    }
    batch_.n_valid = info.src[0].shape[0];
    args_ = {src_, dst_, {}, diff_src_, diff_dst_, {}};
    args_.workspace = memory_.emplace_back(Device{}, info.workspace_bytes).data();
    args_.scratchpad = memory_.emplace_back(Device{}, info.scratchpad_bytes).data();
    args_.batch = &batch_;
  }
  void forward() { op_->forward(*stream_, args_); }
  void backward() { op_->backward(*stream_, args_); }

 private:
  Tensor tensor(const TensorDesc& desc) {
    const Memory& memory = memory_.emplace_back(Device{}, desc.n_bytes());
    if (desc.dtype == DType::kFloat32)
      for (int64_t i = 0; i < desc.n_elements(); ++i)
        memory.as<float>()[i] = static_cast<float>(std::rand() % 2001) / 500 - 2;
    else if (desc.dtype == DType::kInt64)
      for (int64_t i = 0; i < desc.n_elements(); ++i) memory.as<int64_t>()[i] = std::rand() % 1000;
    return {memory.data(), desc};
  }

  std::unique_ptr<Op> op_;
  std::vector<Memory> memory_;
  std::vector<Tensor> src_, dst_, diff_src_, diff_dst_;
  BatchContext batch_;
  OpArgs args_;
  std::unique_ptr<Stream> stream_ = make_stream({});
};

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

struct Times {
  double forward_s, backward_s;
  double sum_s() const { return forward_s + backward_s; }
};
Times measure(Bound& bound, int64_t repeats) {
  std::vector<double> forward_s, backward_s;
  for (int64_t i = 0; i <= repeats; ++i) {
    const double begin_s = now_s();
    bound.forward();
    const double between_s = now_s();
    bound.backward();
    if (i == 0) continue;  // the first call touches its memory
    forward_s.push_back(between_s - begin_s);
    backward_s.push_back(now_s() - between_s);
  }
  return {median(forward_s), median(backward_s)};
}

void attention(bool causal, int64_t n, int64_t steps, int64_t features, int64_t heads, int64_t repeats) {
  AttentionDesc desc;
  desc.query = {Shape{n, steps, 3 * features}};
  desc.packed = true;
  desc.heads = heads;
  desc.causal = causal;
  Bound bound(make_attention({}, desc));
  const double peak = measure_peak();
  const Times times = measure(bound, repeats);
  // Two products of queries and keys forward, five backward; a causal mask leaves out about half of them.
  const double pairs =
      static_cast<double>(n * steps) * static_cast<double>(causal ? steps + 1 : 2 * steps) / 2;
  const double flops = 7 * 2 * pairs * static_cast<double>(features);
  std::printf("ms %.4f GFLOP/s %.2f limit %.2f share %.3f\n", times.sum_s() * 1e3,
              flops / times.sum_s() * 1e-9, peak * 1e-9, flops / times.sum_s() / peak);
  std::printf("  forward %.3f ms, backward %.3f ms\n", times.forward_s * 1e3, times.backward_s * 1e3);
}

/// Bytes per second, read and written, of copying n_bytes: the best of several.
double copy_bandwidth(int64_t n_bytes) {
  const Memory from({}, n_bytes), to({}, n_bytes);
  double best_s = 1e9;
  for (int round = 0; round < 6; ++round) {
    const double begin_s = now_s();
    std::memcpy(to.data(), from.data(), static_cast<size_t>(n_bytes));
    best_s = std::min(best_s, now_s() - begin_s);
  }
  return 2.0 * static_cast<double>(n_bytes) / best_s;
}

void cross_entropy(int64_t rows, int64_t classes, int64_t repeats) {
  Bound bound(make_softmax_cross_entropy({}, {.prediction = {Shape{rows, classes}}}));
  const int64_t n_bytes = rows * classes * 4;
  const double peak = copy_bandwidth(n_bytes);
  const Times times = measure(bound, repeats);
  const double moved = 3.0 * static_cast<double>(n_bytes);  // read forward; read and written backward
  std::printf("ms %.4f GB/s %.2f limit %.2f share %.3f\n", times.sum_s() * 1e3, moved / times.sum_s() * 1e-9,
              peak * 1e-9, moved / times.sum_s() / peak);
  std::printf("  forward %.3f ms, backward %.3f ms\n", times.forward_s * 1e3, times.backward_s * 1e3);
}

}  // namespace

int main(int argc, char** argv) {
  const auto number = [&](int i, int64_t otherwise) { return argc > i ? std::atoll(argv[i]) : otherwise; };
  const std::string what = argc > 1 ? argv[1] : "";
  if (what == "cross_entropy" && argc > 3) {
    cross_entropy(number(2, 0), number(3, 0), number(4, 5));
  } else if ((what == "causal" || what == "full") && argc > 5) {
    attention(what == "causal", number(2, 0), number(3, 0), number(4, 0), number(5, 0), number(6, 20));
  } else {
    std::fprintf(
        stderr,
        "usage: %s causal|full BATCH STEPS FEATURES HEADS [REPEATS]\n       %s cross_entropy ROWS CLASSES "
        "[REPEATS]\n",
        argv[0], argv[0]);
    return 2;
  }
}
