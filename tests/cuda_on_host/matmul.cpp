// Matmul (kernels/cuda/matmul.h) as naive loops on the host: products summed in float32 in the order of k.
#include "kernels/cuda/matmul.h"

#include <cuda_runtime.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "kernels/cuda/runtime.h"
#include "tests/cuda_on_host/numbers.h"

namespace lockstep::cuda {

namespace {
using cuda_on_host::add_product;
using cuda_on_host::number_at;
using cuda_on_host::set_number;
constexpr int64_t kWorkspaceBytes = 320;  // whatever: it must be there and belong to no one else
}  // namespace

struct Matmul::Prepared {
  MatmulDesc desc;

  void run(const void* a, const void* b, const void* bias, void* d) const {
    const MatmulDesc& m = desc;
    const int64_t row_a = m.row_a > 0 ? m.row_a : (m.transpose_a ? m.m : m.k);
    const int64_t row_b = m.row_b > 0 ? m.row_b : (m.transpose_b ? m.k : m.n);
    const int64_t row_d = m.row_d > 0 ? m.row_d : m.n;
    std::vector<float> sums(static_cast<size_t>(m.n)), of_b(static_cast<size_t>(m.k * m.n));
    for (int64_t z = 0; z < m.batch; ++z) {
      for (int64_t l = 0; l < m.k; ++l)
        for (int64_t j = 0; j < m.n; ++j)
          of_b[static_cast<size_t>(l * m.n + j)] =
              number_at(m.src, b, z * m.stride_b + (m.transpose_b ? j * row_b + l : l * row_b + j));
      for (int64_t i = 0; i < m.m; ++i) {
        std::ranges::fill(sums, 0.0f);
        for (int64_t l = 0; l < m.k; ++l) {
          const int64_t of_a = m.transpose_a ? l * row_a + i : i * row_a + l;
          add_product(m.n, number_at(m.src, a, z * m.stride_a + of_a), of_b.data() + (l * m.n), sums.data());
        }
        for (int64_t j = 0; j < m.n; ++j) {
          float sum = sums[static_cast<size_t>(j)];
          if (m.has_bias) sum += number_at(m.dst, bias, j);
          if (m.relu && sum < 0) sum = 0;
          set_number(m.dst, d, z * m.stride_d + i * row_d + j, sum);
        }
      }
    }
  }
};

Matmul::Matmul() = default;
Matmul::Matmul(Device, const MatmulDesc& desc) : prepared_(std::make_unique<Prepared>(desc)) {}
Matmul::~Matmul() = default;
Matmul::Matmul(Matmul&&) noexcept = default;
Matmul& Matmul::operator=(Matmul&&) noexcept = default;

int64_t Matmul::workspace_bytes() const { return prepared_ ? kWorkspaceBytes : 0; }

void Matmul::run(Stream& stream, const void* a, const void* b, const void* bias, void* d, void* workspace) {
  check(cuda_on_host::submit(handle_of(stream),
                             [=, prepared = *prepared_] {
                               cuda_on_host::spoil(workspace, kWorkspaceBytes);
                               prepared.run(a, b, bias, d);
                             }),
        "Matmul::run");
}

std::string matmul_library_version() { return "naive loops of the tests"; }

}  // namespace lockstep::cuda
