// Finds libnccl.so.2: the file that LOCKSTEP_NCCL_LIBRARY names, else where the loader looks, else beside
// CUDA's libraries that this process has (a toolkit folder, or Python's packages nvidia/*/lib), else where
// the build found it. LOCKSTEP_NCCL_LIBRARY=none does without.
#include "comm/nccl/nccl_library.h"

#include <dlfcn.h>
#include <fmt/format.h>
#include <link.h>

#include <cstdlib>
#include <string>
#include <type_traits>
#include <vector>

#include "comm/nccl/nccl.h"
#include "kernels/error.h"

namespace lockstep {
namespace {

constexpr const char* kName = "libnccl.so.2";

/// Of a library of CUDA's in this process: libnccl.so.2 in its folder, or in the package next to it.
int add_places_beside(dl_phdr_info* info, size_t, void* files) {
  const std::string path = info->dlpi_name == nullptr ? "" : info->dlpi_name;
  const size_t slash = path.rfind('/');
  if (slash == std::string::npos || path.compare(slash, 11, "/libcublasL") != 0) return 0;
  const std::string folder = path.substr(0, slash);
  auto& places = *static_cast<std::vector<std::string>*>(files);
  places.push_back(folder + "/" + kName);
  places.push_back(folder + "/../../nccl/lib/" + kName);
  return 0;
}

std::vector<std::string> places() {
  if (const char* named = std::getenv("LOCKSTEP_NCCL_LIBRARY"); named != nullptr && *named != '\0')
    return {named};
  std::vector<std::string> files = {kName};
  dl_iterate_phdr(add_places_beside, &files);
  if (std::string(LOCKSTEP_NCCL_BUILT_WITH) != "") files.push_back(LOCKSTEP_NCCL_BUILT_WITH);
  return files;
}

struct Found {
  NcclLibrary library{};
  std::string version, why;

  Found() {
    const std::vector<std::string> files = places();
    if (files[0] == "none") {
      why = "LOCKSTEP_NCCL_LIBRARY says none";
      return;
    }
    void* handle = nullptr;
    std::string first_error;
    for (const std::string& file : files) {
      if (handle == nullptr) handle = dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL);
      if (handle == nullptr && first_error.empty()) first_error = dlerror();
    }
    if (handle == nullptr) {
      why = fmt::format("{}; set LOCKSTEP_NCCL_LIBRARY to the file {} of this machine", first_error, kName);
      return;
    }
    take(handle);
  }

  void take(void* handle) {
    const auto load = [&](auto& function, const char* name) {
      function = reinterpret_cast<std::remove_reference_t<decltype(function)>>(dlsym(handle, name));
      if (function == nullptr && why.empty())
        why = fmt::format("{} has no {}: it must be NCCL 2.13 or newer", kName, name);
    };
    load(library.get_version, "ncclGetVersion");
    load(library.error_string, "ncclGetErrorString");
    load(library.last_error, "ncclGetLastError");
    load(library.unique_id, "ncclGetUniqueId");
    load(library.init, "ncclCommInitRank");
    load(library.destroy, "ncclCommDestroy");
    load(library.abort, "ncclCommAbort");
    load(library.async_error, "ncclCommGetAsyncError");
    load(library.group_start, "ncclGroupStart");
    load(library.group_end, "ncclGroupEnd");
    load(library.send, "ncclSend");
    load(library.receive, "ncclRecv");
    load(library.all_reduce, "ncclAllReduce");
    int code = 0;
    if (why.empty() && library.get_version(&code) != ncclSuccess) why = "ncclGetVersion failed";
    if (why.empty()) version = fmt::format("{}.{}.{}", code / 10000, code / 100 % 100, code % 100);
  }
};

const Found& found() {
  static const Found result;
  return result;
}

}  // namespace

const NcclLibrary& nccl() {
  if (!found().why.empty())
    throw Error("NCCL", found().why,
                "install NCCL 2.13 or newer, or send gradients through host memory and MPI "
                "(LOCKSTEP_NCCL_LIBRARY=none)");
  return found().library;
}

const std::string& nccl_version() { return found().version; }
const std::string& why_no_nccl() { return found().why; }

}  // namespace lockstep
