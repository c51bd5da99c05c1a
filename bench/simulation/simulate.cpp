// One training step's gradient sums on many ranks, over a network that SimGrid's SMPI imitates: comm's own
// all-reduce, unchanged, called for each bucket when backward has made it final, as the thread of
// comm_thread.cpp does. The same program under a real MPI gives the same bits (--hash).
//
//     simulate --buckets FILE --way tree|rounds|hosts [--ranks-per-node R] [--add-gb-per-s G]
//              [--host-gb-per-s H] [--latency-us L] [--forward-s F] [--jitter J] [--steps N] [--hash]
//
// FILE: a line a bucket, in backward's order: the seconds after the beginning of backward at which it is
// final, and its elements. tree: messages among all ranks (tree_reduction.h). rounds: the exchanges that
// NCCL carries for GPUs (tree_rounds.h). hosts: the slices of each host's ranks go on between hosts
// (rank_reduction.h); the stage in shared memory, which is no message, counts by its measured rate H.
// jitter: the deviation of the time that a rank computes, as a share of it; drawn anew for each rank and
// step. Prints "step SECONDS", from the beginning of forward to the last rank's last bucket, the mean of the
// steps, and with
// --hash the bits of the sums.
#include <mpi.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "comm/reduction/tree_reduction.h"
#include "comm/reduction/tree_rounds.h"

namespace lockstep {
// What comm/mpi_session.cpp says of a launcher, for texts of errors.
int launcher_rank() { return 0; }
std::string host_name() { return "a simulated host"; }
}  // namespace lockstep

namespace {

using lockstep::TreeRound;
using lockstep::TreeStep;

struct Bucket {
  double ready_s;
  int64_t n;
};

struct Options {
  std::string way = "tree", buckets;
  int ranks_per_node = 1;
  double add_gb_per_s = 10, host_gb_per_s = 5, latency_us = 0, forward_s = 0, jitter = 0;
  int steps = 1;
  bool hashes = false;
};

Options read_options(int argc, char** argv) {
  Options o;
  for (int i = 1; i < argc; ++i) {
    const std::string word = argv[i];
    const char* value = i + 1 < argc ? argv[i + 1] : "";
    if (word == "--hash") {
      o.hashes = true;
      continue;
    }
    ++i;
    if (word == "--way")
      o.way = value;
    else if (word == "--buckets")
      o.buckets = value;
    else if (word == "--ranks-per-node")
      o.ranks_per_node = std::atoi(value);
    else if (word == "--add-gb-per-s")
      o.add_gb_per_s = std::atof(value);
    else if (word == "--host-gb-per-s")
      o.host_gb_per_s = std::atof(value);
    else if (word == "--latency-us")
      o.latency_us = std::atof(value);
    else if (word == "--forward-s")
      o.forward_s = std::atof(value);
    else if (word == "--jitter")
      o.jitter = std::atof(value);
    else if (word == "--steps")
      o.steps = std::atoi(value);
    else
      std::fprintf(stderr, "simulate: unknown option %s\n", word.c_str()), std::exit(2);
  }
  return o;
}

std::vector<Bucket> read_buckets(const std::string& path) {
  std::vector<Bucket> buckets;
  std::FILE* file = std::fopen(path.c_str(), "r");
  if (file == nullptr) std::fprintf(stderr, "simulate: cannot read %s\n", path.c_str()), std::exit(2);
  double ready_s = 0;
  long n = 0;
  while (std::fscanf(file, "%lf %ld", &ready_s, &n) == 2) buckets.push_back({ready_s, n});
  std::fclose(file);
  return buckets;
}

/// One array for all ranks. Simulated ranks are threads of one process with variables of their own, but one
/// environment; each runs until it waits, so that none meets another here.
float* array_of_all_ranks(const char* name, int64_t n) {
  if (const char* at = std::getenv(name)) return reinterpret_cast<float*>(std::strtoull(at, nullptr, 16));
  auto* array = static_cast<float*>(std::calloc(size_t(n), sizeof(float)));
  char text[32];
  std::snprintf(text, sizeof text, "%llx",
                static_cast<unsigned long long>(reinterpret_cast<uintptr_t>(array)));
  setenv(name, text, 1);
  return array;
}

/// Time that passes without messages; simulated where the clock is.
void spend(double time_s) {
  if (time_s > 0) usleep(static_cast<useconds_t>(time_s * 1e6 + 0.5));
}

/// The plan of nccl_path.cpp over MPI's messages: the sends and receives of a round together, then its
/// additions.
void walk(const std::vector<TreeRound>& rounds, float* values, float* scratch, bool adds) {
  std::vector<MPI_Request> requests;
  for (const TreeRound& round : rounds) {
    requests.clear();
    for (const TreeStep& step : round) {
      float* const to = step.scratch >= 0 ? scratch + step.scratch : values + step.receive;
      if (step.n_receive > 0)
        MPI_Irecv(to, int(step.n_receive), MPI_FLOAT, step.partner, 1, MPI_COMM_WORLD,
                  &requests.emplace_back());
      if (step.n_send > 0)
        MPI_Isend(values + step.send, int(step.n_send), MPI_FLOAT, step.partner, 1, MPI_COMM_WORLD,
                  &requests.emplace_back());
    }
    MPI_Waitall(int(requests.size()), requests.data(), MPI_STATUSES_IGNORE);
    int rank = 0;
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    for (const TreeStep& step : round) {
      if (step.scratch < 0 || !adds) continue;
      float* const kept = values + step.receive;
      const float* const got = scratch + step.scratch;
      for (int64_t i = 0; i < step.n_receive; ++i)
        kept[i] = step.partner < rank ? got[i] + kept[i] : kept[i] + got[i];
    }
  }
}

/// How much longer than usual a rank computes in a step: normal (Box and Muller), a function of rank and step
/// alone.
double slowness(int rank, int step, double jitter) {
  uint64_t state = 0x9e3779b97f4a7c15ULL * uint64_t(rank + 1) ^ 0xbf58476d1ce4e5b9ULL * uint64_t(step + 1);
  const auto uniform = [&state] {  // SplitMix64
    uint64_t z = (state += 0x9e3779b97f4a7c15ULL);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
    return (double((z ^ (z >> 31)) >> 11) + 0.5) * 0x1p-53;
  };
  const double radius = std::sqrt(-2 * std::log(uniform()));
  return std::max(0.0, 1 + jitter * radius * std::cos(6.283185307179586 * uniform()));
}

/// FNV-1a over the bytes.
uint64_t hash_of(const std::vector<float>& values, uint64_t hash = 1469598103934665603ULL) {
  const auto* bytes = reinterpret_cast<const unsigned char*>(values.data());
  for (size_t i = 0; i < values.size() * sizeof(float); ++i) hash = (hash ^ bytes[i]) * 1099511628211ULL;
  return hash;
}

/// What a rank gives to a bucket: numbers of many magnitudes, so that another order of additions shows.
void fill(std::vector<float>& values, int rank, size_t bucket) {
  uint32_t state = 2654435761u * uint32_t(rank + 1) + uint32_t(bucket);
  for (float& value : values) {
    state = state * 1664525u + 1013904223u;
    value = std::ldexp(float(int32_t(state)) * 4.6566129e-10f, int(state >> 28) - 8);
  }
}

}  // namespace

int main(int argc, char** argv) {
  MPI_Init(&argc, &argv);
  const Options o = read_options(argc, argv);
  int rank = 0, size = 1;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  MPI_Comm_size(MPI_COMM_WORLD, &size);
  const std::vector<Bucket> buckets = read_buckets(o.buckets);
  const int per_node = o.way == "hosts" ? std::min(o.ranks_per_node, size) : 1;
  MPI_Comm lane = MPI_COMM_WORLD;
  if (per_node > 1) MPI_Comm_split(MPI_COMM_WORLD, rank % per_node, rank, &lane);
  int64_t longest = 0;
  for (const Bucket& bucket : buckets) longest = std::max(longest, bucket.n);
  const lockstep::TreeTuning tuning;
  std::vector<float> values, own;
  // Without hashes nobody looks at the sums, and thousands of ranks share one array.
  float* shared = nullptr;
  float* scratch = nullptr;
  int64_t n_scratch = lockstep::tree_scratch_elements(longest, sizeof(float), size, tuning);
  std::map<int64_t, std::vector<TreeRound>> plans;
  if (o.way == "rounds") {
    for (const Bucket& bucket : buckets)
      plans.try_emplace(bucket.n, lockstep::tree_rounds(rank, size, bucket.n, lockstep::RoundTuning{}));
    for (const auto& [n, plan] : plans) n_scratch = std::max(n_scratch, lockstep::scratch_elements(plan));
  }
#ifdef LOCKSTEP_SIMULATED
  if (!o.hashes) {
    shared = array_of_all_ranks("LOCKSTEP_VALUES", longest);
    scratch = array_of_all_ranks("LOCKSTEP_SCRATCH", n_scratch);
  }
#endif
  if (scratch == nullptr) {
    own.resize(size_t(n_scratch));
    scratch = own.data();
  }
  uint64_t hash = 1469598103934665603ULL;
  MPI_Barrier(MPI_COMM_WORLD);
  const double begin = MPI_Wtime();
  for (int step = 0; step < o.steps; ++step) {
    const double start = MPI_Wtime(), slow = slowness(rank, step, o.jitter);
    for (size_t k = 0; k < buckets.size(); ++k) {
      const Bucket& bucket = buckets[k];
      if (shared == nullptr) {
        values.resize(size_t(bucket.n));
        fill(values, rank, k);
      }
      float* const data = shared != nullptr ? shared : values.data();
      spend(start + slow * (o.forward_s + bucket.ready_s) - MPI_Wtime());
      const double n_bytes = 4.0 * double(bucket.n);
      if (o.way == "rounds") {
        const std::vector<TreeRound>& plan = plans.at(bucket.n);
        walk(plan, data, scratch, shared == nullptr);
        spend(double(plan.size()) * o.latency_us * 1e-6);
      } else {
        const int64_t n = bucket.n / per_node;  // a slice
        if (per_node > 1) spend(n_bytes / (o.host_gb_per_s * 1e9));
        lockstep::tree_all_reduce<float>(lane, data, n, scratch, tuning, {});
      }
      // Two operands are read and one is written for each element that a rank adds.
      const double n_ranks = double(size) / per_node;
      spend(3 * n_bytes / per_node * (1 - 1 / n_ranks) / (o.add_gb_per_s * 1e9));
      if (o.hashes) hash = hash_of(values, hash);
    }
  }
  const double mine = (MPI_Wtime() - begin) / o.steps;
  double last = 0;
  MPI_Reduce(&mine, &last, 1, MPI_DOUBLE, MPI_MAX, 0, MPI_COMM_WORLD);
  if (rank == 0) {
    std::printf("step %.9f\n", last);
    if (o.hashes) std::printf("hash %016lx\n", static_cast<unsigned long>(hash));
  }
  MPI_Finalize();
}
