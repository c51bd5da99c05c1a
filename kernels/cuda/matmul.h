// Matrix products on GPUs: one product of fixed shapes, prepared once (cuBLASLt: descriptors, layouts
// and the algorithm) and run many times. Sums are float32 in an order that depends on shapes, types and
// the GPU model only. Free of the library's headers: tests put naive loops behind the same class.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "kernels/device.h"
#include "kernels/dtype.h"

namespace lockstep::cuda {

/// d (m, n) = f(op(a) (m, k) · op(b) (k, n) + bias (n)), row-major, `batch` times.
struct MatmulDesc {
  int64_t m = 0, n = 0, k = 0;
  bool transpose_a = false;     // a is stored (k, m)
  bool transpose_b = false;     // b is stored (n, k)
  DType src = DType::kFloat32;  // of a and b: float32, bfloat16 or float16
  DType dst = DType::kFloat32;  // of d and bias: that of a and b, or float32
  bool tf32 = false;            // float32 factors may be rounded to 10 bits
  bool has_bias = false;
  bool relu = false;                                 // whether NaN stays NaN under it is the library's choice
  int64_t row_a = 0, row_b = 0, row_d = 0;           // elements from row to row as stored; 0: no gap
  int64_t batch = 1;                                 // < 2^31
  int64_t stride_a = 0, stride_b = 0, stride_d = 0;  // elements from one product to the next
};

class Matmul {
 public:
  /// Empty; run() only after another was moved into it.
  Matmul();
  /// Throws Error if cuBLASLt has no algorithm within the rules of matmul.cpp.
  Matmul(Device device, const MatmulDesc& desc);
  ~Matmul();
  Matmul(Matmul&& other) noexcept;
  Matmul& operator=(Matmul&& other) noexcept;

  int64_t workspace_bytes() const;  // at most 32 MiB
  /// a, b and d are aligned to 16 bytes, bias and workspace to 256; bias is read only with has_bias.
  /// One thread at a time.
  void run(Stream& stream, const void* a, const void* b, const void* bias, void* d, void* workspace);

 private:
  struct Prepared;
  std::unique_ptr<Prepared> prepared_;
};

/// Of cuBLASLt, as it runs: "13.0.2".
std::string matmul_library_version();

}  // namespace lockstep::cuda
