// Batch normalisation, forward; see batch_norm_loops.h.
#include "kernels/cpu/batch_norm_lanes.h"

namespace lockstep::cpu {

namespace {

/// Count, mean and sum of squared deviations; both of a and b together.
struct Moments {
  double n = 0, mean = 0, deviations = 0;
};
LOCKSTEP_INLINE Moments combined(const Moments& a, const Moments& b) {
  const double n = a.n + b.n;
  if (n == 0) return a;
  const double distance = b.mean - a.mean;
  return {n, a.mean + distance * (b.n / n),
          a.deviations + b.deviations + distance * distance * (a.n * b.n / n)};
}

template <typename F, typename T>
LOCKSTEP_INLINE void moments(const SlabPlaces& s, const T* src, double* mean, double* deviations) {
  using V = typename F::V;
  Moments running[F::kWidth];
  for_chunks<F>(s, [&](const Chunk& chunk) LOCKSTEP_INLINE_LAMBDA {
    const float n = static_cast<float>(chunk.n());
    V sums[4] = {};
    for_vectors<F>(s, chunk, [&](int64_t at, auto group, auto row) LOCKSTEP_INLINE_LAMBDA {
      V x;
      load_floats<F::kLanes>(x, src + at);
      sums[row() * F::kGroups + group()] += x;
    });
    alignas(64) float centers[F::kWidth], firsts[F::kWidth], seconds[F::kWidth];
    store_totals<F>(sums, centers);
    for (float& center : centers) center *= 1 / n;
    V center[F::kGroups];
    unrolled<F::kGroups>(
        [&](auto group) LOCKSTEP_INLINE_LAMBDA { load(center[group()], centers + group() * F::kLanes); });
    // What rounding left of the mean is in `first`, so that `center` need only be near.
    V first[4] = {}, second[4] = {};
    for_vectors<F>(s, chunk, [&](int64_t at, auto group, auto row) LOCKSTEP_INLINE_LAMBDA {
      V x;
      load_floats<F::kLanes>(x, src + at);
      x -= center[group()];
      first[row() * F::kGroups + group()] += x;
      second[row() * F::kGroups + group()] += x * x;
    });
    store_totals<F>(first, firsts);
    store_totals<F>(second, seconds);
    for (int w = 0; w < F::kWidth; ++w) {
      const double rest = static_cast<double>(firsts[w]) / n;
      const Moments here{n, centers[w] + rest, std::max(0.0, seconds[w] - rest * firsts[w])};
      running[w] = combined(running[w], here);
    }
  });
  if constexpr (F::kPlane) {
    Moments all;
    for (const Moments& lane : running) all = combined(all, lane);
    for_tails<F>(s, [&](int64_t at) LOCKSTEP_INLINE_LAMBDA {
      all = combined(all, {1, to_float(src[at]), 0});
    });
    mean[0] = all.mean;
    deviations[0] = all.deviations;
  } else {
    for (int w = 0; w < F::kWidth; ++w) {
      mean[w] = running[w].mean;
      deviations[w] = running[w].deviations;
    }
  }
}

template <bool kResidual, typename F, typename T>
LOCKSTEP_INLINE void normalize(const SlabPlaces& s, const SlabAffine& affine, const T* src, const T* residual,
                               T* dst) {
  const AffineConstants<F> k(affine);
  for_all_backwards<F>(s, [&](int64_t at, auto group, auto lanes) LOCKSTEP_INLINE_LAMBDA {
    constexpr int kLanes = decltype(lanes)::value;
    using V = Vector<float, kLanes>;
    V x, y;
    load_floats<kLanes>(x, src + at);
    k.centered(group(), x);
    k.scaled(group(), x, y);
    if constexpr (kResidual) {
      load_floats<kLanes>(x, residual + at);
      y += x;
    }
    const V low = V{} + k.low, high = V{} + k.high;
    y = low > y ? low : y;  // NaN stays NaN
    y = high < y ? high : y;
    store_floats<kLanes>(y, dst + at);
  });
}

}  // namespace

// Clones per instruction set cannot be templates.
#define LOCKSTEP_FORWARD_LOOPS(T)                                                                            \
  LOCKSTEP_VECTORIZE void slab_moments(const SlabPlaces& s, const T* src, double* mean,                      \
                                       double* deviations) {                                                 \
    with_form(s,                                                                                             \
              [&](auto form) LOCKSTEP_INLINE_LAMBDA { moments<decltype(form)>(s, src, mean, deviations); }); \
  }                                                                                                          \
  LOCKSTEP_VECTORIZE void slab_normalize(const SlabPlaces& s, const SlabAffine& affine, const T* src,        \
                                         const T* residual, T* dst) {                                        \
    with_form(s, [&](auto form) LOCKSTEP_INLINE_LAMBDA {                                                     \
      if (residual)                                                                                          \
        normalize<true, decltype(form)>(s, affine, src, residual, dst);                                      \
      else                                                                                                   \
        normalize<false, decltype(form)>(s, affine, src, residual, dst);                                     \
    });                                                                                                      \
  }
LOCKSTEP_FORWARD_LOOPS(float)
LOCKSTEP_FORWARD_LOOPS(BFloat16)
#undef LOCKSTEP_FORWARD_LOOPS

}  // namespace lockstep::cpu
