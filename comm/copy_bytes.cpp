// Vector loads and stores. glibc's memcpy takes `rep movsb` for such lengths, which AMD's processors
// run several times slower where dst lies up to 64 bytes behind src within a page (glibc bug 30994):
// staging buffers begin a page, and what malloc returns for long vectors begins 16 bytes behind one.
#include "comm/copy_bytes.h"

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#include <algorithm>
#include <cstring>

#include "kernels/vectorize.h"

namespace lockstep {
namespace {

using Vector = cpu::Vector<uint64_t, 4>;

LOCKSTEP_VECTORIZE void copy_groups(std::byte* dst, const std::byte* src, int64_t n_groups) {
  for (int64_t g = 0; g < n_groups; ++g, dst += 128, src += 128) {
    Vector a, b, c, d;
    cpu::load(a, src);
    cpu::load(b, src + 32);
    cpu::load(c, src + 64);
    cpu::load(d, src + 96);
    cpu::store(a, dst);
    cpu::store(b, dst + 32);
    cpu::store(c, dst + 64);
    cpu::store(d, dst + 96);
  }
}

}  // namespace

void copy_bytes(std::byte* dst, const std::byte* src, int64_t n_bytes) {
  const int64_t n_groups = n_bytes / 128, n_rest = n_bytes % 128;
  copy_groups(dst, src, n_groups);
  if (n_rest > 0) std::memcpy(dst + n_groups * 128, src + n_groups * 128, size_t(n_rest));
}

void stream_bytes(std::byte* dst, const std::byte* src, int64_t n_bytes) {
#if defined(__SSE2__)
  const int64_t n_head = std::min<int64_t>(n_bytes, -reinterpret_cast<uintptr_t>(dst) & 15);
  if (n_head > 0) std::memcpy(dst, src, size_t(n_head));
  int64_t i = n_head;
  for (; i + 16 <= n_bytes; i += 16) {
    const __m128i value = _mm_loadu_si128(reinterpret_cast<const __m128i*>(src + i));
    _mm_stream_si128(reinterpret_cast<__m128i*>(dst + i), value);
  }
  if (i < n_bytes) std::memcpy(dst + i, src + i, size_t(n_bytes - i));
  _mm_sfence();
#else
  copy_bytes(dst, src, n_bytes);
#endif
}

}  // namespace lockstep
