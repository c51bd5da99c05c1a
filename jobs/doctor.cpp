// lockstep doctor: is this machine or allocation fit to train? It prints what doctor/checks.cpp finds in the
// facts of all ranks, and what it measures: all-reduces, and a checkpoint written and read back.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cctype>
#include <filesystem>
#include <fstream>
#include <set>

#include "comm/agreement.h"
#include "comm/nccl/nccl.h"
#include "io/checkpoint/checkpoint.h"
#include "io/files/metrics.h"
#include "jobs/command.h"
#include "jobs/doctor/checks.h"
#include "jobs/doctor/rank_facts.h"
#include "jobs/timing.h"
#include "kernels/device.h"

namespace lockstep {

namespace po = boost::program_options;

namespace {

/// The GPU that this rank would train on, with its NUMA node: GPUs and cores of one node are best. "" without
/// one.
std::string gpu_of_rank() {
  const int n_gpus = cuda_device_count();
  if (n_gpus == 0) return "";
  const Device device{Device::Kind::kCuda, launcher_local_rank() % n_gpus};
  std::string address = device_address(device);
  std::transform(address.begin(), address.end(), address.begin(),
                 [](unsigned char c) { return std::tolower(c); });
  std::ifstream file("/sys/bus/pci/devices/" + address + "/numa_node");
  std::string node;
  file >> node;
  return fmt::format("{} {} at {}{}", device.str(), device_name(device), address,
                     node.empty() || node == "-1" ? "" : ", NUMA node " + node);
}

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

}  // namespace

/// The cores as a user writes them: "0,1,5".
static std::string core_list(const std::vector<int>& cores) {
  return fmt::format("{}", fmt::join(cores, ","));
}

static int doctor_command(const Words& words, Communicator& comm) {
  CommandLine line(
      "doctor [--folder DIR] [--json]",
      "Checks ranks, cores, MPI, HDF5 and the file system of this allocation. Exit status 1 where a check "
      "fails; warnings are 0.",
      {});
  line.add()("folder", po::value<std::string>()->default_value("."), "where checkpoints would go")(
      "json", "print one JSON object");
  if (!line.parse(words, comm.is_root())) return 0;

  const std::string folder = line.text("folder");
  check_on_root(comm, [&] {
    std::error_code e;
    std::filesystem::create_directories(folder, e);
    if (e) throw Error(folder, "cannot be made: " + e.message(), "name a folder that you may write");
  });
  const std::vector<RankFacts> facts = gather_facts(comm, folder);
  const std::vector<std::string> gpus = comm.all_gather_strings(gpu_of_rank());
  std::vector<std::pair<std::string, Finding>> findings;
  bool fit = true, writable = true;
  for (const DoctorCheck& check : doctor_checks()) {
    findings.emplace_back(check.name, check.judge(facts));
    fit = fit && findings.back().second.verdict != Verdict::kFail;
  }
  std::set<std::string> hosts;
  for (const RankFacts& f : facts) {
    hosts.insert(f.host);
    writable = writable && f.writable && f.sees_root_file;
  }
  const double small_s = time_all_reduce(comm, 8), large_s = time_all_reduce(comm, int64_t{4} << 20);
  const double checkpoint_s = writable ? try_checkpoint(comm, folder) : 0;  // 0: not tried
  if (!comm.is_root()) return fit ? 0 : 1;

  const double rate = writable ? 16.8e6 / checkpoint_s : 0;
  if (line.has("json")) {
    std::string list;
    for (const auto& [name, finding] : findings) {
      JsonObject one;
      one.set("check", name).set("verdict", verdict_word(finding.verdict));
      one.set("meaning", finding.meaning).set("remedy", finding.remedy);
      list += (list.empty() ? "" : ", ") + one.str();
    }
    JsonObject o;
    o.set("ranks", comm.size())
        .set("hosts", static_cast<int64_t>(hosts.size()))
        .set("device", device_name(Device{}));
    o.set("gpus", cuda_device_count())
        .set("nccl", nccl_version())
        .set("all_reduce_small_us", 1e6 * small_s)
        .set("all_reduce_16mib_ms", 1e3 * large_s);
    if (writable) o.set("checkpoint_mb_per_s", rate * 1e-6);
    o.set("fit", fit).set_raw("findings", "[" + list + "]");
    fmt::print("{}\n", o.str());
  } else {
    fmt::print("ranks        {} on {} host{}\ndevice       {}\nGPUs         {}{}\n", comm.size(),
               hosts.size(), hosts.size() > 1 ? "s" : "", device_name(Device{}), cuda_device_count(),
               cuda_device_count() == 0 ? " (" + why_no_cuda() + ")" : "");
    for (size_t r = 0; r < facts.size() && r < 16; ++r)
      fmt::print("  rank {:<4} {} (cores {}) {}\n", r, facts[r].host, core_list(facts[r].cores), gpus[r]);
    if (cuda_device_count() > 0 || why_no_nccl().empty())
      fmt::print("NCCL         {}\n",
                 why_no_nccl().empty() ? nccl_version() : "none (" + why_no_nccl() + ")");
    if (comm.size() > 1)
      fmt::print("all-reduce   {:.1f} us for 32 bytes, {:.1f} ms for 16 MiB\n", 1e6 * small_s, 1e3 * large_s);
    if (writable)
      fmt::print("checkpoint   16 MiB in {:.0f} ms ({:.0f} MB/s), read back whole\n", 1e3 * checkpoint_s,
                 rate * 1e-6);
    for (const auto& [name, finding] : findings) {
      fmt::print("{:<4} {:<14} {}\n", verdict_word(finding.verdict), name, finding.meaning);
      if (!finding.remedy.empty()) fmt::print("     {:<14} remedy: {}\n", "", finding.remedy);
    }
    fmt::print("{}\n", fit ? "fit to train" : "not fit to train");
  }
  return fit ? 0 : 1;
}

namespace {
const bool doctor_registered = commands().add(
    "doctor", {.summary = "check ranks, binding, MPI, HDF5 and the file system", .run = doctor_command}, 16);
}

}  // namespace lockstep
