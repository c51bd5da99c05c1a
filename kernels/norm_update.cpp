// Checks and the switch to a backend; see norm_update.h.
#include "kernels/norm_update.h"

#include <cassert>

namespace lockstep {

namespace {

template <typename Formula>
void switch_norm_update(Stream& stream, const NormUpdate& update, const Formula& formula, int64_t n,
                        const float* grad, float* weights, std::span<float* const> states, Memory& scratch) {
  assert(states.size() >= size_t{Formula::kSlots} && scratch.n_bytes() >= norm_update_scratch_bytes(n));
  auto* sums = scratch.as<double>();
  if (stream.device().kind == Device::Kind::kCuda)
    return cuda::norm_update(stream, update, formula, n, grad, weights, states, sums);
  cpu::norm_update(stream, update, formula, n, grad, weights, states, sums);
}

}  // namespace

int64_t norm_update_scratch_bytes(int64_t n) {
  const int64_t n_chunks = (n + kNormChunk - 1) / kNormChunk;
  return (2 * n_chunks + 1) * int64_t{sizeof(double)};  // two sums each, and the ratio
}

void norm_update(Stream& stream, const NormUpdate& update, const LambFormula& formula, int64_t n,
                 const float* grad, float* weights, std::span<float* const> states, Memory& scratch) {
  switch_norm_update(stream, update, formula, n, grad, weights, states, scratch);
}
void norm_update(Stream& stream, const NormUpdate& update, const LarsFormula& formula, int64_t n,
                 const float* grad, float* weights, std::span<float* const> states, Memory& scratch) {
  switch_norm_update(stream, update, formula, n, grad, weights, states, scratch);
}

void limit_row_norms(Stream& stream, int64_t rows, int64_t columns, float most, float* weights) {
  if (stream.device().kind == Device::Kind::kCuda)
    return cuda::limit_row_norms(stream, rows, columns, most, weights);
  cpu::limit_row_norms(stream, rows, columns, most, weights);
}

}  // namespace lockstep
