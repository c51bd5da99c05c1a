// Reads the facts of a rank from /proc, /sys and the run folder, and shares them as text. What a system does
// not tell stays at its default, which no check takes for a fault.
#include "jobs/doctor/rank_facts.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/statfs.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iomanip>
#include <sstream>

#include "jobs/version.h"
#include "kernels/device.h"

namespace lockstep {

namespace {

std::string first_line(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

std::vector<int> cores_of_process() {
  cpu_set_t set;
  CPU_ZERO(&set);
  std::vector<int> cores;
  if (sched_getaffinity(0, sizeof set, &set) != 0) return cores;
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu)
    if (CPU_ISSET(cpu, &set)) cores.push_back(cpu);
  return cores;
}

/// Version 2 of cgroups ("max 100000" or "150000 100000"), or version 1 (two files, -1: none).
double quota_of_process() {
  std::istringstream two(first_line("/sys/fs/cgroup/cpu.max"));
  double quota_us = 0, period_us = 0;
  if (two >> quota_us >> period_us && period_us > 0) return quota_us / period_us;
  std::istringstream quota(first_line("/sys/fs/cgroup/cpu/cpu.cfs_quota_us")),
      period(first_line("/sys/fs/cgroup/cpu/cpu.cfs_period_us"));
  if (quota >> quota_us && period >> period_us && quota_us > 0 && period_us > 0) return quota_us / period_us;
  return 0;
}

int64_t limit_of(decltype(RLIMIT_NOFILE) what) {
  rlimit limit{};
  if (getrlimit(what, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) return -1;
  return static_cast<int64_t>(limit.rlim_cur);
}

/// Numbers of linux/magic.h and of the file systems' own sources.
std::string kind_of(const struct statfs& fs) {
  switch (static_cast<uint32_t>(fs.f_type)) {
    case 0x0BD00BD0: return "Lustre";
    case 0x47504653: return "GPFS";
    case 0x6969: return "NFS";
    case 0x19830326: return "BeeGFS";
    case 0x01021994: return "tmpfs";
    case 0x794C7630: return "overlay";
    case 0xEF53: return "ext4";
    case 0x58465342: return "XFS";
    case 0x9123683E: return "Btrfs";
    case 0x2FC12FC1: return "ZFS";
    default: return "unknown";
  }
}

/// A file with some bytes in it: a full disk lets files be made and refuses what goes into them.
bool write_file_of_rank(const std::string& path) {
  const int file = open(path.c_str(), O_CREAT | O_WRONLY | O_TRUNC | O_CLOEXEC, 0600);
  if (file < 0) return false;
  const std::string bytes(65536, 'x');
  const bool wrote = write(file, bytes.data(), bytes.size()) == static_cast<ssize_t>(bytes.size());
  return close(file) == 0 && wrote;
}

std::string to_text(const RankFacts& f) {
  std::ostringstream s;
  s << std::quoted(f.host) << ' ' << std::quoted(f.cpu) << ' ' << std::quoted(f.versions) << ' '
    << std::quoted(f.mpi) << ' ' << std::quoted(f.governor) << ' ' << std::quoted(f.file_system) << ' '
    << f.threads << ' ' << f.quota_cores << ' ' << f.load << ' ' << f.open_files << ' ' << f.locked_bytes
    << ' ' << f.shm_free_bytes << ' ' << f.folder_free_bytes << ' ' << f.folder_free_inodes << ' '
    << f.writable << ' ' << f.sees_root_file;
  for (int core : f.cores) s << ' ' << core;
  return s.str();
}

RankFacts from_text(const std::string& text) {
  std::istringstream s(text);
  RankFacts f;
  s >> std::quoted(f.host) >> std::quoted(f.cpu) >> std::quoted(f.versions) >> std::quoted(f.mpi) >>
      std::quoted(f.governor) >> std::quoted(f.file_system) >> f.threads >> f.quota_cores >> f.load >>
      f.open_files >> f.locked_bytes >> f.shm_free_bytes >> f.folder_free_bytes >> f.folder_free_inodes >>
      f.writable >> f.sees_root_file;
  for (int core = 0; s >> core;) f.cores.push_back(core);
  return f;
}

}  // namespace

std::vector<RankFacts> gather_facts(Communicator& comm, const std::string& folder, int threads) {
  RankFacts f;
  f.host = host_name();
  f.cpu = device_name(Device{});
  f.versions = version_text();
  f.mpi = mpi_library_version();
  f.cores = cores_of_process();
  f.threads = threads > 0 ? threads : compute_threads();
  f.quota_cores = quota_of_process();
  if (double load = 0; getloadavg(&load, 1) == 1) f.load = load;
  f.governor = first_line("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor");
  f.open_files = limit_of(RLIMIT_NOFILE);
  f.locked_bytes = limit_of(RLIMIT_MEMLOCK);
  struct statfs fs {};
  if (statfs("/dev/shm", &fs) == 0) f.shm_free_bytes = int64_t(fs.f_bavail) * int64_t(fs.f_bsize);
  f.file_system = "unknown";
  if (statfs(folder.c_str(), &fs) == 0) {
    f.file_system = kind_of(fs);
    f.folder_free_bytes = int64_t(fs.f_bavail) * int64_t(fs.f_bsize);
    if (fs.f_files > 0) f.folder_free_inodes = int64_t(fs.f_ffree);
  }

  // Names hold a number of rank 0's process: folders that are not shared may hold the files of an earlier
  // doctor.
  const std::string key = comm.broadcast_string(fmt::format("{}-{}", host_name(), getpid()));
  const auto path_of = [&](int rank) { return fmt::format("{}/.doctor-{}-{}", folder, key, rank); };
  f.writable = write_file_of_rank(path_of(comm.rank()));
  comm.barrier();
  // A rank 0 that cannot write is one fault, not two.
  const bool root_wrote = comm.broadcast_string(f.writable ? "1" : "0") == "1";
  f.sees_root_file = !root_wrote || access(path_of(0).c_str(), F_OK) == 0;
  comm.barrier();
  std::error_code ignored;
  std::filesystem::remove(path_of(comm.rank()), ignored);

  std::vector<RankFacts> all;
  for (const std::string& text : comm.all_gather_strings(to_text(f))) all.push_back(from_text(text));
  return all;
}

}  // namespace lockstep
