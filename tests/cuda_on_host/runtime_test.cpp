// The runtime's rules: memory and its directions, launches and their limits, streams and events, captures
// that record, replay, fork and join, and the calls that a capture refuses.
#include <cuda_runtime.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <cstring>
#include <thread>
#include <vector>

namespace {

__global__ void add(float* data, float value, int n) {
  const unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < static_cast<unsigned>(n)) data[i] += value;
}

cudaLaunchConfig_t config_of(cudaStream_t stream, dim3 grid, dim3 block) {
  cudaLaunchConfig_t config = {};
  config.gridDim = grid;
  config.blockDim = block;
  config.stream = stream;
  return config;
}

class Runtime : public testing::Test {
 protected:
  static constexpr int kN = 100;
  static constexpr size_t kBytes = kN * sizeof(float);

  void SetUp() override {
    ASSERT_EQ(cudaMalloc(&data_, kBytes), cudaSuccess);
    ASSERT_EQ(cudaMemset(data_, 0, kBytes), cudaSuccess);
    for (cudaStream_t* stream : {&stream_, &other_})
      ASSERT_EQ(cudaStreamCreateWithFlags(stream, cudaStreamNonBlocking), cudaSuccess);
    for (cudaEvent_t* event : {&event_, &back_})
      ASSERT_EQ(cudaEventCreateWithFlags(event, cudaEventDisableTiming), cudaSuccess);
    cudaGetLastError();
  }
  void TearDown() override {
    for (cudaEvent_t event : {event_, back_}) EXPECT_EQ(cudaEventDestroy(event), cudaSuccess);
    for (cudaStream_t stream : {stream_, other_}) EXPECT_EQ(cudaStreamDestroy(stream), cudaSuccess);
    EXPECT_EQ(cudaFree(data_), cudaSuccess);
  }

  cudaError_t launch(cudaStream_t stream, float value) {
    const cudaLaunchConfig_t config = config_of(stream, 4, 32);
    return cudaLaunchKernelEx(&config, add, data_, value, kN);
  }
  std::vector<float> values() {
    std::vector<float> host(kN);
    EXPECT_EQ(cudaMemcpy(host.data(), data_, kBytes, cudaMemcpyDeviceToHost), cudaSuccess);
    return host;
  }
  void begin() { ASSERT_EQ(cudaStreamBeginCapture(stream_, cudaStreamCaptureModeGlobal), cudaSuccess); }
  /// Ends the capture; the number of nodes, -1 if it failed with `failure`.
  int64_t end(cudaError_t failure = cudaErrorStreamCaptureInvalidated) {
    const cudaError_t error = cudaStreamEndCapture(stream_, &graph_);
    if (error != cudaSuccess) {
      EXPECT_EQ(error, failure);
      EXPECT_EQ(graph_, nullptr);
      return -1;
    }
    size_t n = 0;
    EXPECT_EQ(cudaGraphGetNodes(graph_, nullptr, &n), cudaSuccess);
    return static_cast<int64_t>(n);
  }
  /// Runs the captured graph n times.
  void replay(int n) {
    cudaGraphExec_t exec = nullptr;
    ASSERT_EQ(cudaGraphInstantiate(&exec, graph_), cudaSuccess);
    EXPECT_EQ(cudaGraphDestroy(graph_), cudaSuccess);
    for (int i = 0; i < n; ++i) EXPECT_EQ(cudaGraphLaunch(exec, other_), cudaSuccess);
    EXPECT_EQ(cudaGraphExecDestroy(exec), cudaSuccess);
  }

  float* data_ = nullptr;
  cudaStream_t stream_ = nullptr, other_ = nullptr;
  cudaEvent_t event_ = nullptr, back_ = nullptr;
  cudaGraph_t graph_ = nullptr;
};

TEST_F(Runtime, LaunchesWithinLimits) {
  const int64_t n_before = cuda_on_host::kernels_run();
  EXPECT_EQ(launch(stream_, 2), cudaSuccess);
  EXPECT_EQ(values(), std::vector<float>(kN, 2.0f));
  EXPECT_EQ(cuda_on_host::kernels_run(), n_before + 1);
  int64_t n_refused = 0;
  const auto refuse = [&](dim3 grid, dim3 block, size_t dynamic_bytes) {
    cudaLaunchConfig_t config = config_of(stream_, grid, block);
    config.dynamicSmemBytes = dynamic_bytes;
    EXPECT_EQ(cudaLaunchKernelEx(&config, add, data_, 1.0f, kN), cudaErrorInvalidConfiguration);
    EXPECT_EQ(cudaGetLastError(), cudaErrorInvalidConfiguration);
    ++n_refused;
  };
  refuse(1, 1025, 0);
  refuse(1, dim3(32, 33), 0);
  refuse(0x80000000u, 32, 0);
  refuse(dim3(1, 65536), 32, 0);
  refuse(0, 32, 0);
  refuse(1, 0, 0);
  refuse(1, 32, 16);
  EXPECT_EQ(n_refused, 7);
  EXPECT_EQ(cudaPeekAtLastError(), cudaSuccess);
  EXPECT_EQ(cuda_on_host::kernels_run(), n_before + 1);
}

TEST_F(Runtime, MemoryHasOwnersAndEnds) {
  float* fresh = nullptr;
  ASSERT_EQ(cudaMalloc(&fresh, kBytes), cudaSuccess);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(fresh) % 256, 0u);
  std::vector<float> host(kN + 1);
  EXPECT_EQ(cudaMemcpy(host.data(), fresh, kBytes, cudaMemcpyDefault), cudaSuccess);
  EXPECT_TRUE(std::isnan(host[0]) && std::isnan(host[kN - 1]));
  EXPECT_EQ(cudaMemcpy(fresh, host.data(), kBytes, cudaMemcpyDeviceToHost), cudaErrorInvalidValue);
  EXPECT_EQ(cudaMemcpy(host.data(), fresh, kBytes + 4, cudaMemcpyDeviceToHost), cudaErrorInvalidValue);
  EXPECT_EQ(cudaMemset(fresh + 1, 0, kBytes), cudaErrorInvalidValue);
  EXPECT_EQ(cudaMemset(host.data(), 0, 4), cudaErrorInvalidValue);
  EXPECT_EQ(cudaMemcpyAsync(fresh, data_, kBytes, cudaMemcpyDeviceToDevice, stream_), cudaSuccess);
  EXPECT_EQ(cudaMemcpy(host.data(), fresh, kBytes, cudaMemcpyDefault), cudaSuccess);
  EXPECT_EQ(host[kN - 1], 0.0f);
  cudaPointerAttributes attributes;
  EXPECT_EQ(cudaPointerGetAttributes(&attributes, fresh + 5), cudaSuccess);
  EXPECT_EQ(attributes.type, cudaMemoryTypeDevice);
  EXPECT_EQ(cudaPointerGetAttributes(&attributes, host.data()), cudaSuccess);
  EXPECT_EQ(attributes.type, cudaMemoryTypeUnregistered);
  void* locked = nullptr;
  ASSERT_EQ(cudaHostAlloc(&locked, 64, cudaHostAllocPortable), cudaSuccess);
  EXPECT_EQ(cudaFree(locked), cudaErrorInvalidValue);
  EXPECT_EQ(cudaFreeHost(locked), cudaSuccess);
  EXPECT_EQ(cudaFree(fresh + 1), cudaErrorInvalidValue);
  EXPECT_EQ(cudaFree(fresh), cudaSuccess);
  EXPECT_EQ(cudaFree(fresh), cudaErrorInvalidValue);
  EXPECT_STREQ(cudaGetErrorString(cudaGetLastError()), "invalid argument");
}

TEST_F(Runtime, MemoryIsFinite) {
  cuda_on_host::set_memory(1000);
  size_t n_free = 0, n_total = 0;
  EXPECT_EQ(cudaMemGetInfo(&n_free, &n_total), cudaSuccess);
  EXPECT_EQ(n_total, 1000u);
  EXPECT_EQ(n_free, 600u);
  void* data = nullptr;
  EXPECT_EQ(cudaMalloc(&data, 601), cudaErrorMemoryAllocation);
  EXPECT_EQ(data, nullptr);
  EXPECT_EQ(cudaMalloc(&data, 600), cudaSuccess);
  EXPECT_EQ(cudaFree(data), cudaSuccess);
  cuda_on_host::set_memory(size_t{16} << 30);
}

TEST_F(Runtime, StreamsBelongToDevices) {
  cuda_on_host::set_device_count(2);
  ASSERT_EQ(cudaSetDevice(1), cudaSuccess);
  EXPECT_EQ(launch(stream_, 1), cudaErrorInvalidResourceHandle);
  cudaEvent_t event = nullptr;
  ASSERT_EQ(cudaEventCreate(&event), cudaSuccess);
  EXPECT_EQ(cudaEventRecord(event, stream_), cudaErrorInvalidResourceHandle);
  EXPECT_EQ(cudaEventDestroy(event), cudaSuccess);
  ASSERT_EQ(cudaSetDevice(0), cudaSuccess);
  cuda_on_host::set_device_count(1);
  EXPECT_EQ(cudaSetDevice(1), cudaErrorInvalidDevice);
  cuda_on_host::set_device_count(0);
  int n = -1;
  EXPECT_EQ(cudaGetDeviceCount(&n), cudaErrorNoDevice);
  EXPECT_EQ(n, 0);
  cuda_on_host::set_device_count(1);
  cudaDeviceProp properties;
  EXPECT_EQ(cudaGetDeviceProperties(&properties, 0), cudaSuccess);
  EXPECT_STREQ(properties.name, "CUDA on the host");
  EXPECT_EQ(properties.major * 10 + properties.minor, 90);
}

TEST_F(Runtime, EventsMeasureTime) {
  cudaEvent_t begin = nullptr, end = nullptr;
  ASSERT_EQ(cudaEventCreate(&begin), cudaSuccess);
  ASSERT_EQ(cudaEventCreate(&end), cudaSuccess);
  float time_ms = -1;
  EXPECT_EQ(cudaEventElapsedTime(&time_ms, begin, end), cudaErrorInvalidResourceHandle);
  EXPECT_EQ(cudaEventRecord(begin, stream_), cudaSuccess);
  EXPECT_EQ(cuda_on_host::submit(stream_, [] { std::this_thread::sleep_for(std::chrono::milliseconds(3)); }),
            cudaSuccess);
  EXPECT_EQ(cudaEventRecord(end, stream_), cudaSuccess);
  EXPECT_EQ(cudaEventSynchronize(end), cudaSuccess);
  EXPECT_EQ(cudaEventQuery(end), cudaSuccess);
  EXPECT_EQ(cudaEventElapsedTime(&time_ms, begin, end), cudaSuccess);
  EXPECT_GE(time_ms, 3.0f);
  EXPECT_EQ(cudaEventDestroy(begin), cudaSuccess);
  EXPECT_EQ(cudaEventDestroy(end), cudaSuccess);
  EXPECT_EQ(cudaEventRecord(end, stream_), cudaErrorInvalidResourceHandle);
}

TEST_F(Runtime, CaptureRecordsAndReplays) {
  std::vector<float> host(kN, 7.0f), back(kN, -1.0f);
  begin();
  cudaStreamCaptureStatus status;
  EXPECT_EQ(cudaStreamIsCapturing(stream_, &status), cudaSuccess);
  EXPECT_EQ(status, cudaStreamCaptureStatusActive);
  EXPECT_EQ(cudaMemsetAsync(data_, 0, kBytes, stream_), cudaSuccess);
  EXPECT_EQ(launch(stream_, 1), cudaSuccess);
  EXPECT_EQ(cuda_on_host::submit(stream_, [this] { data_[0] *= 2; }), cudaSuccess);
  EXPECT_EQ(launch(stream_, 2), cudaSuccess);
  EXPECT_EQ(cudaMemcpyAsync(back.data(), data_, kBytes, cudaMemcpyDeviceToHost, stream_), cudaSuccess);
  EXPECT_EQ(launch(other_, 50), cudaSuccess);  // this stream does not capture
  EXPECT_EQ(back[0], -1.0f);
  EXPECT_EQ(end(), 5);
  EXPECT_EQ(values()[0], 50.0f);
  EXPECT_EQ(back[0], -1.0f);
  replay(3);
  EXPECT_EQ(back[0], 4.0f);
  EXPECT_EQ(back[1], 3.0f);
}

TEST_F(Runtime, CaptureFollowsEventsToOtherStreams) {
  begin();
  EXPECT_EQ(cudaEventRecord(event_, stream_), cudaSuccess);
  EXPECT_EQ(cudaStreamWaitEvent(other_, event_), cudaSuccess);
  EXPECT_EQ(launch(other_, 1), cudaSuccess);
  EXPECT_EQ(cudaEventRecord(back_, other_), cudaSuccess);
  EXPECT_EQ(cudaStreamWaitEvent(stream_, back_), cudaSuccess);
  EXPECT_EQ(end(), 1);
  EXPECT_EQ(launch(other_, 10), cudaSuccess);  // captures no longer
  EXPECT_EQ(values()[0], 10.0f);
  replay(2);
  EXPECT_EQ(values()[0], 12.0f);
  EXPECT_EQ(cudaEventSynchronize(back_), cudaErrorCapturedEvent);

  begin();
  EXPECT_EQ(cudaEventRecord(event_, stream_), cudaSuccess);
  EXPECT_EQ(cudaStreamWaitEvent(other_, event_), cudaSuccess);
  EXPECT_EQ(cudaEventRecord(back_, other_), cudaSuccess);
  EXPECT_EQ(launch(other_, 1), cudaSuccess);  // after the event that the first stream waits for
  EXPECT_EQ(cudaStreamWaitEvent(stream_, back_), cudaSuccess);
  EXPECT_EQ(end(cudaErrorStreamCaptureUnjoined), -1);
}

TEST_F(Runtime, CaptureRefusesToWait) {
  int64_t n_refused = 0;
  void* memory = nullptr;
  const auto refuse = [&](cudaError_t expected, auto&& call) {
    begin();
    EXPECT_EQ(call(), expected);
    EXPECT_EQ(launch(stream_, 1), cudaErrorStreamCaptureInvalidated);
    EXPECT_EQ(end(), -1);
    ++n_refused;
  };
  refuse(cudaErrorStreamCaptureUnsupported, [&] { return cudaStreamSynchronize(stream_); });
  refuse(cudaErrorStreamCaptureUnsupported, [&] { return cudaDeviceSynchronize(); });
  refuse(cudaErrorStreamCaptureUnsupported, [&] { return cudaMalloc(&memory, 4); });
  refuse(cudaErrorStreamCaptureUnsupported, [&] { return cudaFree(data_); });
  refuse(cudaErrorStreamCaptureUnsupported, [&] { return cudaMemset(data_, 0, 4); });
  refuse(cudaErrorStreamCaptureUnsupported,
         [&] { return cudaMemcpy(data_, data_ + 1, 4, cudaMemcpyDeviceToDevice); });
  refuse(cudaErrorStreamCaptureUnsupported,
         [&] { return cudaStreamBeginCapture(stream_, cudaStreamCaptureModeGlobal); });
  refuse(cudaErrorStreamCaptureIsolation, [&] {
    EXPECT_EQ(cudaEventRecord(event_, other_), cudaSuccess);
    return cudaStreamWaitEvent(stream_, event_);
  });
  refuse(cudaErrorCapturedEvent, [&] {
    EXPECT_EQ(cudaEventRecord(event_, stream_), cudaSuccess);
    return cudaEventQuery(event_);
  });
  EXPECT_EQ(n_refused, 9);
  EXPECT_EQ(values(), std::vector<float>(kN, 0.0f));
  EXPECT_EQ(cudaStreamSynchronize(stream_), cudaSuccess);
}

#ifdef __SANITIZE_ADDRESS__
TEST_F(Runtime, HostMayNotTouchDeviceMemory) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(data_[3] = 1, "use-after-poison");
  EXPECT_EQ(launch(stream_, 1), cudaSuccess);
  EXPECT_EQ(values()[3], 1.0f);
  EXPECT_DEATH(data_[3] = 1, "use-after-poison");
}
#endif

TEST_F(Runtime, AnyThreadMayLaunch) {
  for (int i = 0; i < 4; ++i) std::thread([this] { EXPECT_EQ(launch(stream_, 1), cudaSuccess); }).join();
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i)
    threads.emplace_back([this] {
      for (int k = 0; k < 25; ++k) EXPECT_EQ(launch(stream_, 1), cudaSuccess);
    });
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(values(), std::vector<float>(kN, 104.0f));
}

}  // namespace
