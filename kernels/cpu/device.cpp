// The CPU as a device: its name and the number of threads that ops compute with.
#include "kernels/device.h"

#include <omp.h>

#include <atomic>
#include <fstream>
#include <string>

#include "kernels/backend.h"
#include "kernels/cpu/onednn.h"
#include "kernels/cpu_library.h"
#include "kernels/error.h"
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

std::string cpu_library_version() {
  const dnnl_version_t* version = dnnl_version();
  return std::to_string(version->major) + "." + std::to_string(version->minor) + "." +
         std::to_string(version->patch);
}

namespace cpu {

std::unique_ptr<Stream> make_stream() {
  if (const int n = requested_threads; n > 0) omp_set_num_threads(n);
#pragma omp parallel
  use_signal_stack();
  return build_onednn("stream", [] { return std::make_unique<CpuStream>(); });
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
