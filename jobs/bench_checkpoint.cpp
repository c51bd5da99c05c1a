// lockstep bench checkpoint: how fast a checkpoint gets to the disk, against one plain file of the
// same size, written and synced by one process in the same run, as `dd conv=fsync` does; the two
// take turns, and each round's rates make one ratio. A second checkpoint is written while every rank
// computes, as training would: how long it stands still, and what the writing thread takes from it.
#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>

#include "comm/agreement.h"
#include "io/checkpoint/checkpoint_saver.h"
#include "io/files/files.h"
#include "io/files/metrics.h"
#include "jobs/command.h"
#include "jobs/timing.h"

namespace lockstep {

namespace po = boost::program_options;
namespace fs = std::filesystem;

namespace {

constexpr int64_t kMib = int64_t{1} << 20;

/// A state like a network's: weights and one state of the optimizer, tensors of 1, 2, 4 … 64 MiB
/// with some small ones between, n_mib together. Content that no file system can compress.
struct State {
  std::vector<std::vector<float>> memory;
  std::vector<CheckpointTensor> tensors;

  explicit State(int64_t n_mib) {
    uint64_t bits = 1;
    for (int64_t n_left = n_mib * kMib, i = 0; n_left > 0; ++i) {
      const int64_t n_bytes = std::min(n_left, i % 8 == 7 ? int64_t{4096} : kMib << i % 8);
      memory.emplace_back(static_cast<size_t>(n_bytes / 4));
      for (float& x : memory.back()) {
        bits = bits * 6364136223846793005u + 1442695040888963407u;
        x = static_cast<float>(static_cast<int64_t>(bits) >> 32);
      }
      tensors.push_back(
          {fmt::format("/parameters/tensor{:04}", i), {n_bytes / 4}, DType::kFloat32, memory.back().data()});
      n_left -= n_bytes;
    }
  }
};

/// A training that needs one core and no memory: steps of a known length.
class Work {
 public:
  /// Computes for `time_s`; returns the units done.
  int64_t run(double time_s) {
    const double end = seconds() + time_s;
    int64_t n = 0;
    for (; seconds() < end; ++n) {
      for (int i = 0; i < 20000; ++i) value_ = value_ * 0.999 + 1e-3;
    }
    return n;
  }

 private:
  volatile double value_ = 1;
};

/// Seconds to write and sync n_mib MiB to one file in steps of 1 MiB.
double write_plainly(const std::string& path, int64_t n_mib, const std::vector<float>& content) {
  const double start = seconds();
  FileHandle file(path, O_WRONLY | O_CREAT | O_TRUNC);
  for (int64_t i = 0; i < n_mib; ++i) file.write_at(content.data(), kMib, i * kMib);
  file.sync();
  file.close();
  return seconds() - start;
}

}  // namespace

static int bench_checkpoint_command(const Words& words, Communicator& comm) {
  CommandLine line(
      "bench checkpoint [--size-mib N] [--rounds K] [--step-ms T] [--out DIR]\n  [--json]",
      "Rate of checkpoints against one plain file of the same size, written and synced by one\n"
      "process; how long training with steps of T ms stands still, and how much longer it takes\n"
      "because a thread writes on the same cores. Medians of the rounds; files are removed.",
      {});
  line.add()("size-mib", po::value<int64_t>()->default_value(1024), "MiB of state over all ranks")(
      "rounds", po::value<int>()->default_value(5), "rounds of one plain file and two checkpoints")(
      "step-ms", po::value<double>()->default_value(250), "length of a training step")(
      "out", po::value<std::string>()->default_value("."), "folder on the file system to measure")(
      "json", "print one JSON object");
  if (!line.parse(words, comm.is_root())) return 0;
  const int64_t n_mib = line.get<int64_t>("size-mib");
  const int n_rounds = line.get<int>("rounds");
  if (n_mib < 1 || n_rounds < 1)
    throw UsageError("--size-mib and --rounds must be at least 1",
                     "write for instance --size-mib 256 --rounds 5");
  const std::string folder = (fs::path(line.text("out")) / ".lockstep-bench-checkpoint").string();
  check_on_root(comm, [&] {
    std::error_code error;
    fs::create_directories(folder, error);
    if (error) throw Error(folder, "cannot be created: " + error.message(), "choose another --out");
  });

  State state(n_mib);
  const std::vector<float> content(static_cast<size_t>(kMib / 4), 0.3f);
  CheckpointSaver saver(comm, folder, state.tensors, Device{});
  const std::unique_ptr<Stream> stream = make_stream(Device{});
  const double step_s = line.get<double>("step-ms") / 1e3;
  std::vector<double> plain, saved, pauses, losses, ratios;
  Work work;
  std::string failure;
  for (int round = 0; round < n_rounds && failure.empty(); ++round) {
    const auto settle = [&] {  // what was deleted is dealt with before the next file
      if (comm.is_root()) ::sync();
      comm.sleeping_barrier();
    };
    const auto measure_plain = [&] {
      settle();
      check_on_root(
          comm,
          [&] {
            const std::string path = folder + "/plain";
            plain.push_back(static_cast<double>(n_mib) / write_plainly(path, n_mib, content));
            fs::remove(path);
          },
          Waiting::kSleep);
    };
    const auto measure_checkpoint = [&](bool beside_work) {
      settle();
      CheckpointInfo info;
      info.step = 2 * round + beside_work;
      const double start_alone = seconds();
      const int64_t n_alone = beside_work ? work.run(step_s) : 1;
      const double unit_s = (seconds() - start_alone) / static_cast<double>(n_alone);
      const double start = seconds();
      saver.start(*stream, info);
      double pause_s = seconds() - start;
      int64_t n_units = 0;
      std::optional<SaveOutcome> outcome;
      if (!beside_work) outcome = saver.wait();
      while (!outcome) {
        n_units += work.run(step_s);
        const double update = seconds();
        saver.hold_changes();
        pause_s += seconds() - update;
        outcome = saver.poll();
      }
      const double time_s = seconds() - start;
      failure += outcome->error;
      if (comm.is_root()) fs::remove(outcome->path);
      if (!beside_work) return saved.push_back(static_cast<double>(n_mib) / outcome->time_s);
      pauses.push_back(pause_s / outcome->time_s);
      losses.push_back((time_s - static_cast<double>(n_units) * unit_s) / outcome->time_s);
    };
    if (round % 2 == 0) measure_plain();
    measure_checkpoint(false);
    if (round % 2 == 1) measure_plain();
    measure_checkpoint(true);
    if (comm.is_root()) ratios.push_back(saved.back() / plain.back());
  }
  comm.barrier();
  std::error_code ignored;
  if (comm.is_root()) fs::remove_all(folder, ignored);
  if (!failure.empty())
    throw AgreedError("bench checkpoint", failure,
                      "choose another folder (--out), with room for two checkpoints");
  if (!comm.is_root()) return 0;

  if (line.has("json")) {
    fmt::print("{}\n", JsonObject()
                           .set("ranks", comm.size())
                           .set("size_mib", n_mib)
                           .set("rounds", n_rounds)
                           .set("checkpoint_mib_per_s", median(saved))
                           .set("plain_mib_per_s", median(plain))
                           .set("ratio", median(ratios))
                           .set("stall_share", median(pauses))
                           .set("lost_share", median(losses))
                           .str());
    return 0;
  }
  fmt::print("checkpoint of {} MiB by {} rank{}, medians of {} rounds\n", n_mib, comm.size(),
             comm.size() > 1 ? "s" : "", n_rounds);
  fmt::print("  checkpoint   {:8.0f} MiB/s until it is on the disk ({:.0f} to {:.0f})\n", median(saved),
             *std::min_element(saved.begin(), saved.end()), *std::max_element(saved.begin(), saved.end()));
  fmt::print("  plain file   {:8.0f} MiB/s written and synced by one process ({:.0f} to {:.0f})\n",
             median(plain), *std::min_element(plain.begin(), plain.end()),
             *std::max_element(plain.begin(), plain.end()));
  fmt::print("  ratio        {:8.2f}\n", median(ratios));
  fmt::print("  stand-still  {:8.1f} % of the checkpoint's time, steps of {:.0f} ms\n", 100 * median(pauses),
             1e3 * step_s);
  fmt::print("  lost         {:8.1f} % of it, with what the writing takes from computing\n",
             100 * median(losses));
  return 0;
}

namespace {
const bool bench_checkpoint_registered = commands().add(
    "bench checkpoint",
    {.summary = "time a checkpoint against a plain file", .run = bench_checkpoint_command}, 12);
}

}  // namespace lockstep
