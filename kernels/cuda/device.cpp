// CUDA devices: how many, their names, memory, streams, events and recorded work. Host code over the
// CUDA runtime; a machine without driver has no devices, which is not an error until one is asked for.
#include <cuda_runtime.h>
#include <fmt/format.h>

#include <algorithm>
#include <string>

#include "kernels/backend.h"
#include "kernels/cuda/convolution.h"
#include "kernels/cuda/matmul.h"
#include "kernels/cuda/runtime.h"
#include "kernels/error.h"
#include "kernels/library_versions.h"

namespace lockstep::cuda {

void check(cudaError_t status, const char* call) {
  if (status == cudaSuccess) return;
  int index = 0;
  if (cudaGetDevice(&index) != cudaSuccess) index = 0;
  throw Error("cuda:" + std::to_string(index), std::string(call) + " failed: " + cudaGetErrorString(status),
              "see that `nvidia-smi` shows the device and that CUDA_VISIBLE_DEVICES is right");
}

CudaStream::CudaStream(int index) : index_(index) {
  check(cudaSetDevice(index), "cudaSetDevice");
  check(cudaStreamCreateWithFlags(&handle_, cudaStreamNonBlocking), "cudaStreamCreateWithFlags");
  sums_ = reinterpret_cast<double*>(allocate(index, kSums * int64_t{sizeof(double)}));
  result_ = reinterpret_cast<double*>(allocate_on_host(index, sizeof(double)));
  if (!sums_ || !result_)
    throw Error("memory of " + device().str(), "no room for a stream",
                "see who else uses the GPU: nvidia-smi");
}

CudaStream::~CudaStream() {
  if (result_) release_on_host(reinterpret_cast<std::byte*>(result_));
  if (sums_) release(index_, reinterpret_cast<std::byte*>(sums_));
  cudaStreamDestroy(handle_);
}

void CudaStream::synchronize() { check(cudaStreamSynchronize(handle_), "cudaStreamSynchronize"); }

namespace {

class CudaEvent : public Event {
 public:
  explicit CudaEvent(int index) {
    check(cudaSetDevice(index), "cudaSetDevice");
    check(cudaEventCreateWithFlags(&event_, cudaEventDisableTiming), "cudaEventCreateWithFlags");
  }
  ~CudaEvent() override { cudaEventDestroy(event_); }
  CudaEvent(const CudaEvent&) = delete;
  CudaEvent& operator=(const CudaEvent&) = delete;
  void record(Stream& stream) override {
    check(cudaEventRecord(event_, handle_of(stream)), "cudaEventRecord");
  }
  void hold(Stream& stream) override {
    check(cudaStreamWaitEvent(handle_of(stream), event_, 0), "cudaStreamWaitEvent");
  }
  void synchronize() override { check(cudaEventSynchronize(event_), "cudaEventSynchronize"); }

 private:
  cudaEvent_t event_ = nullptr;
};

class CudaGraph : public RecordedWork {
 public:
  CudaGraph(Stream& stream, const std::function<void()>& submit) {
    cudaGraph_t graph = nullptr;
    check(cudaStreamBeginCapture(handle_of(stream), cudaStreamCaptureModeThreadLocal),
          "cudaStreamBeginCapture");
    try {
      submit();
    } catch (...) {
      if (cudaStreamEndCapture(handle_of(stream), &graph) == cudaSuccess) cudaGraphDestroy(graph);
      throw;
    }
    check(cudaStreamEndCapture(handle_of(stream), &graph), "cudaStreamEndCapture");
    const cudaError_t status = cudaGraphInstantiate(&graph_, graph, 0);
    cudaGraphDestroy(graph);
    check(status, "cudaGraphInstantiate");
  }
  ~CudaGraph() override { cudaGraphExecDestroy(graph_); }
  CudaGraph(const CudaGraph&) = delete;
  CudaGraph& operator=(const CudaGraph&) = delete;
  void run(Stream& stream) override { check(cudaGraphLaunch(graph_, handle_of(stream)), "cudaGraphLaunch"); }

 private:
  cudaGraphExec_t graph_ = nullptr;
};

}  // namespace

std::unique_ptr<Stream> make_stream(int index) { return std::make_unique<CudaStream>(index); }
std::unique_ptr<Event> make_event(int index) { return std::make_unique<CudaEvent>(index); }
std::unique_ptr<RecordedWork> record_work(Stream& stream, const std::function<void()>& submit) {
  return std::make_unique<CudaGraph>(stream, submit);
}

std::string device_name(int index) {
  cudaDeviceProp properties;
  check(cudaGetDeviceProperties(&properties, index), "cudaGetDeviceProperties");
  return properties.name;
}

std::vector<Version> library_versions() {
  const auto shown = [](int code) { return fmt::format("{}.{}", code / 1000, code / 10 % 100); };
  int runtime = 0, driver = 0;  // 0.0: there is no driver
  if (cudaRuntimeGetVersion(&runtime) != cudaSuccess) runtime = 0;
  if (cudaDriverGetVersion(&driver) != cudaSuccess) driver = 0;
  return {{"CUDA", fmt::format("{}, driver for {}", shown(runtime), driver == 0 ? "none" : shown(driver))},
          {"cuBLASLt", matmul_library_version()},
          {"cuDNN", convolution_library_version()}};
}

int device_count() {
  int n = 0;
  return cudaGetDeviceCount(&n) == cudaSuccess ? n : 0;
}

std::string why_no_device() {
  int n = 0;
  const cudaError_t status = cudaGetDeviceCount(&n);
  if (status == cudaSuccess && n > 0) return "";
  return std::string("no usable GPU was found: ") +
         (status == cudaSuccess ? "CUDA_VISIBLE_DEVICES hides them" : cudaGetErrorString(status));
}

std::string device_address(int index) {
  char address[32] = {};
  check(cudaDeviceGetPCIBusId(address, sizeof(address), index), "cudaDeviceGetPCIBusId");
  return address;
}

int64_t free_bytes(int index) {
  size_t free = 0, total = 0;
  check(cudaSetDevice(index), "cudaSetDevice");
  check(cudaMemGetInfo(&free, &total), "cudaMemGetInfo");
  return static_cast<int64_t>(free);
}

std::byte* allocate(int index, int64_t n_bytes) {
  check(cudaSetDevice(index), "cudaSetDevice");
  void* data = nullptr;
  if (cudaMalloc(&data, static_cast<size_t>(n_bytes)) != cudaSuccess) {
    cudaGetLastError();  // out of memory is reported by the caller, with the sizes
    return nullptr;
  }
  check(cudaMemset(data, 0, static_cast<size_t>(n_bytes)), "cudaMemset");
  check(cudaDeviceSynchronize(), "cudaDeviceSynchronize");  // streams do not wait for the memset
  return static_cast<std::byte*>(data);
}

void release(int index, std::byte* data) noexcept {
  if (cudaSetDevice(index) == cudaSuccess) cudaFree(data);
}

std::byte* allocate_on_host(int index, int64_t n_bytes) {
  check(cudaSetDevice(index), "cudaSetDevice");
  void* data = nullptr;
  if (cudaHostAlloc(&data, static_cast<size_t>(n_bytes), cudaHostAllocPortable) != cudaSuccess) {
    cudaGetLastError();
    return nullptr;
  }
  std::fill_n(static_cast<std::byte*>(data), n_bytes, std::byte{0});
  return static_cast<std::byte*>(data);
}

void release_on_host(std::byte* data) noexcept { cudaFreeHost(data); }

void copy(Stream& stream, void* dst, const void* src, int64_t n_bytes) {
  check(cudaMemcpyAsync(dst, src, static_cast<size_t>(n_bytes), cudaMemcpyDefault, handle_of(stream)),
        "cudaMemcpyAsync");
}

}  // namespace lockstep::cuda
