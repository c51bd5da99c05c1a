#include "jobs/doctor/rank_facts.h"

#include <fmt/format.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/statvfs.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <sstream>

#include "jobs/version.h"
#include "kernels/device.h"

namespace lockstep {

namespace {

constexpr char kSeparator = '\x1f';

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

std::string cpu_name() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);)
    if (line.starts_with("model name")) return line.substr(std::min(line.size(), line.find(':') + 2));
  return device_name(Device{});
}

/// Cores' worth of time that the control group grants (version 2, else 1).
double quota() {
  double most = 0, period = 0;
  if (std::ifstream two("/sys/fs/cgroup/cpu.max"); two >> most >> period && period > 0) return most / period;
  std::ifstream quota_us("/sys/fs/cgroup/cpu/cpu.cfs_quota_us"),
      period_us("/sys/fs/cgroup/cpu/cpu.cfs_period_us");
  return quota_us >> most && period_us >> period && most > 0 && period > 0 ? most / period : 0;
}

std::string kind_of_file_system(const std::string& folder) {
  static const std::map<uint64_t, const char*> kKinds{
      {0x0BD00BD0, "Lustre"}, {0x47504653, "GPFS"}, {0x6969, "NFS"},       {0x01021994, "tmpfs"},
      {0xEF53, "ext4"},       {0x58465342, "XFS"},  {0x9123683E, "Btrfs"}, {0x794C7630, "overlay"},
      {0x19830326, "BeeGFS"}, {0x00C36400, "Ceph"}, {0x65735546, "FUSE"},  {0x2FC12FC1, "ZFS"},
      {0xAAD7AAEA, "PanFS"},  {0xC36400, "Ceph"}};
  struct statfs about {};
  if (statfs(folder.c_str(), &about) != 0) return "unknown";
  const auto kind = kKinds.find(static_cast<uint64_t>(about.f_type) & 0xFFFFFFFF);
  return kind == kKinds.end() ? fmt::format("kind {:#x}", static_cast<uint64_t>(about.f_type)) : kind->second;
}

double now() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

/// Seconds that this rank's clock is ahead of rank 0's: of several barriers the one that ended closest.
double clock_ahead(Communicator& comm) {
  double ahead = 0, closest = 1e9;
  for (int i = 0; i < 5; ++i) {
    comm.barrier();
    const double before = now();
    double root = before;
    comm.broadcast(&root, sizeof root);
    const double took = now() - before;
    if (took < closest) closest = took, ahead = before + took / 2 - root;
  }
  return ahead;
}

std::string pack(const RankFacts& f) {
  const std::vector<std::string> parts{f.host,
                                       f.cores,
                                       f.gpu,
                                       f.cpu,
                                       f.program,
                                       std::to_string(f.n_cores),
                                       fmt::format("{}", f.quota_cores),
                                       std::to_string(f.threads),
                                       fmt::format("{}", f.load),
                                       std::to_string(f.open_files),
                                       std::to_string(f.shm_free_bytes),
                                       f.folder_kind,
                                       std::to_string(f.folder_free_bytes),
                                       std::to_string(f.folder_free_inodes),
                                       std::to_string(f.folder_is_writable),
                                       std::to_string(f.folder_is_seen),
                                       fmt::format("{}", f.clock_ahead_s)};
  return fmt::format("{}", fmt::join(parts, std::string(1, kSeparator)));
}

RankFacts unpack(const std::string& text) {
  std::vector<std::string> p;
  std::stringstream parts(text);
  for (std::string part; std::getline(parts, part, kSeparator);) p.push_back(part);
  p.resize(17);
  const auto number = [](const std::string& word) { return std::strtod(word.c_str(), nullptr); };
  const auto whole = [](const std::string& word) { return int64_t{std::strtoll(word.c_str(), nullptr, 10)}; };
  return {p[0],         p[1],         p[2],         p[3],         p[4],         whole(p[5]),
          number(p[6]), whole(p[7]),  number(p[8]), whole(p[9]),  whole(p[10]), p[11],
          whole(p[12]), whole(p[13]), p[14] == "1", p[15] == "1", number(p[16])};
}

/// Whether 64 KiB reach the disk: on a full one an empty file can still be made, and writes fail only when
/// they are flushed.
bool can_write(const std::string& path) {
  const std::vector<char> bytes(size_t{64} << 10, 'x');
  std::ofstream file(path, std::ios::binary);
  file.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  file.close();
  return !file.fail();
}

RankFacts facts_of_rank(const std::string& folder, int64_t threads) {
  RankFacts facts;
  facts.host = host_name();
  cpu_set_t set;
  CPU_ZERO(&set);
  sched_getaffinity(0, sizeof set, &set);
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu)
    if (CPU_ISSET(cpu, &set)) facts.cores += (facts.cores.empty() ? "" : ",") + std::to_string(cpu);
  facts.n_cores = CPU_COUNT(&set);
  facts.quota_cores = quota();
  facts.gpu = gpu_of_rank();
  facts.cpu = cpu_name();
  facts.program = version_text();
  const char* wanted = std::getenv("OMP_NUM_THREADS");
  facts.threads = std::max<int64_t>(threads, wanted ? std::atoll(wanted) : 1);
  std::ifstream("/proc/loadavg") >> facts.load;
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) == 0)
    facts.open_files = static_cast<int64_t>(std::min<rlim_t>(limit.rlim_cur, INT64_MAX));
  struct statvfs space {};
  if (statvfs("/dev/shm", &space) == 0)
    facts.shm_free_bytes = static_cast<int64_t>(space.f_bavail * space.f_frsize);
  facts.folder_kind = kind_of_file_system(folder);
  if (statvfs(folder.c_str(), &space) == 0) {
    facts.folder_free_bytes = static_cast<int64_t>(space.f_bavail * space.f_frsize);
    if (space.f_files > 0) facts.folder_free_inodes = static_cast<int64_t>(space.f_favail);
  }
  return facts;
}

}  // namespace

std::vector<RankFacts> gather_facts(Communicator& comm, const std::string& folder, int64_t threads) {
  RankFacts facts = facts_of_rank(folder, threads);
  const std::string token =
      comm.broadcast_string(fmt::format("{}/.lockstep-doctor-{}-{}", folder, host_name(), getpid()));
  const std::string own = fmt::format("{}.{}", token, comm.rank());
  facts.folder_is_writable = can_write(own);
  comm.barrier();
  facts.folder_is_seen = std::filesystem::exists(token + ".0");
  comm.barrier();
  std::error_code ignored;
  std::filesystem::remove(own, ignored);
  facts.clock_ahead_s = clock_ahead(comm);
  std::vector<RankFacts> all;
  for (const std::string& text : comm.all_gather_strings(pack(facts))) all.push_back(unpack(text));
  return all;
}

}  // namespace lockstep
