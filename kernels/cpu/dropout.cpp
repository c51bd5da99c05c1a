// Dropout on dense tensors, so that the mask does not depend on layouts: per sample, in chunks whose
// random words stay in the first cache level.
#include "kernels/dropout.h"

#include <algorithm>
#include <cmath>

#include "kernels/backend.h"
#include "kernels/bfloat16.h"
#include "kernels/cpu/philox_words.h"

namespace lockstep::cpu {

namespace {

constexpr int64_t kMaskChunk = 4096;

template <typename T>
LOCKSTEP_INLINE void keep_loop(int64_t n, uint32_t threshold, float factor, const uint32_t* words,
                               const T* src, T* dst, uint8_t* mask) {
#pragma GCC ivdep
  for (int64_t i = 0; i < n; ++i) {
    const bool kept = words[i] >= threshold;
    mask[i] = kept ? 1 : 0;
    dst[i] = from_float<T>(kept ? factor * to_float(src[i]) : 0.0f);
  }
}
template <typename T>
LOCKSTEP_INLINE void mask_loop(int64_t n, float factor, const uint8_t* mask, const T* src, T* dst) {
#pragma GCC ivdep
  for (int64_t i = 0; i < n; ++i) dst[i] = from_float<T>(mask[i] ? factor * to_float(src[i]) : 0.0f);
}
template <typename T>
LOCKSTEP_INLINE void scale_loop(int64_t n, float factor, const T* src, T* dst) {
#pragma GCC ivdep
  for (int64_t i = 0; i < n; ++i) dst[i] = from_float<T>(factor * to_float(src[i]));
}

LOCKSTEP_VECTORIZE void keep(int64_t n, uint32_t threshold, float factor, const uint32_t* words,
                             const float* src, float* dst, uint8_t* mask) {
  keep_loop(n, threshold, factor, words, src, dst, mask);
}
LOCKSTEP_VECTORIZE void keep(int64_t n, uint32_t threshold, float factor, const uint32_t* words,
                             const BFloat16* src, BFloat16* dst, uint8_t* mask) {
  keep_loop(n, threshold, factor, words, src, dst, mask);
}
LOCKSTEP_VECTORIZE void apply_mask(int64_t n, float factor, const uint8_t* mask, const float* src,
                                   float* dst) {
  mask_loop(n, factor, mask, src, dst);
}
LOCKSTEP_VECTORIZE void apply_mask(int64_t n, float factor, const uint8_t* mask, const BFloat16* src,
                                   BFloat16* dst) {
  mask_loop(n, factor, mask, src, dst);
}
LOCKSTEP_VECTORIZE void scale(int64_t n, float factor, const float* src, float* dst) {
  scale_loop(n, factor, src, dst);
}
LOCKSTEP_VECTORIZE void scale(int64_t n, float factor, const BFloat16* src, BFloat16* dst) {
  scale_loop(n, factor, src, dst);
}

template <typename T>
class Dropout : public Op {
 public:
  explicit Dropout(const DropoutDesc& desc)
      : n_(desc.src.shape[0]), k_(desc.src.shape.without_front().n_elements()), key_(desc.key) {
    threshold_ = static_cast<uint32_t>(std::min(std::nearbyint(desc.p * 0x1p32), 0x1p32 - 1));
    factor_ = desc.test_time_scaling ? 1.0f : static_cast<float>(1.0 / (1.0 - desc.p));
    info_.src = {desc.src.dense()};
    info_.dst = {desc.src.dense()};
    info_.workspace_bytes = n_ * k_;
    info_.backward_needs_src = false;
    info_.backward_needs_dst = false;
  }

  void forward(Stream&, const OpArgs& args) override {
    const T* src = args.src[0].as<const T>();
    T* dst = args.dst[0].as<T>();
    uint8_t* mask = reinterpret_cast<uint8_t*>(args.workspace);
    const uint64_t seed = mix_bits(args.batch->seed) ^ key_;
    const auto step = static_cast<uint32_t>(args.batch->step);
    for_each_chunk([&](int64_t sample, int64_t first, int64_t n) {
      const RandomStream stream(seed, RandomPurpose::kDropout, step,
                                static_cast<uint64_t>(args.batch->sample_ids[sample]));
      uint32_t words[kMaskChunk];
      philox_words(stream, static_cast<uint64_t>(first), n, words);
      const int64_t at = sample * k_ + first;
      keep(n, threshold_, factor_, words, src + at, dst + at, mask + at);
    });
  }

  void backward(Stream&, const OpArgs& args) override {
    if (args.diff_src.empty() || args.diff_src[0].empty()) return;
    const T* diff_dst = args.diff_dst[0].as<const T>();
    T* diff_src = args.diff_src[0].as<T>();
    const uint8_t* mask = reinterpret_cast<const uint8_t*>(args.workspace);
    for_each_chunk([&](int64_t sample, int64_t first, int64_t n) {
      const int64_t at = sample * k_ + first;
      apply_mask(n, factor_, mask + at, diff_dst + at, diff_src + at);
    });
  }

 private:
  template <typename Body>
  void for_each_chunk(const Body& body) const {
    const int64_t chunks = (k_ + kMaskChunk - 1) / kMaskChunk;
#pragma omp parallel for schedule(static) if (n_ * k_ >= 4 * kMaskChunk)
    for (int64_t i = 0; i < n_ * chunks; ++i) {
      const int64_t first = i % chunks * kMaskChunk;
      body(i / chunks, first, std::min(kMaskChunk, k_ - first));
    }
  }

  int64_t n_, k_;
  uint64_t key_;
  uint32_t threshold_ = 0;
  float factor_ = 1;
};

/// Evaluation after training without scaling.
template <typename T>
class Scale : public Op {
 public:
  Scale(const TensorDesc& src, float factor) : n_(src.n_bytes() / size_of(src.dtype)), factor_(factor) {
    info_.src = {src};
    info_.dst = {src};
  }
  void forward(Stream&, const OpArgs& args) override {
    scale(n_, factor_, args.src[0].as<const T>(), args.dst[0].as<T>());
  }
  void backward(Stream&, const OpArgs&) override {}

 private:
  int64_t n_;
  float factor_;
};

template <typename T>
std::unique_ptr<Op> make(const OpConfig& config, const DropoutDesc& desc) {
  if (config.training) return std::make_unique<Dropout<T>>(desc);
  return std::make_unique<Scale<T>>(desc.src, static_cast<float>(1.0 - desc.p));
}

}  // namespace

std::unique_ptr<Op> make_dropout(const OpConfig& config, const DropoutDesc& desc) {
  return desc.src.dtype == DType::kBFloat16 ? make<BFloat16>(config, desc) : make<float>(config, desc);
}

}  // namespace lockstep::cpu
