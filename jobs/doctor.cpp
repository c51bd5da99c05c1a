// lockstep doctor: is this machine or allocation fit to train? First form: ranks and hosts,
// cores per rank, MPI, HDF5 round trip on the file system, GPUs.
#include <fmt/format.h>
#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <filesystem>
#include <fstream>
#include <map>
#include <set>

#include "comm/agreement.h"
#include "comm/nccl/nccl.h"
#include "io/checkpoint/checkpoint.h"
#include "io/files/metrics.h"
#include "jobs/command.h"
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

/// "host cpus": the processors that this rank may run on.
std::string placement() {
  cpu_set_t set;
  CPU_ZERO(&set);
  sched_getaffinity(0, sizeof set, &set);
  std::string cpus;
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (CPU_ISSET(cpu, &set)) cpus += (cpus.empty() ? "" : ",") + std::to_string(cpu);
  }
  return host_name() + " " + cpus;
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

static int doctor_command(const Words& words, Communicator& comm) {
  CommandLine line("doctor [--folder DIR] [--json]",
                   "Checks ranks, cores, MPI, HDF5 and the file system of this allocation.", {});
  line.add()("folder", po::value<std::string>()->default_value("."), "where checkpoints would go")(
      "json", "print one JSON object");
  if (!line.parse(words, comm.is_root())) return 0;

  const std::vector<std::string> placements = comm.all_gather_strings(placement());
  const std::vector<std::string> gpus = comm.all_gather_strings(gpu_of_rank());
  std::set<std::string> hosts;
  std::map<std::string, int> same_place;
  for (const std::string& p : placements) {
    hosts.insert(p.substr(0, p.find(' ')));
    ++same_place[p];
  }
  int most = 0;
  size_t cores_there = 1;
  for (const auto& [place, count] : same_place) {
    if (count > most)
      most = count, cores_there = 1 + static_cast<size_t>(std::count(place.begin(), place.end(), ','));
  }
  const double small_s = time_all_reduce(comm, 8), large_s = time_all_reduce(comm, int64_t{4} << 20);
  const double checkpoint_s = try_checkpoint(comm, line.text("folder"));
  if (!comm.is_root()) return 0;

  std::vector<std::string> findings;
  if (static_cast<size_t>(most) > cores_there) {
    findings.push_back(
        fmt::format("{} ranks share {} cores: start fewer ranks, or bind with mpirun --bind-to core / srun "
                    "--cpu-bind=cores",
                    most, cores_there));
  }
  const double rate = 16.8e6 / checkpoint_s;
  if (line.has("json")) {
    JsonObject o;
    o.set("ranks", comm.size())
        .set("hosts", static_cast<int64_t>(hosts.size()))
        .set("device", device_name(Device{}));
    o.set("gpus", cuda_device_count())
        .set("nccl", nccl_version())
        .set("all_reduce_small_us", 1e6 * small_s)
        .set("all_reduce_16mib_ms", 1e3 * large_s);
    o.set("checkpoint_mb_per_s", rate * 1e-6).set("fit", findings.empty());
    fmt::print("{}\n", o.str());
  } else {
    fmt::print("ranks        {} on {} host{}\ndevice       {}\nGPUs         {}{}\n", comm.size(),
               hosts.size(), hosts.size() > 1 ? "s" : "", device_name(Device{}), cuda_device_count(),
               cuda_device_count() == 0 ? " (" + why_no_cuda() + ")" : "");
    for (size_t r = 0; r < placements.size() && r < 16; ++r) {
      fmt::print("  rank {:<4} {} (cores {}) {}\n", r, placements[r].substr(0, placements[r].find(' ')),
                 placements[r].substr(placements[r].find(' ') + 1), gpus[r]);
    }
    if (cuda_device_count() > 0 || why_no_nccl().empty())
      fmt::print("NCCL         {}\n",
                 why_no_nccl().empty() ? nccl_version() : "none (" + why_no_nccl() + ")");
    if (comm.size() > 1)
      fmt::print("all-reduce   {:.1f} us for 32 bytes, {:.1f} ms for 16 MiB\n", 1e6 * small_s, 1e3 * large_s);
    fmt::print("checkpoint   16 MiB in {:.0f} ms ({:.0f} MB/s), read back whole\n", 1e3 * checkpoint_s,
               rate * 1e-6);
    for (const std::string& finding : findings) fmt::print("FINDING      {}\n", finding);
    if (findings.empty()) fmt::print("fit to train\n");
  }
  return findings.empty() ? 0 : 1;
}

namespace {
const bool doctor_registered = commands().add(
    "doctor", {.summary = "check ranks, binding, MPI, HDF5 and the file system", .run = doctor_command}, 16);
}

}  // namespace lockstep
