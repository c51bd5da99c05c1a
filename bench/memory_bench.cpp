// Speed of the kernels that are bound by memory: GB/s of the bytes a call must read and write
// at least, and their share of a memcpy that moves as many bytes, measured just before each case.
//
//   OMP_NUM_THREADS=1 lockstep_memory_bench --benchmark_filter=adam
//
// Cases of some MiB live in a cache, those of "16M" elements in memory.
#include <benchmark/benchmark.h>
#include <time.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "kernels/concat.h"
#include "kernels/cpu/channel_blocks.h"
#include "kernels/cpu/onednn.h"
#include "kernels/elementwise.h"
#include "kernels/loss.h"
#include "kernels/op.h"
#include "kernels/optimizer_update.h"
#include "kernels/permute.h"
#include "kernels/pool2d.h"
#include "kernels/sum.h"

namespace {

using namespace lockstep;

/// Seconds now: with one thread those that it computed, which other programs on the machine
/// lengthen less than the clock on the wall.
double now_s() {
  timespec time;
  clock_gettime(compute_threads() == 1 ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

double seconds_of(const std::function<void()>& call) {
  const double begin = now_s();
  call();
  return now_s() - begin;
}

/// Bytes per second (read + written) of copying n_bytes / 2: the best of several rounds.
double copy_bandwidth(int64_t n_bytes) {
  const int64_t half = std::max<int64_t>(64, n_bytes / 2);
  const Memory from({}, half), to({}, half);
  const int inner = static_cast<int>(std::clamp<int64_t>((8 << 20) / half, 1, 1000));
  double best_s = 1e9;
  for (int round = 0; round < 15; ++round)
    best_s = std::min(best_s, seconds_of([&] {
                                for (int i = 0; i < inner; ++i) {
                                  std::memcpy(to.data(), from.data(), static_cast<size_t>(half));
                                  benchmark::ClobberMemory();
                                }
                              }) / inner);
  return 2.0 * static_cast<double>(half) / best_s;
}

/// Owns the memory of one case; small numbers everywhere.
class Buffers {
 public:
  std::byte* bytes(int64_t n_bytes) { return memory_.emplace_back(Device{}, n_bytes).data(); }
  float* floats(int64_t n) {
    float* data = reinterpret_cast<float*>(bytes(n * 4));
    for (int64_t i = 0; i < n; ++i) data[i] = static_cast<float>(i * 37 % 101) / 128;
    return data;
  }
  Stream& stream() { return *stream_; }

 private:
  std::vector<Memory> memory_;
  std::unique_ptr<Stream> stream_ = make_stream({});
};

struct Bound {
  std::shared_ptr<void> owner;
  std::function<void()> call;
  int64_t n_bytes;
};

void add_case(const std::string& name, const std::function<Bound()>& bind) {
  auto* added = benchmark::RegisterBenchmark(name.c_str(), [bind](benchmark::State& state) {
    const Bound bound = bind();
    const double copy = copy_bandwidth(bound.n_bytes);
    double best_s = 1e9;
    for (auto _ : state) {
      const double s = seconds_of(bound.call);
      best_s = std::min(best_s, s);
    }
    const double bytes = static_cast<double>(bound.n_bytes);
    state.counters["GB/s"] = bytes / best_s * 1e-9;
    state.counters["copy_GB/s"] = copy * 1e-9;
    state.counters["share_of_copy"] = bytes / best_s / copy;
  });
  added->Unit(benchmark::kMicrosecond)->UseRealTime();
}

/// A vector kernel over n floats: `bind` makes the call, n_arrays are read or written.
void add_vector_case(const std::string& name, int n_arrays,
                     const std::function<std::function<void()>(Buffers&, int64_t)>& bind) {
  for (const auto& [label, n] : {std::pair{"64k", int64_t{1} << 16}, {"16M", int64_t{1} << 24}})
    add_case(name + "/" + label, [bind, n, n_arrays] {
      auto buffers = std::make_shared<Buffers>();
      const auto call = bind(*buffers, n);
      return Bound{buffers, call, n * 4 * n_arrays};
    });
}

struct OpBuffers : Buffers {
  std::unique_ptr<Op> op;
  std::vector<Tensor> src, dst, diff_src, diff_dst;
  BatchContext batch;
  OpArgs args;

  explicit OpBuffers(std::unique_ptr<Op> made) : op(std::move(made)) {
    const OpInfo& info = op->info();
    for (const TensorDesc& desc : info.src) {
      const bool labels = desc.dtype == DType::kInt64;  // class 0 everywhere
      src.push_back({labels ? bytes(desc.n_bytes()) : numbers(desc.n_bytes()), desc});
      diff_src.push_back({labels ? nullptr : bytes(desc.n_bytes()), desc});
    }
    for (const TensorDesc& desc : info.dst) {
      dst.push_back({bytes(desc.n_bytes()), desc});
      diff_dst.push_back({numbers(desc.n_bytes()), desc});
    }
    batch.n_valid = info.src[0].shape[0];
    args = {src, dst, {}, diff_src, diff_dst, {}};
    args.workspace = bytes(info.workspace_bytes);
    args.scratchpad = bytes(info.scratchpad_bytes);
    args.batch = &batch;
    op->forward(stream(), args);
  }
  void* numbers(int64_t n_bytes) { return floats(n_bytes / 4); }
  /// The gradients of the first n_gradients sources, and dst where backward reads it.
  int64_t backward_bytes(size_t n_gradients) const {
    int64_t sum = op->info().backward_needs_dst ? op->info().dst[0].n_bytes() : 0;
    for (size_t i = 0; i < std::min(n_gradients, diff_src.size()); ++i) sum += diff_src[i].desc.n_bytes();
    return sum;
  }
  int64_t dense_bytes() const {
    int64_t sum = 0;
    for (const TensorDesc& desc : op->info().src) sum += desc.n_bytes();
    return sum;
  }
};

/// Forward reads src and writes dst and the workspace; backward reads diff_dst and the
/// workspace and writes diff_src.
void add_op_cases(const std::string& name, const std::function<std::unique_ptr<Op>()>& make,
                  size_t n_gradients = 1) {
  add_case(name + "/forward", [make] {
    auto op = std::make_shared<OpBuffers>(make());
    const OpInfo& info = op->op->info();
    return Bound{op, [op] { op->op->forward(op->stream(), op->args); },
                 op->dense_bytes() + info.dst[0].n_bytes() + info.workspace_bytes};
  });
  add_case(name + "/backward", [make, n_gradients] {
    auto op = std::make_shared<OpBuffers>(make());
    const OpInfo& info = op->op->info();
    return Bound{op, [op] { op->op->backward(op->stream(), op->args); },
                 op->backward_bytes(n_gradients) + info.dst[0].n_bytes() + info.workspace_bytes};
  });
}

void add_pool_cases(const std::string& name, Pool2dDesc desc) {
  add_op_cases(name + "/dense", [desc] { return make_pool2d({}, desc); });
  const Shape& shape = desc.src.shape;
  desc.src.layout = std::make_shared<cpu::OneDnnLayout>(cpu::MemoryDesc(
      {shape.begin(), shape.end()}, dnnl::memory::data_type::f32, dnnl::memory::format_tag::nChw16c));
  add_op_cases(name + "/nChw16c", [desc] { return make_pool2d({}, desc); });
  desc.src = cpu::with_dtype(desc.src, DType::kBFloat16);
  add_op_cases(name + "/nChw16c_bfloat16",
               [desc] { return make_pool2d({.compute = DType::kBFloat16}, desc); });
}

/// Where branches meet: the sum of a residual block, and the parts of an inception block.
void add_joint_cases(DType dtype) {
  const auto blocked = [dtype](const Shape& shape) {
    const cpu::MemoryDesc desc({shape.begin(), shape.end()}, cpu::onednn_type(dtype),
                               dnnl::memory::format_tag::nChw16c);
    return cpu::from_onednn(desc, shape, dtype);
  };
  const OpConfig config{.compute = dtype};
  const std::string type(name_of(dtype));
  add_op_cases(
      "sum/resnet56x56/" + type,
      [=] {
        const TensorDesc src = blocked({16, 256, 56, 56});
        return make_sum(config, {{src, src}, Activation::kRelu});
      },
      2);
  add_op_cases(
      "concat/inception28x28/" + type,
      [=] {
        ConcatDesc desc;
        for (const int64_t channels : {64, 128, 32, 32}) desc.src.push_back(blocked({32, channels, 28, 28}));
        return make_concat(config, desc);
      },
      4);
  add_op_cases("permute/heads/" + type, [=] {
    return make_permute(config, {Shape{8, 512, 12, 64}, dtype}, {0, 2, 1, 3});
  });
  add_op_cases("permute/transpose/" + type, [=] {
    return make_permute(config, {Shape{8, 512, 768}, dtype}, {0, 2, 1});
  });
}

/// All of an arena of n elements, for an update.
std::shared_ptr<const UpdateRanges> whole_of(int64_t n) {
  return std::make_shared<UpdateRanges>(Device{}, std::vector<UpdateRange>{{0, n}});
}

void register_all() {
  add_vector_case("fill", 1, [](Buffers& b, int64_t n) {
    float* dst = b.floats(n);
    return [&b, n, dst] { fill(b.stream(), n, 1.0f, dst); };
  });
  add_vector_case("add", 3, [](Buffers& b, int64_t n) {
    float *x = b.floats(n), *y = b.floats(n);
    return [&b, n, x, y] { add(b.stream(), n, x, y, x); };
  });
  add_vector_case("add_chain4", 6, [](Buffers& b, int64_t n) {
    std::vector<const float*> partials;
    for (int i = 0; i < 4; ++i) partials.push_back(b.floats(n));
    float* last = b.floats(n);
    return [&b, n, partials, last] { add_chain(b.stream(), n, partials, last, last); };
  });
  add_vector_case("sum_of_squares", 1, [](Buffers& b, int64_t n) {
    float* src = b.floats(n);
    return [&b, n, src] { benchmark::DoNotOptimize(sum_of_squares(b.stream(), n, src)); };
  });
  add_vector_case("sgd", 3, [](Buffers& b, int64_t n) {
    float *grad = b.floats(n), *weights = b.floats(n);
    return [&b, whole = whole_of(n), grad, weights] {
      sgd_update(b.stream(), {.lr = 1e-3f}, *whole, grad, weights, nullptr);
    };
  });
  add_vector_case("sgd_momentum", 5, [](Buffers& b, int64_t n) {
    float *grad = b.floats(n), *weights = b.floats(n), *velocity = b.floats(n);
    return [&b, whole = whole_of(n), grad, weights, velocity] {
      sgd_update(b.stream(), {.lr = 1e-3f, .momentum = 0.9f}, *whole, grad, weights, velocity);
    };
  });
  add_vector_case("adam", 7, [](Buffers& b, int64_t n) {
    float *grad = b.floats(n), *weights = b.floats(n), *m = b.floats(n), *v = b.floats(n);
    return [&b, whole = whole_of(n), grad, weights, m, v] {
      adam_update(b.stream(), {}, *whole, grad, weights, m, v);
    };
  });
  add_op_cases("softmax_cross_entropy/128x10", [] {
    return make_softmax_cross_entropy({}, {Shape{128, 10}});
  });
  add_op_cases("softmax_cross_entropy/128x1000", [] {
    return make_softmax_cross_entropy({}, {Shape{128, 1000}});
  });
  add_op_cases("softmax_cross_entropy/64x50257", [] {
    return make_softmax_cross_entropy({}, {Shape{64, 50257}});
  });
  add_op_cases("l2/128x784", [] { return make_l2_loss({}, {{Shape{128, 784}}}); });
  add_vector_case("sum_gradients3", 4, [](Buffers& b, int64_t n) {
    const std::vector<void*> partials = {b.floats(n), b.floats(n), b.floats(n)};
    return [&b, n, partials] { sum_gradients(b.stream(), DType::kFloat32, n, partials); };
  });
  for (const DType dtype : {DType::kFloat32, DType::kBFloat16}) add_joint_cases(dtype);
  for (const Pooling pooling : {Pooling::kMax, Pooling::kAverage}) {
    const std::string kind = pooling == Pooling::kMax ? "max_pool" : "average_pool";
    add_pool_cases(kind + "/lenet1", {.src = {Shape{128, 6, 28, 28}}, .pooling = pooling});
    add_pool_cases(kind + "/lenet2", {.src = {Shape{128, 16, 10, 10}}, .pooling = pooling});
    add_pool_cases(kind + "/alexnet",
                   {.src = {Shape{16, 64, 55, 55}}, .pooling = pooling, .kernel = {3, 3}, .stride = {2, 2}});
    add_pool_cases(kind + "/global", {.src = {Shape{64, 512, 7, 7}}, .pooling = pooling, .kernel = {7, 7}});
  }
}

}  // namespace

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  std::printf("%s, %d threads; memcpy of 64 MiB: %.1f GB/s read and written\n", device_name({}).c_str(),
              compute_threads(), copy_bandwidth(int64_t{128} << 20) * 1e-9);
  register_all();
  benchmark::RunSpecifiedBenchmarks();
}
