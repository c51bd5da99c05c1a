// Speed of every optimizer over 25 million parameters: GB/s of the bytes that an update must read and write
// at least, and their share of a memcpy that moves as many bytes, measured just before each case.
//
//   OMP_NUM_THREADS=1 lockstep_optimizer_bench ['{rmsprop: {centered: true}}' REPEATS]
//
// bench/pytorch/optimizers.py sets PyTorch beside it.
#include <time.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "src/network/layers/layers.h"
#include "src/update/optimizer.h"

namespace {

using namespace lockstep;

constexpr int64_t kExtent = 5000;  // of the square matrix

/// Seconds that this thread computed.
double seconds_of(const std::function<void()>& call) {
  const auto now = [] {
    timespec time;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
  };
  const double begin = now();
  call();
  return now() - begin;
}

/// Bytes per second (read + written) of copying 25 million floats: the best of several rounds.
double copy_bandwidth() {
  const auto n_bytes = static_cast<int64_t>(sizeof(float)) * kExtent * kExtent;
  const Memory from({}, n_bytes), to({}, n_bytes);
  double best_s = 1e9;
  for (int round = 0; round < 8; ++round)
    best_s = std::min(best_s, seconds_of([&] {
                        std::memcpy(to.data(), from.data(), static_cast<size_t>(n_bytes));
                        asm volatile("" ::: "memory");  // the copy is wanted
                      }));
  return 2.0 * static_cast<double>(n_bytes) / best_s;
}

struct Bench {
  explicit Bench(const std::string& job)
      : graph(make_graph()),
        arena(graph, Device{}),
        gradients(arena.make_parallel()),
        optimizer(read_optimizer(Config::from_text("optimizer: " + job, "bench").at("optimizer")), arena) {
    for (int64_t i = 0; i < arena.n_elements(); ++i) {
      arena.weights()[i] = static_cast<float>(i * 37 % 101 - 50) / 128;
      gradients.as<float>()[i] = static_cast<float>(i * 41 % 103 - 51) / 128;
    }
  }
  static Graph make_graph() {
    Graph graph;
    graph.add_input("input", {kExtent});
    graph.append(affine_layer(kExtent), "fc");
    return graph;
  }
  /// Gradients are read, weights and states read and written; rules of norms read what they scale by them
  /// again.
  double n_bytes() const {
    const auto n_slots = static_cast<double>(optimizer.slots().size());
    const bool has_norms = optimizer.spec().rule->parameters();
    double arrays = 3 + 2 * n_slots;
    if (has_norms) arrays += n_slots == 2 ? 3 : 2;  // weights and moments; gradients and weights
    return arrays * 4 * static_cast<double>(arena.n_elements());
  }
  void step() { optimizer.update(*stream, gradients.as<float>(), 1e-3, 1, n_steps++); }

  Graph graph;
  ParameterArena arena;
  Memory gradients;
  Optimizer optimizer;
  std::unique_ptr<Stream> stream = make_stream(Device{});
  int64_t n_steps = 0;
};

void measure(const std::string& job, int repeats) {
  Bench bench(job);
  const double copy = copy_bandwidth();
  bench.step();
  std::vector<double> times;
  for (int i = 0; i < repeats; ++i) times.push_back(seconds_of([&] { bench.step(); }));
  std::sort(times.begin(), times.end());
  const double s = times[times.size() / 2];
  std::printf("ms %.3f  GB/s %.2f  copy %.2f  share %.3f  %s\n", s * 1e3, bench.n_bytes() / s * 1e-9,
              copy * 1e-9, bench.n_bytes() / s / copy, job.c_str());
  std::fflush(stdout);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc == 3) {
    measure(argv[1], std::atoi(argv[2]));
    return 0;
  }
  for (const char* job :
       {"{sgd: {lr: 1}}", "{sgd: {lr: 1, momentum: 0.9}}", "{sgd: {lr: 1, momentum: 0.9, form: heavy_ball}}",
        "adam", "{adamw: {weight_decay: 0.1}}", "adagrad", "rmsprop",
        "{rmsprop: {centered: true, momentum: 0.9}}", "adadelta", "nadam", "radam", "{adam: {amsgrad: true}}",
        "adamax", "{lion: {weight_decay: 0.1}}", "schedule_free", "{lamb: {weight_decay: 0.1}}",
        "{lars: {lr: 1, weight_decay: 0.1}}"})
    measure(job, 9);
}
