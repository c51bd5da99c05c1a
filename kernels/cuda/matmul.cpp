// See matmul.h: cuBLASLt, whose matrices are column-major. A row-major matrix is its transpose there, so
// that d^T = op(b)^T · op(a)^T is asked for: our b is its A, our a its B, our n its rows.
//
// The algorithm is the first that the library's own heuristic names within these rules: at most 32 MiB
// of workspace, and a dot product that is split is summed in float32 from the workspace in a second
// step. Sums in place, in the type of d, are excluded.
#include "kernels/cuda/matmul.h"

#include <cublasLt.h>
#include <fmt/format.h>

#include <array>
#include <numeric>
#include <string>
#include <utility>

#include "kernels/cuda/per_device.h"
#include "kernels/cuda/runtime.h"
#include "kernels/error.h"

namespace lockstep::cuda {

namespace {

constexpr uint64_t kWorkspaceLimit = 32 << 20;
constexpr uint32_t kReductions = CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE;  // or none at all
constexpr int64_t kAlignment = 16;                                        // of a, b and d
constexpr int kCandidates = 16;

void check_cublas(cublasStatus_t status, const char* call) {
  if (status == CUBLAS_STATUS_SUCCESS) return;
  throw Error("cuBLASLt", std::string(call) + " failed: " + cublasLtGetStatusString(status),
              "see that driver, cuBLAS and GPU fit together; CUBLASLT_LOG_LEVEL=2 tells more");
}

cudaDataType_t type_of(DType dtype) {
  switch (dtype) {
    case DType::kFloat32: return CUDA_R_32F;
    case DType::kBFloat16: return CUDA_R_16BF;
    case DType::kFloat16: return CUDA_R_16F;
    default: break;
  }
  throw Error("matmul", "no product of " + std::string(name_of(dtype)) + " on GPUs",
              "set `precision` to float32, tf32, bfloat16 or float16");
}

class Handle {
 public:
  Handle() { check_cublas(cublasLtCreate(&handle_), "cublasLtCreate"); }
  ~Handle() { cublasLtDestroy(handle_); }
  Handle(const Handle&) = delete;
  Handle& operator=(const Handle&) = delete;
  cublasLtHandle_t get() const { return handle_; }

 private:
  cublasLtHandle_t handle_ = nullptr;
};

/// (rows, columns) row-major: (columns, rows) for cuBLASLt.
class MatrixLayout {
 public:
  MatrixLayout(DType dtype, int64_t rows, int64_t columns, int64_t row, int64_t batch, int64_t stride) {
    check_cublas(cublasLtMatrixLayoutCreate(&layout_, type_of(dtype), static_cast<uint64_t>(columns),
                                            static_cast<uint64_t>(rows), row > 0 ? row : columns),
                 "cublasLtMatrixLayoutCreate");
    if (batch == 1) return;
    set(CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, static_cast<int32_t>(batch));
    set(CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, stride);
  }
  ~MatrixLayout() { cublasLtMatrixLayoutDestroy(layout_); }
  MatrixLayout(const MatrixLayout&) = delete;
  MatrixLayout& operator=(const MatrixLayout&) = delete;
  cublasLtMatrixLayout_t get() const { return layout_; }

 private:
  template <typename T>
  void set(cublasLtMatrixLayoutAttribute_t attribute, T value) {
    check_cublas(cublasLtMatrixLayoutSetAttribute(layout_, attribute, &value, sizeof value),
                 "cublasLtMatrixLayoutSetAttribute");
  }
  cublasLtMatrixLayout_t layout_ = nullptr;
};

class Operation {
 public:
  explicit Operation(const MatmulDesc& d) {
    check_cublas(cublasLtMatmulDescCreate(
                     &operation_, d.tf32 ? CUBLAS_COMPUTE_32F_FAST_TF32 : CUBLAS_COMPUTE_32F, CUDA_R_32F),
                 "cublasLtMatmulDescCreate");
    set(CUBLASLT_MATMUL_DESC_TRANSA, static_cast<int32_t>(d.transpose_b ? CUBLAS_OP_T : CUBLAS_OP_N));
    set(CUBLASLT_MATMUL_DESC_TRANSB, static_cast<int32_t>(d.transpose_a ? CUBLAS_OP_T : CUBLAS_OP_N));
    const cublasLtEpilogue_t with_bias = d.relu ? CUBLASLT_EPILOGUE_RELU_BIAS : CUBLASLT_EPILOGUE_BIAS;
    const cublasLtEpilogue_t without = d.relu ? CUBLASLT_EPILOGUE_RELU : CUBLASLT_EPILOGUE_DEFAULT;
    set(CUBLASLT_MATMUL_DESC_EPILOGUE, static_cast<uint32_t>(d.has_bias ? with_bias : without));
    if (d.has_bias) set(CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, static_cast<int32_t>(type_of(d.dst)));
  }
  ~Operation() { cublasLtMatmulDescDestroy(operation_); }
  Operation(const Operation&) = delete;
  Operation& operator=(const Operation&) = delete;
  cublasLtMatmulDesc_t get() const { return operation_; }

  /// Tensors are bound for the life of a plan: this does something once.
  void set_bias(const void* bias) {
    if (bias == bias_) return;
    set(CUBLASLT_MATMUL_DESC_BIAS_POINTER, bias);
    bias_ = bias;
  }

 private:
  template <typename T>
  void set(cublasLtMatmulDescAttributes_t attribute, T value) {
    check_cublas(cublasLtMatmulDescSetAttribute(operation_, attribute, &value, sizeof value),
                 "cublasLtMatmulDescSetAttribute");
  }
  cublasLtMatmulDesc_t operation_ = nullptr;
  const void* bias_ = nullptr;
};

class Preference {
 public:
  explicit Preference(const MatmulDesc& d) {
    check_cublas(cublasLtMatmulPreferenceCreate(&preference_), "cublasLtMatmulPreferenceCreate");
    set(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, kWorkspaceLimit);
    set(CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, kReductions);
    set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, alignment(d, d.stride_b, d.src));
    set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, alignment(d, d.stride_a, d.src));
    set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, alignment(d, d.stride_d, d.dst));
    set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, alignment(d, d.stride_d, d.dst));
  }
  ~Preference() { cublasLtMatmulPreferenceDestroy(preference_); }
  Preference(const Preference&) = delete;
  Preference& operator=(const Preference&) = delete;
  cublasLtMatmulPreference_t get() const { return preference_; }

 private:
  /// Bytes that the first element of every matrix of a batch is aligned to.
  static uint32_t alignment(const MatmulDesc& d, int64_t stride, DType dtype) {
    return static_cast<uint32_t>(d.batch > 1 ? std::gcd(kAlignment, stride * size_of(dtype)) : kAlignment);
  }
  template <typename T>
  void set(cublasLtMatmulPreferenceAttributes_t attribute, T value) {
    check_cublas(cublasLtMatmulPreferenceSetAttribute(preference_, attribute, &value, sizeof value),
                 "cublasLtMatmulPreferenceSetAttribute");
  }
  cublasLtMatmulPreference_t preference_ = nullptr;
};

std::string text_of(const MatmulDesc& d) {
  return "(" + std::to_string(d.m) + ", " + std::to_string(d.k) + ") x (" + std::to_string(d.k) + ", " +
         std::to_string(d.n) + ") of " + std::string(name_of(d.src));
}

}  // namespace

struct Matmul::Prepared {
  cublasLtHandle_t handle;
  Operation operation;
  MatrixLayout a, b, d;
  cublasLtMatmulAlgo_t algorithm{};
  size_t workspace_bytes = 0;

  Prepared(Device device, const MatmulDesc& desc)
      : handle(per_device<Handle>(device).get()),
        operation(desc),
        a(desc.src, desc.transpose_a ? desc.k : desc.m, desc.transpose_a ? desc.m : desc.k, desc.row_a,
          desc.batch, desc.stride_a),
        b(desc.src, desc.transpose_b ? desc.n : desc.k, desc.transpose_b ? desc.k : desc.n, desc.row_b,
          desc.batch, desc.stride_b),
        d(desc.dst, desc.m, desc.n, desc.row_d, desc.batch, desc.stride_d) {
    const Preference preference(desc);
    std::array<cublasLtMatmulHeuristicResult_t, kCandidates> candidates{};
    int n_found = 0;
    const cublasStatus_t status =
        cublasLtMatmulAlgoGetHeuristic(handle, operation.get(), b.get(), a.get(), d.get(), d.get(),
                                       preference.get(), kCandidates, candidates.data(), &n_found);
    if (status != CUBLAS_STATUS_NOT_SUPPORTED) check_cublas(status, "cublasLtMatmulAlgoGetHeuristic");
    for (int i = 0; i < n_found; ++i) {
      const cublasLtMatmulHeuristicResult_t& candidate = candidates[static_cast<size_t>(i)];
      if (candidate.state != CUBLAS_STATUS_SUCCESS || !is_allowed(candidate)) continue;
      algorithm = candidate.algo;
      workspace_bytes = candidate.workspaceSize;
      return;
    }
    throw Error("matmul", "cuBLASLt has no reproducible algorithm for " + text_of(desc),
                "use another `precision`, or a newer cuBLAS");
  }

  /// The mask of the preference once more: the rule must not depend on how the library reads it.
  static bool is_allowed(const cublasLtMatmulHeuristicResult_t& candidate) {
    uint32_t reduction = 0;
    size_t n_bytes = 0;
    check_cublas(cublasLtMatmulAlgoConfigGetAttribute(&candidate.algo, CUBLASLT_ALGO_CONFIG_REDUCTION_SCHEME,
                                                      &reduction, sizeof reduction, &n_bytes),
                 "cublasLtMatmulAlgoConfigGetAttribute");
    return (reduction & ~kReductions) == 0 && candidate.workspaceSize <= kWorkspaceLimit;
  }
};

Matmul::Matmul() = default;
Matmul::Matmul(Device device, const MatmulDesc& desc) : prepared_(std::make_unique<Prepared>(device, desc)) {}
Matmul::~Matmul() = default;
Matmul::Matmul(Matmul&&) noexcept = default;
Matmul& Matmul::operator=(Matmul&&) noexcept = default;

int64_t Matmul::workspace_bytes() const {
  return prepared_ ? static_cast<int64_t>(prepared_->workspace_bytes) : 0;
}

void Matmul::run(Stream& stream, const void* a, const void* b, const void* bias, void* d, void* workspace) {
  Prepared& p = *prepared_;
  p.operation.set_bias(bias);
  const float one = 1.0f, zero = 0.0f;
  check_cublas(
      cublasLtMatmul(p.handle, p.operation.get(), &one, b, p.b.get(), a, p.a.get(), &zero, d, p.d.get(), d,
                     p.d.get(), &p.algorithm, workspace, p.workspace_bytes, handle_of(stream)),
      "cublasLtMatmul");
}

std::string matmul_library_version() {
  const size_t code = cublasLtGetVersion();  // 130002
  return fmt::format("{}.{}.{}", code / 10000, code / 100 % 100, code % 100);
}

}  // namespace lockstep::cuda
