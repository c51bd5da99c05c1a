// Sums of gradients over ranks as training makes them, by GradientReducer: the fixed tree and `native`, in
// the same run and interleaved. On GPUs where there are any, each rank on one; else on the CPU.
//
//   mpirun -n 8 lockstep_gradient_bench [ROUNDS]
//   LOCKSTEP_NCCL_LIBRARY=none mpirun -n 8 lockstep_gradient_bench         the same through host memory
//
// us: of one sum, on the slowest rank, median of the rounds. GB/s: what each rank's link carries each way,
// 2(P-1)/P of the vector, in that time. The ratio is the median of per-round pairs, above 1 where the tree is
// faster.
#include <fmt/format.h>
#include <mpi.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "comm/reduction/gradient_reducer.h"
#include "kernels/device.h"

using namespace lockstep;

namespace {

double median(std::vector<double> values) {
  std::nth_element(values.begin(), values.begin() + long(values.size() / 2), values.end());
  return values[values.size() / 2];
}

/// Seconds of one of n_repeats sums on the slowest rank.
double time_sums(GradientReducer& reducer, float* gradients, Stream& stream, int n_repeats) {
  MPI_Barrier(MPI_COMM_WORLD);
  double time_s = MPI_Wtime();
  for (int i = 0; i < n_repeats; ++i) {
    reducer.bucket_ready(0, gradients, &stream);
    reducer.wait(&stream);
  }
  stream.synchronize();
  time_s = (MPI_Wtime() - time_s) / n_repeats;
  MPI_Allreduce(MPI_IN_PLACE, &time_s, 1, MPI_DOUBLE, MPI_MAX, MPI_COMM_WORLD);
  return time_s;
}

}  // namespace

int main(int argc, char** argv) {
  MpiSession session(&argc, &argv);
  Communicator world = Communicator::world();
  const int n_rounds = argc > 1 ? std::max(1, std::atoi(argv[1])) : 15;
  const int n_gpus = cuda_device_count();
  const Device device = n_gpus > 0 ? Device{Device::Kind::kCuda, world.local_rank() % n_gpus} : Device{};
  const std::unique_ptr<Stream> stream = make_stream(device);
  constexpr int64_t kKiB = 1 << 10, kMiB = 1 << 20;
  for (const int64_t n_bytes :
       {4 * kKiB, 64 * kKiB, 256 * kKiB, kMiB, 4 * kMiB, 16 * kMiB, 25 * kMiB, 64 * kMiB, 256 * kMiB}) {
    const Memory gradients(device, n_bytes);
    const std::vector<Bucket> buckets{{0, n_bytes / int64_t{sizeof(float)}}};
    GradientReducer tree(world, Reduction::kTree, buckets, device);
    GradientReducer native(world, Reduction::kNative, buckets, device);
    if (world.is_root() && n_bytes == 4 * kKiB)
      fmt::print("{} on {} ranks, {} rounds; {}\n{:>12} {:>10} {:>10} {:>10} {:>10} {:>14}\n",
                 device_name(device), world.size(), n_rounds, tree.way(), "bytes", "tree us", "native us",
                 "tree GB/s", "native", "tree / native");
    const int n_repeats = int(std::clamp<int64_t>(16 * kMiB / n_bytes, 1, 50));
    std::array<std::vector<double>, 2> times_s;
    std::vector<double> ratios;
    for (int round = -2; round < n_rounds; ++round) {  // the first two for first touches
      std::array<double, 2> time_s;
      for (int turn = 0; turn < 2; ++turn) {
        const size_t which = size_t(turn + round + 2) % 2;
        time_s[which] = time_sums(which == 0 ? tree : native, gradients.as<float>(), *stream, n_repeats);
      }
      if (round < 0) continue;
      for (size_t which = 0; which < 2; ++which) times_s[which].push_back(time_s[which]);
      ratios.push_back(time_s[1] / time_s[0]);
    }
    const double carried = 2.0 * double(n_bytes) * (world.size() - 1) / world.size();
    const double tree_s = median(times_s[0]), native_s = median(times_s[1]);
    if (world.is_root())
      fmt::print("{:>12} {:>10.1f} {:>10.1f} {:>10.2f} {:>10.2f} {:>14.2f}\n", n_bytes, tree_s * 1e6,
                 native_s * 1e6, carried / tree_s * 1e-9, carried / native_s * 1e-9, median(ratios));
    std::fflush(stdout);
  }
}
