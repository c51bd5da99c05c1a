// Batch normalisation, backward; see batch_norm_loops.h.
#include "kernels/cpu/batch_norm_lanes.h"

namespace lockstep::cpu {

namespace {

/// g = diff_dst where dst is between the bounds. x: src, centered.
template <bool kFromDst, int kLanes, typename F, typename V, typename T>
LOCKSTEP_INLINE void load_masked(const AffineConstants<F>& k, int group, const V& x, const T* dst,
                                 const T* diff_dst, V& g) {
  load_floats<kLanes>(g, diff_dst);
  V y;
  if constexpr (kFromDst)
    load_floats<kLanes>(y, dst);
  else
    k.scaled(group, x, y);
  const V low = V{} + k.low, high = V{} + k.high;
  g = y <= low ? V{} : g;
  g = y >= high ? V{} : g;
}

template <bool kFromDst, typename F, typename T>
LOCKSTEP_INLINE void gradient_sums(const SlabPlaces& s, const SlabAffine& affine, const T* src, const T* dst,
                                   const T* diff_dst, T* masked, double* sum, double* centered_sum) {
  using V = typename F::V;
  const AffineConstants<F> k(affine);
  double sums[F::kWidth] = {}, centered_sums[F::kWidth] = {};
  for_chunks<F>(s, [&](const Chunk& chunk) LOCKSTEP_INLINE_LAMBDA {
    V first[4] = {}, second[4] = {};
    for_vectors<F>(s, chunk, [&](int64_t at, auto group, auto row) LOCKSTEP_INLINE_LAMBDA {
      V x, g;
      load_floats<F::kLanes>(x, src + at);
      k.centered(group(), x);
      load_masked<kFromDst, F::kLanes>(k, group(), x, dst + at, diff_dst + at, g);
      if (masked) store_floats<F::kLanes>(g, masked + at);
      first[row() * F::kGroups + group()] += g;
      second[row() * F::kGroups + group()] += g * x;
    });
    alignas(64) float firsts[F::kWidth], seconds[F::kWidth];
    store_totals<F>(first, firsts);
    store_totals<F>(second, seconds);
    for (int w = 0; w < F::kWidth; ++w) {
      sums[w] += static_cast<double>(firsts[w]);
      centered_sums[w] += static_cast<double>(seconds[w]);
    }
  });
  if constexpr (F::kPlane) {
    for (int w = 1; w < F::kWidth; ++w) {
      sums[0] += sums[w];
      centered_sums[0] += centered_sums[w];
    }
    for_tails<F>(s, [&](int64_t at) LOCKSTEP_INLINE_LAMBDA {
      float x = to_float(src[at]), g;
      k.centered(0, x);
      load_masked<kFromDst, 1>(k, 0, x, dst + at, diff_dst + at, g);
      if (masked) store_floats<1>(g, masked + at);
      sums[0] += static_cast<double>(g);
      centered_sums[0] += static_cast<double>(g * x);
    });
  }
  std::copy_n(sums, s.width, sum);
  std::copy_n(centered_sums, s.width, centered_sum);
}

template <bool kFromDst, typename F, typename T>
LOCKSTEP_INLINE void input_gradient(const SlabPlaces& s, const SlabAffine& affine,
                                    const SlabGradient& gradient, const T* src, const T* dst,
                                    const T* diff_dst, T* diff_src) {
  const AffineConstants<F> k(affine);
  const Constants<F> of_gradient(gradient.of_gradient), of_value(gradient.of_value),
      constant(gradient.constant);
  for_all_backwards<F>(s, [&](int64_t at, auto group, auto lanes) LOCKSTEP_INLINE_LAMBDA {
    constexpr int kLanes = decltype(lanes)::value;
    using V = Vector<float, kLanes>;
    V x, g, a, b, c;
    load_floats<kLanes>(x, src + at);
    k.centered(group(), x);
    load_masked<kFromDst, kLanes>(k, group(), x, dst + at, diff_dst + at, g);
    of_gradient.get(group(), a);
    of_value.get(group(), b);
    constant.get(group(), c);
    const V result = a * g + b * x + c;
    store_floats<kLanes>(result, diff_src + at);
  });
}

}  // namespace

// Clones per instruction set cannot be templates.
#define LOCKSTEP_BACKWARD_LOOPS(T)                                                                        \
  LOCKSTEP_VECTORIZE void slab_gradient_sums(const SlabPlaces& s, const SlabAffine& affine, const T* src, \
                                             const T* dst, const T* diff_dst, T* masked, double* sum,     \
                                             double* centered_sum) {                                      \
    with_form(s, [&](auto form) LOCKSTEP_INLINE_LAMBDA {                                                  \
      using F = decltype(form);                                                                           \
      if (dst)                                                                                            \
        gradient_sums<true, F>(s, affine, src, dst, diff_dst, masked, sum, centered_sum);                 \
      else                                                                                                \
        gradient_sums<false, F>(s, affine, src, dst, diff_dst, masked, sum, centered_sum);                \
    });                                                                                                   \
  }                                                                                                       \
  LOCKSTEP_VECTORIZE void slab_input_gradient(const SlabPlaces& s, const SlabAffine& affine,              \
                                              const SlabGradient& gradient, const T* src, const T* dst,   \
                                              const T* diff_dst, T* diff_src) {                           \
    with_form(s, [&](auto form) LOCKSTEP_INLINE_LAMBDA {                                                  \
      using F = decltype(form);                                                                           \
      if (dst)                                                                                            \
        input_gradient<true, F>(s, affine, gradient, src, dst, diff_dst, diff_src);                       \
      else                                                                                                \
        input_gradient<false, F>(s, affine, gradient, src, dst, diff_dst, diff_src);                      \
    });                                                                                                   \
  }
LOCKSTEP_BACKWARD_LOOPS(float)
LOCKSTEP_BACKWARD_LOOPS(BFloat16)
#undef LOCKSTEP_BACKWARD_LOOPS

}  // namespace lockstep::cpu
