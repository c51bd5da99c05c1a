#include "src/run/checkpoints/versions.h"

#include <fmt/format.h>

#include <algorithm>

#include "comm/communicator.h"
#include "comm/nccl/nccl.h"
#include "io/hdf5/hdf5_version.h"
#include "kernels/printable.h"
#include "src/run/commit.h"

namespace lockstep {

namespace {

Versions gather(Device::Kind kind) {
  Versions versions = {{"Lockstep", fmt::format("{} (commit {})", LOCKSTEP_VERSION, kCommit)},
                       {"compiler", fmt::format("{} {}, C++{}, {}", LOCKSTEP_COMPILER, __VERSION__,
                                                __cplusplus / 100 % 100, LOCKSTEP_BUILD_TYPE)},
                       {"MPI", mpi_library_version()},
                       {"HDF5", hdf5_version()}};
  const auto add = [&](const Versions& more) { versions.insert(versions.end(), more.begin(), more.end()); };
  add(library_versions(Device::Kind::kCpu));
  if (kind == Device::Kind::kCpu) return versions;
  add(library_versions(kind));
  add({{"NCCL", nccl_version().empty() ? "none" : nccl_version()}});
  return versions;
}

}  // namespace

const Versions& versions_of(Device::Kind kind) {
  if (kind == Device::Kind::kCpu) {
    static const Versions on_cpu = gather(kind);
    return on_cpu;
  }
  static const Versions on_gpu = gather(kind);
  return on_gpu;
}

Versions computed_with(const Job& job) {
  Versions versions = versions_of(job.device.kind);
  versions.push_back({"device", device_name(job.device)});
  versions.push_back({"precision", job.tf32 ? "tf32" : std::string(name_of(job.precision))});
  return versions;
}

void add_versions(const Versions& versions, CheckpointInfo& info) {
  for (const Version& version : versions) info.texts[kComputedWith + version.name] = version.value;
}

Versions read_versions(const CheckpointInfo& info) {
  Versions versions;
  const std::string prefix = kComputedWith;
  for (const auto& [key, value] : info.texts)
    if (key.starts_with(prefix)) versions.push_back({key.substr(prefix.size()), value});
  return versions;
}

std::string what_differs(const Versions& then, const Versions& now) {
  std::string text;
  for (const Version& version : now) {
    const auto before = std::ranges::find(then, version.name, &Version::name);
    if (before == then.end() || before->value == version.value) continue;
    text += fmt::format("{}{} was {}, is {}", text.empty() ? "" : "; ", version.name, shown(before->value),
                        shown(version.value));
  }
  return text;
}

std::string shown(const std::string& value) {
  constexpr size_t kMostBytes = 120;
  return value.size() <= kMostBytes ? printable(value) : printable(value.substr(0, kMostBytes)) + " …";
}

}  // namespace lockstep
