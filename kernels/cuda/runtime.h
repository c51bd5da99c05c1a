// What the files of cuda/ share on the host side: the checker of CUDA calls, the stream, and the one
// way to start a kernel. The same sources also compile for the host in tests (tests/cuda_on_host), where
// cudaLaunchKernelEx runs blocks and threads on the CPU: kernels therefore use static __shared__
// memory only, and no function of CUDA's that is not in that header.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>
#include <utility>

#include "kernels/device.h"

namespace lockstep::cuda {

/// Throws Error naming the call, CUDA's own text and the current device.
void check(cudaError_t status, const char* call);

/// The queue of one GPU.
class CudaStream : public Stream {
 public:
  explicit CudaStream(int index);
  ~CudaStream() override;
  CudaStream(const CudaStream&) = delete;
  CudaStream& operator=(const CudaStream&) = delete;
  Device device() const override { return {Device::Kind::kCuda, index_}; }
  void synchronize() override;
  void* native_handle() const override { return handle_; }
  cudaStream_t handle() const { return handle_; }

  /// Room for the partial results of a reduction of this stream, and for one result on the host.
  static constexpr int kSums = 1024;
  double* sums() const { return sums_; }
  double* result() const { return result_; }

 private:
  int index_;
  cudaStream_t handle_ = nullptr;
  double* sums_ = nullptr;
  double* result_ = nullptr;
};

/// Streams that reach cuda/ are CUDA streams.
inline cudaStream_t handle_of(Stream& stream) { return static_cast<CudaStream&>(stream).handle(); }

constexpr int kWarp = 32;
constexpr int kThreads = 256;  // per block, where a kernel has no reason for another number

/// Blocks of `per_block` items that cover n.
constexpr int64_t blocks_for(int64_t n, int64_t per_block = kThreads) {
  return (n + per_block - 1) / per_block;
}

/// Starts kernel<<<blocks, threads>>>(args…) on the stream; nothing if blocks is 0. Throws Error if
/// CUDA refuses. blocks < 2^31, threads a multiple of 32 and at most 1024.
template <typename... Params, typename... Args>
void launch(Stream& stream, int64_t blocks, int threads, void (*kernel)(Params...), Args&&... args) {
  if (blocks == 0) return;
  cudaLaunchConfig_t config = {};
  config.gridDim = dim3(static_cast<unsigned>(blocks));
  config.blockDim = dim3(static_cast<unsigned>(threads));
  config.stream = handle_of(stream);
  check(cudaLaunchKernelEx(&config, kernel, std::forward<Args>(args)...), "kernel launch");
}

}  // namespace lockstep::cuda
