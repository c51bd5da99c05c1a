// See cudnn.h.
#include "kernels/cuda/cudnn.h"

#include <algorithm>
#include <array>
#include <string>
#include <utility>

#include "kernels/cuda/per_device.h"
#include "kernels/error.h"

namespace lockstep::cuda {

namespace {

class Handle {
 public:
  Handle() { check_cudnn(cudnnCreate(&handle_), "cudnnCreate"); }
  ~Handle() { cudnnDestroy(handle_); }
  Handle(const Handle&) = delete;
  Handle& operator=(const Handle&) = delete;
  cudnnHandle_t get() const { return handle_; }

 private:
  cudnnHandle_t handle_ = nullptr;
};

/// Whether a status says no more than that the request cannot be met.
bool is_refusal(cudnnStatus_t status) {
  const int category = CUDNN_STATUS_CATEGORY(status);
  return category == CUDNN_STATUS_NOT_SUPPORTED || category == CUDNN_STATUS_BAD_PARAM;
}

/// Engine configurations of a finalized operation graph, best first; none where the mode has none.
std::vector<CudnnDescriptor> engine_configs(const CudnnDescriptor& graph, cudnnBackendHeurMode_t mode) {
  CudnnDescriptor heuristic(CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR);
  heuristic.set(CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, graph).set(CUDNN_ATTR_ENGINEHEUR_MODE, mode);
  std::vector<CudnnDescriptor> configs;
  if (!heuristic.try_finalize()) return configs;
  int64_t n = 0;
  check_cudnn(cudnnBackendGetAttribute(heuristic.get(), CUDNN_ATTR_ENGINEHEUR_RESULTS,
                                       CUDNN_TYPE_BACKEND_DESCRIPTOR, 0, &n, nullptr),
              "cudnnBackendGetAttribute(ENGINEHEUR_RESULTS)");
  std::vector<cudnnBackendDescriptor_t> handles;
  for (int64_t i = 0; i < n; ++i)
    handles.push_back(configs.emplace_back(CUDNN_BACKEND_ENGINECFG_DESCRIPTOR).get());
  if (n == 0) return configs;
  int64_t n_filled = 0;
  check_cudnn(cudnnBackendGetAttribute(heuristic.get(), CUDNN_ATTR_ENGINEHEUR_RESULTS,
                                       CUDNN_TYPE_BACKEND_DESCRIPTOR, n, &n_filled, handles.data()),
              "cudnnBackendGetAttribute(ENGINEHEUR_RESULTS)");
  configs.erase(configs.begin() + std::min(n, n_filled), configs.end());
  return configs;
}

/// Whether what the engine says of itself keeps to the rules of choose_plan.
bool is_allowed(const CudnnDescriptor& config, bool exact_float32) {
  CudnnDescriptor engine(CUDNN_BACKEND_ENGINE_DESCRIPTOR);
  cudnnBackendDescriptor_t handle = engine.get();
  int64_t n = 0;
  check_cudnn(cudnnBackendGetAttribute(config.get(), CUDNN_ATTR_ENGINECFG_ENGINE,
                                       CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &n, &handle),
              "cudnnBackendGetAttribute(ENGINECFG_ENGINE)");
  std::array<cudnnBackendNumericalNote_t, CUDNN_NUMERICAL_NOTE_TYPE_COUNT> notes{};
  check_cudnn(
      cudnnBackendGetAttribute(engine.get(), CUDNN_ATTR_ENGINE_NUMERICAL_NOTE, CUDNN_TYPE_NUMERICAL_NOTE,
                               CUDNN_NUMERICAL_NOTE_TYPE_COUNT, &n, notes.data()),
      "cudnnBackendGetAttribute(ENGINE_NUMERICAL_NOTE)");
  return std::none_of(notes.begin(), notes.begin() + n, [&](cudnnBackendNumericalNote_t note) {
    switch (note) {
      case CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC:
      case CUDNN_NUMERICAL_NOTE_REDUCED_PRECISION_REDUCTION: return true;
      case CUDNN_NUMERICAL_NOTE_TENSOR_CORE:
      case CUDNN_NUMERICAL_NOTE_DOWN_CONVERT_INPUTS:
      case CUDNN_NUMERICAL_NOTE_FFT:
      case CUDNN_NUMERICAL_NOTE_WINOGRAD:
      case CUDNN_NUMERICAL_NOTE_WINOGRAD_TILE_4x4:
      case CUDNN_NUMERICAL_NOTE_WINOGRAD_TILE_6x6:
      case CUDNN_NUMERICAL_NOTE_WINOGRAD_TILE_13x13: return exact_float32;
      default: return false;
    }
  });
}

}  // namespace

void check_cudnn(cudnnStatus_t status, const char* call) {
  if (status == CUDNN_STATUS_SUCCESS) return;
  std::array<char, 512> detail{};
  cudnnGetLastErrorString(detail.data(), detail.size());
  throw Error("cuDNN " + std::to_string(cudnnGetVersion()),
              std::string(call) + " failed: " + cudnnGetErrorString(status) +
                  (detail[0] ? std::string(": ") + detail.data() : std::string()),
              "see that driver, cuDNN and GPU fit together; CUDNN_LOGLEVEL_DBG=2 tells more");
}

cudnnHandle_t cudnn_handle(Device device) { return per_device<Handle>(device).get(); }

CudnnDescriptor::CudnnDescriptor(cudnnBackendDescriptorType_t type) {
  check_cudnn(cudnnBackendCreateDescriptor(type, &descriptor_), "cudnnBackendCreateDescriptor");
}
CudnnDescriptor::~CudnnDescriptor() {
  if (descriptor_) cudnnBackendDestroyDescriptor(descriptor_);
}
CudnnDescriptor::CudnnDescriptor(CudnnDescriptor&& other) noexcept
    : descriptor_(std::exchange(other.descriptor_, nullptr)) {}
CudnnDescriptor& CudnnDescriptor::operator=(CudnnDescriptor&& other) noexcept {
  std::swap(descriptor_, other.descriptor_);
  return *this;
}

CudnnDescriptor& CudnnDescriptor::set(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type,
                                      int64_t n, const void* values) {
  const cudnnStatus_t status = cudnnBackendSetAttribute(descriptor_, name, type, n, values);
  if (status != CUDNN_STATUS_SUCCESS)
    check_cudnn(status, ("cudnnBackendSetAttribute(" + std::to_string(name) + ")").c_str());
  return *this;
}

CudnnDescriptor& CudnnDescriptor::set(cudnnBackendAttributeName_t name, const CudnnDescriptor& value) {
  return set(name, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &value.descriptor_);
}
CudnnDescriptor& CudnnDescriptor::set_operations(std::span<const cudnnBackendDescriptor_t> operations) {
  return set(CUDNN_ATTR_OPERATIONGRAPH_OPS, CUDNN_TYPE_BACKEND_DESCRIPTOR,
             static_cast<int64_t>(operations.size()), operations.data());
}

CudnnDescriptor& CudnnDescriptor::finalize() {
  check_cudnn(cudnnBackendFinalize(descriptor_), "cudnnBackendFinalize");
  return *this;
}
bool CudnnDescriptor::try_finalize() {
  const cudnnStatus_t status = cudnnBackendFinalize(descriptor_);
  if (is_refusal(status)) return false;
  check_cudnn(status, "cudnnBackendFinalize");
  return true;
}

std::optional<CudnnPlan> choose_plan(Device device, std::span<const cudnnBackendDescriptor_t> operations,
                                     bool exact_float32, int64_t workspace_limit) {
  CudnnDescriptor graph(CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR);
  graph.set(CUDNN_ATTR_OPERATIONGRAPH_HANDLE, cudnn_handle(device)).set_operations(operations);
  if (!graph.try_finalize()) return {};
  for (const cudnnBackendHeurMode_t mode : {CUDNN_HEUR_MODE_A, CUDNN_HEUR_MODE_FALLBACK}) {
    for (const CudnnDescriptor& config : engine_configs(graph, mode)) {
      if (!is_allowed(config, exact_float32)) continue;
      CudnnPlan chosen{CudnnDescriptor(CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR)};
      chosen.plan.set(CUDNN_ATTR_EXECUTION_PLAN_HANDLE, cudnn_handle(device))
          .set(CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, config);
      // Heuristics also name engines that then refuse, for whatever reason: the next one is asked.
      if (cudnnBackendFinalize(chosen.plan.get()) != CUDNN_STATUS_SUCCESS) continue;
      int64_t n = 0;
      check_cudnn(cudnnBackendGetAttribute(chosen.plan.get(), CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE,
                                           CUDNN_TYPE_INT64, 1, &n, &chosen.workspace_bytes),
                  "cudnnBackendGetAttribute(EXECUTION_PLAN_WORKSPACE_SIZE)");
      if (chosen.workspace_bytes <= workspace_limit) return chosen;
    }
  }
  return {};
}

}  // namespace lockstep::cuda
