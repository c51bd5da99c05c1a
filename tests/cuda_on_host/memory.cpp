// Device and page-locked memory: the host's, in tables that know whose it is and how long it is, so that
// a copy in the wrong direction or beyond its end is refused.
#include <cstdlib>
#include <cstring>

#include "tests/cuda_on_host/state.h"

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(data, n_bytes) static_cast<void>(data)
#define ASAN_UNPOISON_MEMORY_REGION(data, n_bytes) static_cast<void>(data)
#endif

namespace cuda_on_host {

namespace {

constexpr size_t kAlignment = 256;

struct Allocation {
  size_t n_bytes;
  cudaMemoryType type;
  int device;
};

std::map<const std::byte*, Allocation> allocations;  // by address
size_t memory_of_device = size_t{16} << 30;
int n_open = 0;  // OpenDeviceMemory

/// The allocation that holds the address; null: none.
const std::pair<const std::byte* const, Allocation>* find(const void* data) {
  auto after = allocations.upper_bound(static_cast<const std::byte*>(data));
  if (after == allocations.begin()) return nullptr;
  const auto& found = *--after;
  return static_cast<const std::byte*>(data) < found.first + found.second.n_bytes ? &found : nullptr;
}

bool is_device(const void* data) {
  const auto* found = find(data);
  return found != nullptr && found->second.type == cudaMemoryTypeDevice;
}

/// Whether all bytes lie within one allocation; memory that CUDA does not know is the caller's affair.
bool is_inside(const void* data, size_t n_bytes) {
  const auto* found = find(data);
  return found == nullptr ||
         static_cast<const std::byte*>(data) + n_bytes <= found->first + found->second.n_bytes;
}

size_t bytes_in_use(int device) {
  size_t n_bytes = 0;
  for (const auto& [data, allocation] : allocations)
    if (allocation.type == cudaMemoryTypeDevice && allocation.device == device) n_bytes += allocation.n_bytes;
  return n_bytes;
}

cudaError_t allocate(void** data, size_t n_bytes, cudaMemoryType type) {
  const std::lock_guard lock(state_mutex());
  if (data == nullptr) return cudaErrorInvalidValue;
  *data = nullptr;
  if (n_devices() == 0) return cudaErrorNoDevice;
  if (const cudaError_t error = refuse_while_capturing(); error != cudaSuccess) return error;
  if (n_bytes == 0) return cudaSuccess;
  const int device = current_device();
  if (type == cudaMemoryTypeDevice && n_bytes > memory_of_device - bytes_in_use(device))
    return cudaErrorMemoryAllocation;
  if (posix_memalign(data, kAlignment, n_bytes) != 0) return cudaErrorMemoryAllocation;
  std::memset(*data, 0xFF, n_bytes);
  allocations[static_cast<std::byte*>(*data)] = {n_bytes, type, device};
  if (type == cudaMemoryTypeDevice && n_open == 0) ASAN_POISON_MEMORY_REGION(*data, n_bytes);
  return cudaSuccess;
}

cudaError_t release(void* data, cudaMemoryType type) {
  const std::lock_guard lock(state_mutex());
  if (const cudaError_t error = refuse_while_capturing(); error != cudaSuccess) return error;
  if (data == nullptr) return cudaSuccess;
  const auto found = allocations.find(static_cast<std::byte*>(data));
  if (found == allocations.end() || found->second.type != type) return cudaErrorInvalidValue;
  ASAN_UNPOISON_MEMORY_REGION(data, found->second.n_bytes);
  allocations.erase(found);
  std::free(data);
  return cudaSuccess;
}

cudaError_t check_copy(const void* dst, const void* src, size_t n_bytes, cudaMemcpyKind kind) {
  const std::lock_guard lock(state_mutex());
  const bool to_device = kind == cudaMemcpyHostToDevice || kind == cudaMemcpyDeviceToDevice;
  const bool from_device = kind == cudaMemcpyDeviceToHost || kind == cudaMemcpyDeviceToDevice;
  if (n_bytes == 0) return cudaSuccess;
  if (dst == nullptr || src == nullptr) return cudaErrorInvalidValue;
  if (kind != cudaMemcpyDefault && (is_device(dst) != to_device || is_device(src) != from_device))
    return cudaErrorInvalidValue;
  return is_inside(dst, n_bytes) && is_inside(src, n_bytes) ? cudaSuccess : cudaErrorInvalidValue;
}

cudaError_t check_fill(const void* data, size_t n_bytes) {
  const std::lock_guard lock(state_mutex());
  if (n_bytes == 0) return cudaSuccess;
  return find(data) != nullptr && is_inside(data, n_bytes) ? cudaSuccess : cudaErrorInvalidValue;
}

}  // namespace

OpenDeviceMemory::OpenDeviceMemory() {
  const std::lock_guard lock(state_mutex());
  if (n_open++ > 0) return;
  for (const auto& [data, allocation] : allocations) ASAN_UNPOISON_MEMORY_REGION(data, allocation.n_bytes);
}

OpenDeviceMemory::~OpenDeviceMemory() {
  const std::lock_guard lock(state_mutex());
  if (--n_open > 0) return;
  for (const auto& [data, allocation] : allocations)
    if (allocation.type == cudaMemoryTypeDevice) ASAN_POISON_MEMORY_REGION(data, allocation.n_bytes);
}

void set_memory(size_t n_bytes) {
  const std::lock_guard lock(state_mutex());
  memory_of_device = n_bytes;
}

}  // namespace cuda_on_host

using namespace cuda_on_host;

cudaError_t cudaMalloc(void** data, size_t n_bytes) {
  return remember(allocate(data, n_bytes, cudaMemoryTypeDevice));
}
cudaError_t cudaFree(void* data) { return remember(release(data, cudaMemoryTypeDevice)); }
cudaError_t cudaHostAlloc(void** data, size_t n_bytes, unsigned) {
  return remember(allocate(data, n_bytes, cudaMemoryTypeHost));
}
cudaError_t cudaFreeHost(void* data) { return remember(release(data, cudaMemoryTypeHost)); }

cudaError_t cudaMemGetInfo(size_t* n_bytes_free, size_t* n_bytes_total) {
  const std::lock_guard lock(state_mutex());
  *n_bytes_total = memory_of_device;
  *n_bytes_free = memory_of_device - bytes_in_use(current_device());
  return cudaSuccess;
}

cudaError_t cudaPointerGetAttributes(cudaPointerAttributes* attributes, const void* data) {
  const std::lock_guard lock(state_mutex());
  const auto* found = find(data);
  *attributes = {cudaMemoryTypeUnregistered, -2, nullptr, const_cast<void*>(data)};
  if (found == nullptr) return cudaSuccess;
  attributes->type = found->second.type;
  attributes->device = found->second.device;
  attributes->devicePointer = const_cast<void*>(data);
  if (is_device(data)) attributes->hostPointer = nullptr;
  return cudaSuccess;
}

cudaError_t cudaMemsetAsync(void* data, int value, size_t n_bytes, cudaStream_t stream) {
  if (const cudaError_t error = check_fill(data, n_bytes); error != cudaSuccess) return remember(error);
  return submit(stream, [=] {
    if (n_bytes > 0) std::memset(data, value, n_bytes);
  });
}

cudaError_t cudaMemset(void* data, int value, size_t n_bytes) {
  if (const cudaError_t error = refuse_while_capturing(); error != cudaSuccess) return remember(error);
  return cudaMemsetAsync(data, value, n_bytes, nullptr);
}

cudaError_t cudaMemcpyAsync(void* dst, const void* src, size_t n_bytes, cudaMemcpyKind kind,
                            cudaStream_t stream) {
  if (const cudaError_t error = check_copy(dst, src, n_bytes, kind); error != cudaSuccess)
    return remember(error);
  return submit(stream, [=] {
    if (n_bytes > 0) std::memmove(dst, src, n_bytes);
  });
}

cudaError_t cudaMemcpy(void* dst, const void* src, size_t n_bytes, cudaMemcpyKind kind) {
  if (const cudaError_t error = refuse_while_capturing(); error != cudaSuccess) return remember(error);
  return cudaMemcpyAsync(dst, src, n_bytes, kind, nullptr);
}
