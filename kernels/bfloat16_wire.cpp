// The switch to a backend; see bfloat16_wire.h.
#include "kernels/bfloat16_wire.h"

#include <cassert>

#include "kernels/backend.h"
#include "kernels/elementwise.h"

namespace lockstep {

namespace {
bool is_cuda(const Stream& stream) { return stream.device().kind == Device::Kind::kCuda; }
}  // namespace

void round_to_bfloat16(Stream& stream, int64_t n, float* values, float* residual) {
  assert(n >= 0);
  if (is_cuda(stream)) return cuda::round_to_wire(stream, n, values, residual);
  cpu::round_to_wire(stream, n, values, residual);
}

void add_chain_bfloat16(Stream& stream, int64_t n, std::span<const float* const> partials, const float* last,
                        float* dst) {
  assert(n >= 0 && partials.size() <= kMaxChain);
  if (is_cuda(stream)) return cuda::add_chain_bfloat16(stream, n, partials, last, dst);
  cpu::add_chain_bfloat16(stream, n, partials, last, dst);
}

void pack_bfloat16(Stream& stream, int64_t n, const float* values, uint16_t* packed) {
  if (is_cuda(stream)) return cuda::pack_bfloat16(stream, n, values, packed);
  cpu::pack_bfloat16(stream, n, values, packed);
}

void unpack_bfloat16(Stream& stream, int64_t n, const uint16_t* packed, float* values) {
  if (is_cuda(stream)) return cuda::unpack_bfloat16(stream, n, packed, values);
  cpu::unpack_bfloat16(stream, n, packed, values);
}

void add_packed_bfloat16(Stream& stream, int64_t n, const uint16_t* packed, float* values) {
  if (is_cuda(stream)) return cuda::add_packed_bfloat16(stream, n, packed, values);
  cpu::add_packed_bfloat16(stream, n, packed, values);
}

}  // namespace lockstep
