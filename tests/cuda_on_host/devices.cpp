// Errors and devices: one to eight records of a GPU that does not exist.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "tests/cuda_on_host/state.h"

namespace cuda_on_host {

namespace {

constexpr int kProcessors = 4;

int devices_of_environment() {
  const char* value = std::getenv("LOCKSTEP_HOST_DEVICES");
  return value == nullptr ? 1 : std::clamp(std::atoi(value), 0, 8);
}

int& device_count() {
  static int count = devices_of_environment();
  return count;
}

thread_local cudaError_t last_error = cudaSuccess;
thread_local int device = 0;

struct Text {
  cudaError_t error;
  const char* name;
  const char* sentence;
};
#define CUDA_ON_HOST_TEXT_OF_ERROR(error, sentence) \
  { error, #error, sentence }
const Text kTexts[] = {
    CUDA_ON_HOST_TEXT_OF_ERROR(cudaSuccess, "no error"),
    CUDA_ON_HOST_TEXT_OF_ERROR(cudaErrorInvalidValue, "invalid argument"),
    CUDA_ON_HOST_TEXT_OF_ERROR(cudaErrorMemoryAllocation, "out of memory"),
    CUDA_ON_HOST_TEXT_OF_ERROR(cudaErrorInvalidConfiguration, "invalid configuration argument"),
    CUDA_ON_HOST_TEXT_OF_ERROR(cudaErrorInvalidMemcpyDirection, "invalid copy direction for memcpy"),
    CUDA_ON_HOST_TEXT_OF_ERROR(cudaErrorNoDevice, "no device"),
    CUDA_ON_HOST_TEXT_OF_ERROR(cudaErrorInvalidDevice, "invalid device ordinal"),
    CUDA_ON_HOST_TEXT_OF_ERROR(cudaErrorInvalidResourceHandle, "invalid resource handle"),
    CUDA_ON_HOST_TEXT_OF_ERROR(cudaErrorNotReady, "device not ready"),
    CUDA_ON_HOST_TEXT_OF_ERROR(cudaErrorIllegalAddress, "an illegal memory access"),
    CUDA_ON_HOST_TEXT_OF_ERROR(cudaErrorNotSupported, "operation not supported"),
    CUDA_ON_HOST_TEXT_OF_ERROR(cudaErrorStreamCaptureUnsupported, "not permitted while a stream captures"),
    CUDA_ON_HOST_TEXT_OF_ERROR(cudaErrorStreamCaptureInvalidated, "the capture failed at an earlier call"),
    CUDA_ON_HOST_TEXT_OF_ERROR(cudaErrorStreamCaptureMerge, "two captures would become one"),
    CUDA_ON_HOST_TEXT_OF_ERROR(cudaErrorStreamCaptureUnmatched, "the capture did not begin in this stream"),
    CUDA_ON_HOST_TEXT_OF_ERROR(cudaErrorStreamCaptureUnjoined,
                               "captured work was not joined to the first stream"),
    CUDA_ON_HOST_TEXT_OF_ERROR(cudaErrorStreamCaptureIsolation, "a capture may not wait for work outside it"),
    CUDA_ON_HOST_TEXT_OF_ERROR(cudaErrorStreamCaptureImplicit,
                               "the default stream may not wait for a capture"),
    CUDA_ON_HOST_TEXT_OF_ERROR(cudaErrorCapturedEvent, "the event was recorded in a capture"),
};
#undef CUDA_ON_HOST_TEXT_OF_ERROR

const Text& text_of(cudaError_t error) {
  for (const Text& text : kTexts)
    if (text.error == error) return text;
  static const Text kUnknown = {error, "unrecognized error", "unrecognized error code"};
  return kUnknown;
}

}  // namespace

cudaError_t remember(cudaError_t error) {
  if (error != cudaSuccess) last_error = error;
  return error;
}

std::recursive_mutex& state_mutex() {
  static std::recursive_mutex mutex;
  return mutex;
}

int current_device() { return device; }

int n_devices() {
  const std::lock_guard lock(state_mutex());
  return device_count();
}

void set_device_count(int count) {
  const std::lock_guard lock(state_mutex());
  device_count() = count;
}

}  // namespace cuda_on_host

using namespace cuda_on_host;

const char* cudaGetErrorName(cudaError_t error) { return text_of(error).name; }
const char* cudaGetErrorString(cudaError_t error) { return text_of(error).sentence; }
cudaError_t cudaPeekAtLastError() { return last_error; }
cudaError_t cudaGetLastError() { return std::exchange(last_error, cudaSuccess); }

cudaError_t cudaGetDeviceCount(int* count) {
  *count = n_devices();
  return remember(*count == 0 ? cudaErrorNoDevice : cudaSuccess);
}

cudaError_t cudaSetDevice(int index) {
  if (index < 0 || index >= n_devices()) return remember(cudaErrorInvalidDevice);
  device = index;
  return cudaSuccess;
}

cudaError_t cudaGetDevice(int* index) {
  *index = device;
  return cudaSuccess;
}

cudaError_t cudaDeviceGetPCIBusId(char* address, int n_bytes, int index) {
  if (index < 0 || index >= n_devices()) return remember(cudaErrorInvalidDevice);
  std::snprintf(address, static_cast<size_t>(n_bytes), "0000:%02x:00.0", static_cast<unsigned>(index));
  return cudaSuccess;
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int index) {
  if (index < 0 || index >= n_devices()) return remember(cudaErrorInvalidDevice);
  *properties = {};
  std::strcpy(properties->name, "CUDA on the host");
  properties->major = 9;
  properties->multiProcessorCount = kProcessors;
  properties->warpSize = 32;
  properties->maxThreadsPerBlock = 1024;
  properties->maxThreadsPerMultiProcessor = 2048;
  for (int axis = 0; axis < 3; ++axis) {
    properties->maxThreadsDim[axis] = axis < 2 ? 1024 : 64;
    properties->maxGridSize[axis] = axis < 1 ? 0x7FFFFFFF : 0xFFFF;
  }
  properties->regsPerBlock = 65536;
  properties->l2CacheSize = 50 << 20;
  properties->memoryBusWidth = 5120;
  size_t n_bytes_free = 0;
  cudaMemGetInfo(&n_bytes_free, &properties->totalGlobalMem);
  properties->sharedMemPerBlock = 48 << 10;
  properties->sharedMemPerBlockOptin = 227 << 10;
  properties->sharedMemPerMultiprocessor = 228 << 10;
  properties->pciBusID = index + 1;
  return cudaSuccess;
}

cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int index) {
  cudaDeviceProp properties;
  if (const cudaError_t error = cudaGetDeviceProperties(&properties, index); error != cudaSuccess)
    return error;
  switch (attribute) {
    case cudaDevAttrMaxThreadsPerBlock: *value = properties.maxThreadsPerBlock; break;
    case cudaDevAttrMaxSharedMemoryPerBlock: *value = static_cast<int>(properties.sharedMemPerBlock); break;
    case cudaDevAttrWarpSize: *value = properties.warpSize; break;
    case cudaDevAttrMultiProcessorCount: *value = properties.multiProcessorCount; break;
    case cudaDevAttrL2CacheSize: *value = properties.l2CacheSize; break;
    case cudaDevAttrMaxThreadsPerMultiProcessor: *value = properties.maxThreadsPerMultiProcessor; break;
    case cudaDevAttrComputeCapabilityMajor: *value = properties.major; break;
    case cudaDevAttrComputeCapabilityMinor: *value = properties.minor; break;
    default: return remember(cudaErrorInvalidValue);
  }
  return cudaSuccess;
}

cudaError_t cudaDeviceGetStreamPriorityRange(int* least, int* greatest) {
  *least = 0;
  *greatest = -5;
  return cudaSuccess;
}

cudaError_t cudaDeviceSynchronize() { return remember(refuse_while_capturing()); }

cudaError_t cudaDriverGetVersion(int* version) { return cudaRuntimeGetVersion(version); }
cudaError_t cudaRuntimeGetVersion(int* version) {
  *version = CUDART_VERSION;
  return cudaSuccess;
}
