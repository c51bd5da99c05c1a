// Checks and the switch to a backend; see elementwise.h.
#include "kernels/elementwise.h"

#include <cassert>

#include "kernels/backend.h"

namespace lockstep {

void add(Stream& stream, int64_t n, const float* a, const float* b, float* dst) {
  assert(n >= 0);
  if (stream.device().kind == Device::Kind::kCuda) return cuda::add(stream, n, a, b, dst);
  cpu::add(stream, n, a, b, dst);
}

void add_chain(Stream& stream, int64_t n, std::span<const float* const> partials, const float* last,
               float* dst) {
  assert(n >= 0 && partials.size() <= kMaxChain);
  if (stream.device().kind == Device::Kind::kCuda) return cuda::add_chain(stream, n, partials, last, dst);
  cpu::add_chain(stream, n, partials, last, dst);
}

void sum_gradients(Stream& stream, DType dtype, int64_t n_elements, std::span<void* const> partials) {
  assert(n_elements >= 0 && !partials.empty());
  if (partials.size() < 2) return;
  if (stream.device().kind == Device::Kind::kCuda)
    return cuda::sum_gradients(stream, dtype, n_elements, partials);
  cpu::sum_gradients(stream, dtype, n_elements, partials);
}

void fill(Stream& stream, int64_t n, float value, float* dst) {
  assert(n >= 0);
  if (stream.device().kind == Device::Kind::kCuda) return cuda::fill(stream, n, value, dst);
  cpu::fill(stream, n, value, dst);
}

double sum_of_squares(Stream& stream, int64_t n, const float* src) {
  assert(n >= 0);
  if (stream.device().kind == Device::Kind::kCuda) return cuda::sum_of_squares(stream, n, src);
  return cpu::sum_of_squares(stream, n, src);
}

void clip_norm(Stream& stream, int64_t n, float* values, double scale, double most, double* norm) {
  assert(n >= 0 && most > 0);
  if (stream.device().kind == Device::Kind::kCuda)
    return cuda::clip_norm(stream, n, values, scale, most, norm);
  cpu::clip_norm(stream, n, values, scale, most, norm);
}

void clip_values(Stream& stream, int64_t n, float* values, float most) {
  assert(n >= 0 && most >= 0);
  if (stream.device().kind == Device::Kind::kCuda) return cuda::clip_values(stream, n, values, most);
  cpu::clip_values(stream, n, values, most);
}

}  // namespace lockstep
