// CUDA devices: how many, their names, memory and streams. Host code over the CUDA runtime; a
// machine without driver has no devices, which is not an error until one is asked for.
#include <cuda_runtime.h>

#include <string>

#include "kernels/backend.h"
#include "kernels/error.h"

namespace lockstep::cuda {

namespace {

void check(cudaError_t status, const char* call, int index) {
  if (status == cudaSuccess) return;
  throw Error("cuda:" + std::to_string(index), std::string(call) + " failed: " + cudaGetErrorString(status),
              "see that `nvidia-smi` shows the device and that CUDA_VISIBLE_DEVICES is right");
}

class CudaStream : public Stream {
 public:
  explicit CudaStream(int index) : index_(index) {
    check(cudaSetDevice(index), "cudaSetDevice", index);
    check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "cudaStreamCreateWithFlags", index);
  }
  ~CudaStream() override { cudaStreamDestroy(stream_); }
  CudaStream(const CudaStream&) = delete;
  CudaStream& operator=(const CudaStream&) = delete;
  Device device() const override { return {Device::Kind::kCuda, index_}; }
  void synchronize() override { check(cudaStreamSynchronize(stream_), "cudaStreamSynchronize", index_); }

 private:
  int index_;
  cudaStream_t stream_ = nullptr;
};

}  // namespace

std::unique_ptr<Stream> make_stream(int index) { return std::make_unique<CudaStream>(index); }

std::string device_name(int index) {
  cudaDeviceProp properties;
  check(cudaGetDeviceProperties(&properties, index), "cudaGetDeviceProperties", index);
  return properties.name;
}

int device_count() {
  int n = 0;
  return cudaGetDeviceCount(&n) == cudaSuccess ? n : 0;
}

std::byte* allocate(int index, int64_t n_bytes) {
  check(cudaSetDevice(index), "cudaSetDevice", index);
  void* data = nullptr;
  if (cudaMalloc(&data, static_cast<size_t>(n_bytes)) != cudaSuccess) {
    cudaGetLastError();  // out of memory is reported by the caller, with the sizes
    return nullptr;
  }
  check(cudaMemset(data, 0, static_cast<size_t>(n_bytes)), "cudaMemset", index);
  return static_cast<std::byte*>(data);
}

void release(int index, std::byte* data) noexcept {
  if (cudaSetDevice(index) == cudaSuccess) cudaFree(data);
}

}  // namespace lockstep::cuda
