// All-reduce of float32 vectors: Lockstep's fixed tree and `native` against MPI_Allreduce,
// in the same run and interleaved, so that a busy machine disturbs all alike.
//
//   mpirun -n 2 lockstep_allreduce_bench [ROUNDS]
//
// GB/s is vector bytes over the slowest rank's time (median of the rounds); the ratios are
// medians of per-round pairs, above 1 where Lockstep is faster.
#include <fmt/format.h>
#include <mpi.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <vector>

#include "comm/communicator.h"

using namespace lockstep;

namespace {

double median(std::vector<double> values) {
  std::nth_element(values.begin(), values.begin() + long(values.size() / 2), values.end());
  return values[values.size() / 2];
}

/// Seconds that `work` takes on the slowest rank.
template <typename Work>
double timed(const Work& work) {
  MPI_Barrier(MPI_COMM_WORLD);
  double time_s = MPI_Wtime();
  work();
  time_s = MPI_Wtime() - time_s;
  MPI_Allreduce(MPI_IN_PLACE, &time_s, 1, MPI_DOUBLE, MPI_MAX, MPI_COMM_WORLD);
  return time_s;
}

}  // namespace

int main(int argc, char** argv) {
  MpiSession session(&argc, &argv);
  Communicator world = Communicator::world();
  const int n_rounds = argc > 1 ? std::max(1, std::atoi(argv[1])) : 15;
  if (world.is_root())
    fmt::print("{}, {} ranks, {} rounds\n{:>12} {:>10} {:>10} {:>10} {:>11} {:>12}\n", mpi_library_version(),
               world.size(), n_rounds, "bytes", "MPI GB/s", "tree GB/s", "native", "tree / MPI",
               "native / MPI");
  constexpr int64_t kKiB = 1 << 10, kMiB = 1 << 20;
  for (const int64_t n_bytes : {4 * kKiB, 16 * kKiB, 64 * kKiB, 256 * kKiB, kMiB, 4 * kMiB, 16 * kMiB,
                                25 * kMiB, 64 * kMiB, 100 * kMiB}) {
    const size_t n = size_t(n_bytes) / sizeof(float);
    std::vector<float> values(n, 0.0f), scratch(n, 0.0f);
    // Short vectors are repeated within one timing, as one alone is near the clock's resolution.
    const int n_repeats = int(std::clamp<int64_t>(4 * kMiB / n_bytes, 1, 200));
    const auto repeat = [&](auto&& reduce) {
      return timed([&] {
               for (int i = 0; i < n_repeats; ++i) reduce();
             }) /
             n_repeats;
    };
    enum { kMpi, kTree, kNative };
    const std::array<std::function<void()>, 3> contenders{
        [&] { MPI_Allreduce(MPI_IN_PLACE, values.data(), int(n), MPI_FLOAT, MPI_SUM, MPI_COMM_WORLD); },
        [&] { world.tree_all_reduce(values, scratch); },
        [&] { world.native_all_reduce(values); },
    };
    std::array<std::vector<double>, 3> times_s;
    std::vector<double> tree_ratios, native_ratios;
    for (int round = -2; round < n_rounds; ++round) {
      std::array<double, 3> time_s;
      // Each finds the caches as the one before left them, so they take turns in going first.
      for (int turn = 0; turn < 3; ++turn) {
        const size_t which = size_t(turn + round + 2) % 3;
        time_s[which] = repeat(contenders[which]);
      }
      if (round < 0) continue;  // first touches and connections
      for (size_t which = 0; which < 3; ++which) times_s[which].push_back(time_s[which]);
      tree_ratios.push_back(time_s[kMpi] / time_s[kTree]);
      native_ratios.push_back(time_s[kMpi] / time_s[kNative]);
    }
    const auto gb_per_s = [&](int which) { return double(n_bytes) / median(times_s[size_t(which)]) * 1e-9; };
    if (world.is_root())
      fmt::print("{:>12} {:>10.2f} {:>10.2f} {:>10.2f} {:>11.2f} {:>12.2f}\n", n_bytes, gb_per_s(kMpi),
                 gb_per_s(kTree), gb_per_s(kNative), median(tree_ratios), median(native_ratios));
    std::fflush(stdout);
  }
}
