#include "io/loader/token_mask.h"

#include "kernels/random.h"

namespace lockstep {

namespace {

constexpr float kMasked = 0.8f, kRandom = 0.1f;  // of the chosen ones

template <typename T>
void mask_row(const TokenMask& mask, const RandomStream& random, int64_t n, T* ids) {
  for (int64_t i = 0; i < n; ++i) {
    const auto at = 2 * static_cast<uint64_t>(i);
    const bool is_chosen = random.uniform(at) < mask.probability;
    if (mask.is_target) {
      if (!is_chosen) ids[i] = -1;
      continue;
    }
    if (!is_chosen) continue;
    const float draw = random.uniform(at + 1);
    if (draw < kMasked) {
      ids[i] = static_cast<T>(mask.mask);
    } else if (draw < kMasked + kRandom) {
      ids[i] = static_cast<T>((draw - kMasked) / kRandom * static_cast<float>(mask.n_ids));
      if (ids[i] >= static_cast<T>(mask.n_ids)) ids[i] = static_cast<T>(mask.n_ids - 1);
    }
  }
}

}  // namespace

void mask_tokens(const TokenMask& mask, uint64_t seed, int64_t epoch, int64_t sample, int64_t n, DType dtype,
                 void* ids) {
  const RandomStream random(seed, RandomPurpose::kMasking, static_cast<uint32_t>(epoch),
                            static_cast<uint64_t>(sample));
  if (dtype == DType::kInt64) return mask_row(mask, random, n, static_cast<int64_t*>(ids));
  mask_row(mask, random, n, static_cast<int32_t*>(ids));
}

}  // namespace lockstep
