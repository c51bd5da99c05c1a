// What the files of the runtime share: streams, events, captures and the rules between them.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include <cuda_on_host/runtime_api.h>

namespace cuda_on_host {

using Work = std::vector<std::function<void()>>;

/// How much of each stream's captured work something comes after.
using Progress = std::map<cudaStream_t, int64_t>;

/// What is submitted to `origin`, and to the streams that wait for its events, becomes one graph.
struct Capture {
  cudaStream_t origin = nullptr;
  cudaStreamCaptureMode mode = cudaStreamCaptureModeGlobal;
  std::thread::id thread;
  bool is_valid = true;
  Work work;                                  // in the order of submission, which every dependency respects
  std::map<cudaStream_t, Progress> progress;  // of each stream that takes part
};

/// Guards all that is below and in the runtime's own tables; not held while work runs.
std::recursive_mutex& state_mutex();
int current_device();
int n_devices();

bool is_stream(cudaStream_t stream);
int device_of(cudaStream_t stream);
/// The stream's capture, or null.
std::shared_ptr<Capture> capture_of(cudaStream_t stream);
/// Gives the stream's errors to the capture: after one it yields no graph.
cudaError_t spoil(const std::shared_ptr<Capture>& capture, cudaError_t error);

/// What CUDA answers to a call that waits or allocates: success, or, while a stream captures, an
/// error that spoils the capture.
cudaError_t refuse_while_capturing();

/// While one exists, device memory may be read and written. Otherwise AddressSanitizer, where it is
/// in use, takes a touch for an error: a real GPU's memory is not the host's.
class OpenDeviceMemory {
 public:
  OpenDeviceMemory();
  ~OpenDeviceMemory();
  OpenDeviceMemory(const OpenDeviceMemory&) = delete;
  OpenDeviceMemory& operator=(const OpenDeviceMemory&) = delete;
};

}  // namespace cuda_on_host

struct CUstream_st {
  int device = 0;
  bool is_blocking = true;  // towards the default stream
  std::shared_ptr<cuda_on_host::Capture> capture;
};
struct CUevent_st {
  int device = 0;
  bool has_timing = true, is_recorded = false;
  std::chrono::steady_clock::time_point time;
  std::shared_ptr<cuda_on_host::Capture> capture;  // recorded while it ran
  cuda_on_host::Progress progress;
};
struct CUgraph_st {
  cuda_on_host::Work work;
};
struct CUgraphExec_st {
  cuda_on_host::Work work;
};
