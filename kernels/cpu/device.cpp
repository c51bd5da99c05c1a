// The CPU as a device: its name, its instruction sets and the number of threads that ops compute with.
#include "kernels/device.h"

#include <fmt/format.h>
#include <omp.h>

#include <atomic>
#include <fstream>
#include <string>

#include "kernels/backend.h"
#include "kernels/cpu/avx512.h"
#include "kernels/cpu/onednn.h"
#include "kernels/error.h"
#include "kernels/library_versions.h"
#include "kernels/signal_stack.h"

namespace lockstep {

namespace {
std::atomic<int> requested_threads{0};  // 0: what the OpenMP runtime decides
}  // namespace

// OpenMP keeps the number per calling thread; make_stream() passes it on to the thread that
// is going to run ops.
void set_compute_threads(int n) {
  if (n < 1)
    throw Error("threads", "the number of compute threads must be at least 1, not " + std::to_string(n),
                "set threads: 1 or more in the job file");
  requested_threads = n;
  omp_set_dynamic(0);
  omp_set_num_threads(n);
}

int compute_threads() {
  const int n = requested_threads;
  return n > 0 ? n : omp_get_max_threads();
}

namespace cpu {

std::unique_ptr<Stream> make_stream() {
  if (const int n = requested_threads; n > 0) omp_set_num_threads(n);
#pragma omp parallel
  use_signal_stack();
  return build_onednn("stream", [] { return std::make_unique<CpuStream>(); });
}

namespace {

/// What oneDNN generates code for. The values hold the bits of all that a set includes; they are those of
/// dnnl_cpu_isa_t, written out since older headers lack the newer ones.
std::string onednn_instructions() {
  const auto isa = static_cast<unsigned>(dnnl::get_effective_cpu_isa());
  switch (isa) {
    case 0x1: return "sse41";
    case 0x3: return "avx";
    case 0x7: return "avx2";
    case 0x407: return "avx2_vnni";
    case 0x27: return "avx512_core";
    case 0x67: return "avx512_core_vnni";
    case 0xe7: return "avx512_core_bf16";
    case 0x3e7: return "avx512_core_amx";
    default: return fmt::format("{:#x}", isa);  // as newer versions call theirs
  }
}

}  // namespace

std::vector<Version> library_versions() {
  const dnnl_version_t* version = dnnl_version();
  return {{"oneDNN", fmt::format("{}.{}.{}", version->major, version->minor, version->patch)},
          {"instructions", fmt::format("oneDNN {}, own kernels {}", onednn_instructions(),
                                       have_avx512() ? "avx512f" : "portable")}};
}

std::string device_name() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    const auto colon = line.find(": ");
    if (line.starts_with("model name") && colon != std::string::npos) return line.substr(colon + 2);
  }
  return "CPU";
}

}  // namespace cpu

}  // namespace lockstep
