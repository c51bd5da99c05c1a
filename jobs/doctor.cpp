// lockstep doctor: is this machine or allocation fit to train? Facts of all ranks (doctor/rank_facts.h) and a
// few measurements, judged one by one (doctor/checks.h).
#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <filesystem>

#include "comm/agreement.h"
#include "comm/nccl/nccl.h"
#include "io/checkpoint/checkpoint.h"
#include "io/files/metrics.h"
#include "jobs/command.h"
#include "jobs/doctor/checks.h"
#include "jobs/job_file.h"
#include "jobs/slurm/batch_estimate.h"
#include "jobs/timing.h"
#include "kernels/device.h"
#include "src/run/trained_model.h"

namespace lockstep {

namespace po = boost::program_options;

namespace {

/// Seconds per all-reduce of n floats, and bytes moved per second as n_bytes / time.
double time_all_reduce(Communicator& comm, int64_t n) {
  std::vector<float> values(n, 1.0f);
  comm.native_all_reduce(std::span<float>(values));
  const int repeats = n > 100000 ? 5 : 100;
  comm.barrier();
  const double start = seconds();
  for (int i = 0; i < repeats; ++i) comm.native_all_reduce(std::span<float>(values));
  return (seconds() - start) / repeats;
}

/// Bytes per second of a copy of 64 MiB, in GB/s.
double copy_rate() {
  const std::vector<char> from(size_t{64} << 20, 1);
  std::vector<char> to(from.size());
  double best_s = 1e9;
  for (int i = 0; i < 3; ++i) {
    const double start = seconds();
    std::memcpy(to.data(), from.data(), from.size());
    best_s = std::min(best_s, seconds() - start);
  }
  return to.back() == 1 ? static_cast<double>(from.size()) / best_s * 1e-9 : 0;
}

/// Writes and verifies a checkpoint of 16 MiB in `folder`; returns the seconds to write it.
double try_checkpoint(Communicator& comm, const std::string& folder) {
  std::vector<float> values(int64_t{4} << 20, 0.5f);
  const double start = seconds();
  const std::string path = save_checkpoint(
      comm, folder, {}, {{"/parameters/probe", {int64_t{4} << 20}, DType::kFloat32, values.data()}});
  const double time_s = seconds() - start;
  check_on_root(comm, [&] {
    const std::vector<std::string> problems = verify_checkpoint(path);
    std::filesystem::remove(path);
    if (!problems.empty())
      throw Error(folder, "a checkpoint read back differs: " + problems[0], "do not trust this file system");
  });
  return time_s;
}

const char* name_of(Health health) {
  return health == Health::kOk ? "ok" : health == Health::kWarn ? "warn" : "FAIL";
}

void print_table(const std::vector<Finding>& findings, const std::vector<RankFacts>& ranks) {
  for (size_t r = 0; r < ranks.size() && r < 16; ++r)
    fmt::print("rank {:<4} {} (cores {}) {}\n", r, ranks[r].host, ranks[r].cores, ranks[r].gpu);
  if (ranks.size() > 16) fmt::print("… and {} more\n", ranks.size() - 16);
  fmt::print("\n");
  for (const Finding& finding : findings) {
    fmt::print("{:4}  {:14} {}\n", name_of(finding.health), finding.check, finding.found);
    if (!finding.remedy.empty()) fmt::print("{:21}remedy: {}\n", "", finding.remedy);
  }
}

std::string findings_json(const std::vector<Finding>& findings) {
  std::vector<std::string> rows;
  for (const Finding& finding : findings) {
    JsonObject row;
    row.set("check", finding.check)
        .set("health", finding.health == Health::kFail ? "fail" : name_of(finding.health))
        .set("found", finding.found);
    if (!finding.remedy.empty()) row.set("remedy", finding.remedy);
    rows.push_back(row.str());
  }
  return fmt::format("[{}]", fmt::join(rows, ", "));
}

}  // namespace

static int doctor_command(const Words& words, Communicator& comm) {
  CommandLine line(
      "doctor [--folder DIR] [--job JOB.yaml] [--json]",
      "Checks ranks, cores, GPUs, MPI, the network, HDF5 and the file system of this allocation: a\n"
      "table of ok, warn and FAIL with what to do. Status 1 where something fails.",
      {});
  line.add()("folder", po::value<std::string>()->default_value("."), "where checkpoints would go")(
      "job", po::value<std::string>(), "its threads and the room of its checkpoints count too")(
      "set", po::value<Words>()->composing(), "KEY=VALUE: change a key of the job file; may be repeated")(
      "json", "print one JSON object");
  if (!line.parse(words, comm.is_root())) return 0;

  Measured measured;
  int64_t threads = 1;
  check_on_root(comm, [&] {
    if (!std::filesystem::is_directory(line.text("folder")))
      throw Error(line.text("folder"), "is no folder", "make it, or name another --folder");
    if (!line.has("job")) return;
    Config config = read_job_file(line.text("job"), line.has("set") ? line.get<Words>("set") : Words{});
    use_without_gpu(config);
    const Job job = read_job(config);
    threads = job.threads;
    measured.job_checkpoint_bytes = state_of(job).bytes();
    measured.job_keep = job.keep;
  });
  comm.broadcast(&threads, sizeof threads);
  const std::vector<RankFacts> ranks = gather_facts(comm, line.text("folder"), threads);
  if (comm.size() > 1) {
    measured.small_us = 1e6 * time_all_reduce(comm, 8);
    measured.large_gb_per_s = 16.8e-3 / time_all_reduce(comm, int64_t{4} << 20);
  }
  measured.copy_gb_per_s = copy_rate();
  const bool has_folder = std::all_of(ranks.begin(), ranks.end(), [](const RankFacts& rank) {
    return rank.folder_is_writable && rank.folder_is_seen;
  });
  constexpr int64_t kProbe = int64_t{32} << 20;
  if (has_folder && ranks[0].folder_free_bytes > kProbe)
    measured.checkpoint_mb_per_s = 16.8 / try_checkpoint(comm, line.text("folder"));
  const std::vector<Finding> findings = judge(ranks, measured);
  const bool fit = std::none_of(findings.begin(), findings.end(),
                                [](const Finding& finding) { return finding.health == Health::kFail; });
  if (comm.is_root() && line.has("json")) {
    JsonObject o;
    o.set("ranks", comm.size())
        .set("device", device_name(Device{}))
        .set("gpus", cuda_device_count())
        .set("nccl", nccl_version())
        .set("all_reduce_small_us", measured.small_us);
    o.set("all_reduce_gb_per_s", measured.large_gb_per_s)
        .set("checkpoint_mb_per_s", measured.checkpoint_mb_per_s)
        .set("fit", fit)
        .set_raw("checks", findings_json(findings));
    fmt::print("{}\n", o.str());
  } else if (comm.is_root()) {
    fmt::print("GPUs: {}{}; NCCL: {}; MPI: {}\n", cuda_device_count(),
               cuda_device_count() == 0 ? " (" + why_no_cuda() + ")" : "",
               why_no_nccl().empty() ? nccl_version() : "none (" + why_no_nccl() + ")",
               mpi_library_version());
    print_table(findings, ranks);
    fmt::print("{}\n", fit ? "fit to train" : "not fit to train");
  }
  return fit ? 0 : 1;
}

namespace {
const bool doctor_registered = commands().add(
    "doctor", {.summary = "check ranks, binding, MPI, HDF5 and the file system", .run = doctor_command}, 16);
}

}  // namespace lockstep
