// cuDNN's graph API in checked pieces: a descriptor with typed attributes, and the choice of an engine
// for a graph of operations. Included by .cpp files of cuda/ only.
#pragma once

#include <cudnn.h>

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "kernels/device.h"

namespace lockstep::cuda {

/// Throws Error naming the call and cuDNN's own text.
void check_cudnn(cudnnStatus_t status, const char* call);

/// The handle of a device, made once; used by one thread at a time.
cudnnHandle_t cudnn_handle(Device device);

/// The type tag of an attribute's value.
template <typename T>
struct CudnnAttribute;
#define LOCKSTEP_CUDNN_ATTRIBUTE(type, tag)                   \
  template <>                                                 \
  struct CudnnAttribute<type> {                               \
    static constexpr cudnnBackendAttributeType_t kType = tag; \
  }
LOCKSTEP_CUDNN_ATTRIBUTE(bool, CUDNN_TYPE_BOOLEAN);
LOCKSTEP_CUDNN_ATTRIBUTE(int64_t, CUDNN_TYPE_INT64);
LOCKSTEP_CUDNN_ATTRIBUTE(float, CUDNN_TYPE_FLOAT);
LOCKSTEP_CUDNN_ATTRIBUTE(void*, CUDNN_TYPE_VOID_PTR);
LOCKSTEP_CUDNN_ATTRIBUTE(cudnnHandle_t, CUDNN_TYPE_HANDLE);
LOCKSTEP_CUDNN_ATTRIBUTE(cudnnDataType_t, CUDNN_TYPE_DATA_TYPE);
LOCKSTEP_CUDNN_ATTRIBUTE(cudnnConvolutionMode_t, CUDNN_TYPE_CONVOLUTION_MODE);
LOCKSTEP_CUDNN_ATTRIBUTE(cudnnPointwiseMode_t, CUDNN_TYPE_POINTWISE_MODE);
LOCKSTEP_CUDNN_ATTRIBUTE(cudnnBackendHeurMode_t, CUDNN_TYPE_HEUR_MODE);
#undef LOCKSTEP_CUDNN_ATTRIBUTE

class CudnnDescriptor {
 public:
  explicit CudnnDescriptor(cudnnBackendDescriptorType_t type);
  ~CudnnDescriptor();
  CudnnDescriptor(CudnnDescriptor&& other) noexcept;
  CudnnDescriptor& operator=(CudnnDescriptor&& other) noexcept;
  cudnnBackendDescriptor_t get() const { return descriptor_; }

  template <typename T>
  CudnnDescriptor& set(cudnnBackendAttributeName_t name, T value) {
    return set(name, CudnnAttribute<T>::kType, 1, &value);
  }
  template <typename T>
  CudnnDescriptor& set_all(cudnnBackendAttributeName_t name, std::span<const T> values) {
    return set(name, CudnnAttribute<T>::kType, static_cast<int64_t>(values.size()), values.data());
  }
  CudnnDescriptor& set(cudnnBackendAttributeName_t name, const CudnnDescriptor& value);
  CudnnDescriptor& set_operations(std::span<const cudnnBackendDescriptor_t> operations);

  CudnnDescriptor& finalize();
  /// False where cuDNN refuses what was described: unsupported, or supported in no such combination.
  bool try_finalize();

 private:
  CudnnDescriptor& set(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type, int64_t n,
                       const void* values);
  cudnnBackendDescriptor_t descriptor_ = nullptr;
};

/// A finalized execution plan and the workspace that it wants.
struct CudnnPlan {
  CudnnDescriptor plan;
  int64_t workspace_bytes = 0;
};

/// The first engine configuration, in the order of cuDNN's heuristics (mode A, then the fallback list),
/// that gives equal bits in every run, wants at most `workspace_limit` bytes and finalizes. With
/// `exact_float32` also those are passed over that multiply in less than float32 or through transforms
/// that lose bits (tensor cores, rounded inputs, reduced sums, Winograd, FFT). Empty if none is left.
std::optional<CudnnPlan> choose_plan(Device device, std::span<const cudnnBackendDescriptor_t> operations,
                                     bool exact_float32, int64_t workspace_limit);

}  // namespace lockstep::cuda
