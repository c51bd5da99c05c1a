// lockstep bench allreduce: sums of float32 vectors over the ranks, every way that `batch.reduction` names,
// against MPI_Allreduce. All take turns in the same run, so that a busy machine disturbs them alike.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <sstream>

#include "comm/reduction/gradient_reducer.h"
#include "io/files/metrics.h"
#include "jobs/command.h"
#include "jobs/timing.h"
#include "kernels/device.h"

namespace lockstep {

namespace po = boost::program_options;

namespace {

struct Contender {
  std::string name;  // in tables; fields of --json have _ for blanks
  float* values;
  std::function<void()> reduce;
};

/// Bytes of each size given in MiB, a whole number of floats.
std::vector<int64_t> read_sizes(const std::string& text) {
  std::vector<int64_t> sizes;
  std::stringstream parts(text);
  for (std::string part; std::getline(parts, part, ',');) {
    char* end = nullptr;
    const double mib = std::strtod(part.c_str(), &end);
    if (end == part.c_str() || *end != '\0' || !(mib > 0 && mib <= 65536))
      throw UsageError(fmt::format("--sizes {}: expected MiB above 0 separated by commas", text),
                       "write for instance --sizes 0.25,1,100");
    sizes.push_back(std::max<int64_t>(4, std::llround(mib * 262144) * 4));
  }
  return sizes;
}

/// Seconds that a contender takes on the slowest rank, the mean of several calls. Each rank writes its vector
/// before, as backward does: what it sums is in its own caches or in none.
double time_s(Communicator& comm, const Contender& contender, int64_t n_bytes, int n_repeats) {
  using namespace std::chrono;
  nanoseconds time{0};
  for (int i = 0; i < n_repeats; ++i) {
    std::fill_n(contender.values, n_bytes / int64_t{sizeof(float)}, 1.0f);
    comm.barrier();
    const auto start = steady_clock::now();
    contender.reduce();
    time += steady_clock::now() - start;
  }
  return static_cast<double>(comm.all_reduce_max(time.count())) * 1e-9 / n_repeats;
}

struct Figures {
  double gb_per_s = 0;  // bytes of the vector over the median time
  double ratio = 0;     // median over rounds of MPI's time over this one's: above 1 is faster than MPI
};

/// The first contender is the one that others are compared with.
std::vector<Figures> measure(Communicator& comm, const std::vector<Contender>& contenders, int64_t n_bytes,
                             int64_t n_rounds) {
  // Of short vectors one round takes the mean of several.
  const int n_repeats = static_cast<int>(std::clamp<int64_t>((4 << 20) / n_bytes, 1, 200));
  const size_t n = contenders.size();
  std::vector<std::vector<double>> times_s(n), ratios(n);
  for (int64_t round = -2; round < n_rounds; ++round) {
    std::vector<double> round_s(n);
    // Each finds the caches as the one before left them, so they take turns in going first.
    for (size_t turn = 0; turn < n; ++turn) {
      const size_t which = (turn + static_cast<size_t>(round + 2)) % n;
      round_s[which] = time_s(comm, contenders[which], n_bytes, n_repeats);
    }
    if (round < 0) continue;  // first touches and connections
    for (size_t which = 0; which < n; ++which) {
      times_s[which].push_back(round_s[which]);
      ratios[which].push_back(round_s[0] / round_s[which]);
    }
  }
  std::vector<Figures> figures;
  for (size_t which = 0; which < n; ++which)
    figures.push_back({static_cast<double>(n_bytes) / median(times_s[which]) * 1e-9, median(ratios[which])});
  return figures;
}

std::vector<Figures> measure_size(Communicator& comm, int64_t n_bytes, int64_t n_rounds,
                                  std::vector<std::string>* names) {
  const int64_t n = n_bytes / int64_t{sizeof(float)};
  const Memory memory(Device{}, n_bytes);
  float* values = memory.as<float>();
  const std::span<float> all(values, static_cast<size_t>(n));
  const bool has_tree = (comm.size() & (comm.size() - 1)) == 0;
  const Reduction in_training = has_tree ? Reduction::kTree : Reduction::kNative;
  GradientReducer reducer(comm, in_training, {{0, n}});
  float* gradients = reducer.shared_gradients() != nullptr ? reducer.shared_gradients() : values;
  std::vector<Contender> contenders{{"MPI", values, [&] { comm.native_all_reduce(all); }}};
  if (has_tree) contenders.push_back({"tree", values, [&] { comm.all_reduce(all, Reduction::kTree); }});
  contenders.push_back({"native", values, [&] { comm.all_reduce(all, Reduction::kNative); }});
  contenders.push_back({"hierarchical", values, [&] { comm.all_reduce(all, Reduction::kHierarchical); }});
  contenders.push_back({"in training", gradients, [&] {
                          reducer.bucket_ready(0, gradients);
                          reducer.wait();
                        }});
  names->clear();
  for (const Contender& contender : contenders) names->push_back(contender.name);
  return measure(comm, contenders, n_bytes, n_rounds);
}

std::string row_json(int64_t n_bytes, const std::vector<std::string>& names,
                     const std::vector<Figures>& figures) {
  JsonObject row;
  row.set("bytes", n_bytes);
  for (size_t i = 0; i < names.size(); ++i) {
    std::string field = names[i];
    std::replace(field.begin(), field.end(), ' ', '_');
    if (i == 0) {
      row.set("mpi_gb_per_s", figures[i].gb_per_s);
    } else {
      row.set(field + "_gb_per_s", figures[i].gb_per_s).set(field + "_over_mpi", figures[i].ratio);
    }
  }
  return row.str();
}

}  // namespace

static int bench_allreduce_command(const Words& words, Communicator& comm) {
  CommandLine line(
      "bench allreduce [--sizes MIB,…] [--rounds N] [--json]",
      "Sums vectors of float32 over the ranks as each `batch.reduction` does, and as buckets of gradients\n"
      "are summed in training, against MPI_Allreduce. GB/s are bytes of the vector over the time of the\n"
      "slowest rank (median); ratios are medians over the rounds, above 1 where Lockstep is faster.",
      {});
  line.add()("sizes", po::value<std::string>()->default_value("0.004,0.0625,0.25,1,4,25,100"),
             "MiB of the vectors")("rounds", po::value<int64_t>()->default_value(15), "timings of each")(
      "json", "print one JSON object");
  if (!line.parse(words, comm.is_root())) return 0;
  const std::vector<int64_t> sizes = read_sizes(line.text("sizes"));
  const int64_t n_rounds = line.get<int64_t>("rounds");
  if (n_rounds < 1)
    throw UsageError(fmt::format("--rounds must be at least 1, found {}", n_rounds),
                     "write for instance --rounds 20");
  if (comm.size() == 1)
    throw UsageError("one rank has nothing to sum", "start several: mpirun -n 2 lockstep bench allreduce");

  const bool prints = comm.is_root() && !line.has("json");
  std::vector<std::string> names, rows;
  for (const int64_t n_bytes : sizes) {
    const std::vector<Figures> figures = measure_size(comm, n_bytes, n_rounds, &names);
    if (prints && rows.empty()) {
      fmt::print("{}, {} ranks, {} rounds; GB/s (ratio to MPI)\n\n{:>10} {:>8}", mpi_library_version(),
                 comm.size(), n_rounds, "MiB", "MPI");
      for (size_t i = 1; i < names.size(); ++i) fmt::print(" {:>18}", names[i]);
      fmt::print("\n");
    }
    if (prints) {
      fmt::print("{:>10.4g} {:>8.2f}", static_cast<double>(n_bytes) / (1 << 20), figures[0].gb_per_s);
      for (size_t i = 1; i < figures.size(); ++i)
        fmt::print(" {:>9.2f} ({:>5.2f}x)", figures[i].gb_per_s, figures[i].ratio);
      fmt::print("\n");
      std::fflush(stdout);
    }
    rows.push_back(row_json(n_bytes, names, figures));
  }
  if (comm.is_root() && line.has("json")) {
    JsonObject object;
    object.set("mpi", mpi_library_version()).set("ranks", comm.size()).set("rounds", n_rounds);
    object.set_raw("results", fmt::format("[{}]", fmt::join(rows, ", ")));
    fmt::print("{}\n", object.str());
  }
  return 0;
}

namespace {
const bool bench_allreduce_registered = commands().add(
    "bench allreduce",
    {.summary = "time sums over ranks against MPI_Allreduce", .run = bench_allreduce_command}, 15);
}

}  // namespace lockstep
