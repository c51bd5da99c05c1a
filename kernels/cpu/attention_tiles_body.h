// The body of attention_tiles_*.cpp: included once in each, compiled for the instruction set of that file.
// All names are local to it, so that no function compiled for AVX is ever called on a machine without.
#pragma once

#include <cstring>

#include "kernels/cpu/attention_tiles.h"
#include "kernels/cpu/tile_lanes.h"

namespace lockstep::cpu {

namespace {

constexpr int kVectors = static_cast<int>(kHeadPanel) / kWidth;
constexpr float kLowest = -3.0e38f;

using Signed = Vector<int32_t, kWidth>;

/// The greater; x where it is NaN.
LOCKSTEP_INLINE Floats at_least(Floats x, Floats limit) {
#if defined(__FMA__) && !defined(__AVX512F__)
  return (Floats)_mm256_max_ps((__m256)limit, (__m256)x);
#else
  return x < limit ? limit : x;
#endif
}

/// 2^x for x below 126, to 1.5 ulp; below 2^-125 that. NaN stays NaN. The fraction's polynomial is of least
/// greatest relative error on [-1/2, 1/2].
LOCKSTEP_INLINE Floats power_of_two(Floats x) {
  const Floats magic = all(12582912.0f);  // 1.5 * 2^23: adding it rounds to an integer
  x = at_least(x, all(-125.0f));
  const Floats shifted = x + magic;
  const Floats r = x - (shifted - magic);
  Floats p = all(0.0013264714507386088f);
  p = fused(p, r, all(0.009671513922512531f));
  p = fused(p, r, all(0.05550733953714371f));
  p = fused(p, r, all(0.24022242426872253f));
  p = fused(p, r, all(0.6931470036506653f));
  p = fused(p, r, all(1.0f));
  return (Floats)((Words)p + ((Words)shifted << 23));
}

/// Lanes 0, 1, … of columns [column, column + kWidth).
LOCKSTEP_INLINE Signed columns_from(int64_t column) {
  Signed v;
  for (int i = 0; i < kWidth; ++i) v[i] = i;
  return v + static_cast<int32_t>(column);
}
/// v in lanes of columns below n, `other` in the rest.
LOCKSTEP_INLINE Floats below(int64_t column, int64_t n, Floats v, float other) {
  return columns_from(column) < static_cast<int32_t>(n) ? v : all(other);
}

LOCKSTEP_INLINE float greatest(const Floats& v) {
  float lanes[kWidth];
  put(lanes, v);
#pragma GCC unroll 4
  for (int half = kWidth / 2; half > 0; half /= 2)
#pragma GCC unroll 8
    for (int i = 0; i < half; ++i) lanes[i] = lanes[i + half] > lanes[i] ? lanes[i + half] : lanes[i];
  return lanes[0];
}

/// What a register tile multiplies: rows of a (or, transposed, columns: a[i * a_row + r]) by b (k,
/// kHeadPanel).
struct Factors {
  const float* a;
  int64_t a_row;
  const float* b;
  int64_t b_row, k;
};

/// sums (kRows, kHeadPanel) += a b, over k in order.
template <bool kTransposed, int kRows>
LOCKSTEP_INLINE void multiply(Floats (&sums)[kRows][kVectors], const Factors& f) {
  const float *a = f.a, *b = f.b;
  const int64_t a_row = f.a_row, b_row = f.b_row;
#pragma GCC unroll 2
  for (int64_t i = 0; i < f.k; ++i, a += kTransposed ? a_row : 1, b += b_row) {
    Floats columns[kVectors];
#pragma GCC unroll 16
    for (int v = 0; v < kVectors; ++v) columns[v] = load(b + v * kWidth);
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) {
      const Floats spread = all(kTransposed ? a[r] : a[r * a_row]);
#pragma GCC unroll 16
      for (int v = 0; v < kVectors; ++v) sums[r][v] = fused(spread, columns[v], sums[r][v]);
    }
  }
}

/// c (kRows, kHeadPanel) += a b
template <bool kTransposed, int kRows>
void add_product(const Factors& f, float* c, int64_t c_row) {
  Floats sums[kRows][kVectors];
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r)
#pragma GCC unroll 16
    for (int v = 0; v < kVectors; ++v) sums[r][v] = load(c + r * c_row + v * kWidth);
  multiply<kTransposed>(sums, f);
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r)
#pragma GCC unroll 16
    for (int v = 0; v < kVectors; ++v) put(c + r * c_row + v * kWidth, sums[r][v]);
}

/// c = of_sums(row, columns from, products a b)
template <int kRows, typename OfSums>
LOCKSTEP_INLINE void put_product(const Factors& f, float* c, const OfSums& of_sums) {
  Floats sums[kRows][kVectors] = {};
  multiply<false>(sums, f);
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r)
#pragma GCC unroll 16
    for (int v = 0; v < kVectors; ++v)
      put(c + r * kBlockKeys + v * kWidth, of_sums(r, v * kWidth, sums[r][v]));
}

/// body.operator()<rows>(), 1 <= rows <= kTileRows
template <int kRows = kTileRows, typename Body>
LOCKSTEP_INLINE void with_rows(int64_t rows, const Body& body) {
  if constexpr (kRows > 1) {
    if (rows < kRows) return with_rows<kRows - 1>(rows, body);
  }
  body.template operator()<kRows>();
}

/// Rows [begin[g], begin[g + 1]) of each register tile: about equally many.
struct Groups {
  static constexpr int64_t kMost = kTileQueries > kBlockKeys ? kTileQueries : kBlockKeys;
  int64_t count, begin[kMost / kTileRows + 2];
};
LOCKSTEP_INLINE void divide(int64_t from, int64_t to, Groups& groups) {
  const int64_t n = to - from;
  groups.count = (n + kTileRows - 1) / kTileRows;
  const int64_t small = n / groups.count, n_large = n % groups.count;
  for (int64_t g = 0; g < groups.count; ++g) {
    groups.begin[g] = from;
    from += small + (g < n_large ? 1 : 0);
  }
  groups.begin[groups.count] = to;
}

LOCKSTEP_INLINE int64_t visible(const QueryTile& t, int64_t r) {
  const int64_t seen = t.first + t.row + r + 1;
  return t.causal && seen < t.keys ? seen : t.keys;
}
/// The first query of the tile that sees that key.
LOCKSTEP_INLINE int64_t first_to_see(const QueryTile& t, int64_t key) {
  const int64_t r = key - t.first - t.row;
  return t.causal && r > 0 ? r : 0;
}
LOCKSTEP_INLINE int64_t within(int64_t n, int64_t most) { return n < most ? n : most; }
LOCKSTEP_INLINE int64_t panels_of(int64_t n) { return (n + kHeadPanel - 1) / kHeadPanel * kHeadPanel; }
LOCKSTEP_INLINE int64_t block_end(int64_t begin, int64_t keys) { return within(keys, begin + kBlockKeys); }

/// For each panel of the keys [begin, end) and each group of queries: body.operator()<rows>(first query,
/// first column of the block) where one of them sees a key of it; where none does, and a product over keys
/// reads some of them, zeros.
template <typename Body>
LOCKSTEP_INLINE void for_scores(const QueryTile& t, const Groups& groups, int64_t begin, int64_t end,
                                float* scores, const Body& body) {
  for (int64_t key = begin; key < end; key += kHeadPanel)
    for (int64_t g = 0; g < groups.count; ++g) {
      const int64_t r = groups.begin[g], after = groups.begin[g + 1], seen = visible(t, after - 1);
      if (seen > key) {
        with_rows(after - r, [&]<int kRows>()
                                 LOCKSTEP_INLINE_LAMBDA { body.template operator()<kRows>(r, key - begin); });
      } else if (seen + kTileRows > key) {
        for (int64_t i = r; i < after; ++i)
          std::memset(scores + i * kBlockKeys + (key - begin), 0, kHeadPanel * sizeof(float));
      }
    }
}

/// c (queries) += scores · rows (keys [begin, end))
LOCKSTEP_INLINE void add_to_queries(const QueryTile& t, const Groups& groups, int64_t begin, int64_t end,
                                    const float* scores, const float* rows, float* c) {
  for (int64_t g = 0; g < groups.count; ++g) {
    const int64_t r = groups.begin[g], after = groups.begin[g + 1];
    const int64_t n = within(visible(t, after - 1) - begin, end - begin);
    if (n <= 0) continue;
    for (int64_t column = 0; column < t.padded; column += kHeadPanel)
      with_rows(after - r, [&]<int kRows>() LOCKSTEP_INLINE_LAMBDA {
        add_product<false, kRows>(
            {scores + r * kBlockKeys, kBlockKeys, rows + begin * t.padded + column, t.padded, n},
            c + r * t.padded + column, t.padded);
      });
  }
}

/// c (keys [begin, end)) += scores, transposed, · rows (queries)
LOCKSTEP_INLINE void add_to_keys(const QueryTile& t, int64_t begin, int64_t end, const float* scores,
                                 const float* rows, float* c) {
  Groups groups;
  divide(begin, end, groups);
  for (int64_t g = 0; g < groups.count; ++g) {
    const int64_t key = groups.begin[g], from = first_to_see(t, key);
    for (int64_t column = 0; column < t.padded; column += kHeadPanel)
      with_rows(groups.begin[g + 1] - key, [&]<int kRows>() LOCKSTEP_INLINE_LAMBDA {
        add_product<true, kRows>({scores + from * kBlockKeys + (key - begin), kBlockKeys,
                                  rows + from * t.padded + column, t.padded, t.rows - from},
                                 c + key * t.padded + column, t.padded);
      });
  }
}

/// A query's scores of a block become powers of two above the greatest score so far, zeros behind the n that
/// it sees as far as others of its group see more; its sum and context shrink where that score grows.
LOCKSTEP_INLINE void softmax_row(float* scores, int64_t n, int64_t padded, float* context, float& maximum,
                                 float* sums) {
  const int64_t whole = n / kWidth * kWidth;
  Floats most = all(kLowest);
  for (int64_t j = 0; j < whole; j += kWidth) most = at_least(load(scores + j), most);
  if (whole < n) most = at_least(below(whole, n, load(scores + whole), kLowest), most);
  const float block = greatest(most);
  if (!(block <= maximum)) {  // NaN too
    const Floats factor = power_of_two(all(maximum - block));
    for (int64_t c = 0; c < padded; c += kWidth) put(context + c, load(context + c) * factor);
    put(sums, load(sums) * factor);
    maximum = block;
  }
  const Floats above = all(maximum);
  Floats sum = load(sums);
  int64_t j = 0;
  for (; j < whole; j += kWidth) {
    const Floats p = power_of_two(load(scores + j) - above);
    put(scores + j, p);
    sum += p;
  }
  if (j < n) {
    const Floats p = below(j, n, power_of_two(load(scores + j) - above), 0.0f);
    put(scores + j, p);
    sum += p;
    j += kWidth;
  }
  for (const int64_t end = panels_of(within(n + kTileRows, kBlockKeys)); j < end; j += kWidth)
    put(scores + j, Floats{});
  put(sums, sum);
}

void forward_tile(const QueryTile& t) {
  alignas(64) float sums[kTileQueries * kWidth] = {};
  float maximum[kTileQueries];
  alignas(64) float factors[kBlockKeys];
  std::memset(t.context, 0, static_cast<size_t>(t.rows * t.padded) * sizeof(float));
  for (int64_t r = 0; r < t.rows; ++r) maximum[r] = kLowest;
  const int64_t keys = visible(t, t.rows - 1);
  Groups groups;
  divide(0, t.rows, groups);
  for (int64_t begin = 0; begin < keys; begin += kBlockKeys) {
    const int64_t end = block_end(begin, keys);
    for_scores(
        t, groups, begin, end, t.scores, [&]<int kRows>(int64_t r, int64_t column) LOCKSTEP_INLINE_LAMBDA {
          put_product<kRows>(
              {t.query + r * t.padded, t.padded, t.keys_t + (begin + column) * t.width, kHeadPanel, t.width},
              t.scores + r * kBlockKeys + column,
              [](int, int, Floats sum) LOCKSTEP_INLINE_LAMBDA { return sum; });
        });
    for (int64_t r = 0; r < t.rows; ++r) {
      float* scores = t.scores + r * kBlockKeys;
      const int64_t n = within(visible(t, r) - begin, end - begin);
      if (n <= 0) {  // another of its group may see some
        std::memset(scores, 0, kHeadPanel * sizeof(float));
        continue;
      }
      softmax_row(scores, n, t.padded, t.context + r * t.padded, maximum[r], sums + r * kWidth);
      if (t.dropout) {
        t.dropout->draw(*t.dropout, t.row + r, begin, n, factors);
        for (int64_t j = 0; j < n; ++j) scores[j] *= factors[j];
      }
    }
    add_to_queries(t, groups, begin, end, t.scores, t.values, t.context);
  }
  for (int64_t r = 0; r < t.rows; ++r) {
    float sum = 0.0f;
    for (int i = 0; i < kWidth; ++i) sum += sums[r * kWidth + i];
    const Floats factor = all(1.0f / sum);
    float* context = t.context + r * t.padded;
    for (int64_t c = 0; c < t.padded; c += kWidth) put(context + c, load(context + c) * factor);
    t.log_sum[r] = maximum[r] + static_cast<float>(__builtin_log2(static_cast<double>(sum)));
  }
}

/// scores (rows, keys [begin, end)) = weights, from the logarithms of the sums.
LOCKSTEP_INLINE void put_weights(const QueryTile& t, const Groups& groups, int64_t begin, int64_t end) {
  for_scores(t, groups, begin, end, t.scores,
             [&]<int kRows>(int64_t r, int64_t column) LOCKSTEP_INLINE_LAMBDA {
               const Factors factors{t.query + r * t.padded, t.padded, t.keys_t + (begin + column) * t.width,
                                     kHeadPanel, t.width};
               float* to = t.scores + r * kBlockKeys + column;
               const float* log_sum = t.log_sum + r;
               if (visible(t, r) >= begin + column + kHeadPanel)
                 put_product<kRows>(factors, to, [&](int row, int, Floats sum) LOCKSTEP_INLINE_LAMBDA {
                   return power_of_two(sum - all(log_sum[row]));
                 });
               else
                 put_product<kRows>(factors, to, [&](int row, int at, Floats sum) LOCKSTEP_INLINE_LAMBDA {
                   return below(begin + column + at, visible(t, r + row),
                                power_of_two(sum - all(log_sum[row])), 0.0f);
                 });
             });
}

void backward_tile(const QueryTile& t) {
  std::memset(t.diff_query, 0, static_cast<size_t>(t.rows * t.padded) * sizeof(float));
  const int64_t keys = visible(t, t.rows - 1);
  Groups groups;
  divide(0, t.rows, groups);
  for (int64_t begin = 0; begin < keys; begin += kBlockKeys) {
    const int64_t end = block_end(begin, keys);
    put_weights(t, groups, begin, end);
    if (t.dropout) {
      for (int64_t r = 0; r < t.rows; ++r) {
        float *factors = t.factors + r * kBlockKeys, *dropped = t.diff_scores + r * kBlockKeys;
        const float* weights = t.scores + r * kBlockKeys;
        const int64_t n = within(panels_of(visible(t, r) - begin + 2 * kTileRows), panels_of(end - begin));
        if (n <= 0) continue;
        t.dropout->draw(*t.dropout, t.row + r, begin, n, factors);
        for (int64_t j = 0; j < n; ++j) dropped[j] = weights[j] * factors[j];
      }
    }
    if (t.diff_values)
      add_to_keys(t, begin, end, t.dropout ? t.diff_scores : t.scores, t.diff_context, t.diff_values);
    for_scores(
        t, groups, begin, end, t.diff_scores,
        [&]<int kRows>(int64_t r, int64_t column) LOCKSTEP_INLINE_LAMBDA {
          const Factors product{t.diff_context + r * t.padded, t.padded,
                                t.values_t + (begin + column) * t.width, kHeadPanel, t.width};
          const int64_t at = r * kBlockKeys + column;
          const float *weights = t.scores + at, *delta = t.delta + r;
          if (t.dropout)
            put_product<kRows>(
                product, t.diff_scores + at, [&](int row, int lane, Floats sum) LOCKSTEP_INLINE_LAMBDA {
                  const int64_t element = row * kBlockKeys + lane;
                  return load(weights + element) * (sum * load(t.factors + at + element) - all(delta[row]));
                });
          else
            put_product<kRows>(product, t.diff_scores + at,
                               [&](int row, int lane, Floats sum) LOCKSTEP_INLINE_LAMBDA {
                                 return load(weights + row * kBlockKeys + lane) * (sum - all(delta[row]));
                               });
        });
    add_to_queries(t, groups, begin, end, t.diff_scores, t.keys_rows, t.diff_query);
    if (t.diff_keys) add_to_keys(t, begin, end, t.diff_scores, t.query, t.diff_keys);
  }
}

void weights_tile(const QueryTile& t, float* weights, int64_t weights_row) {
  const int64_t keys = visible(t, t.rows - 1);
  Groups groups;
  divide(0, t.rows, groups);
  for (int64_t r = 0; r < t.rows; ++r)
    std::memset(weights + r * weights_row, 0, static_cast<size_t>(weights_row) * sizeof(float));
  for (int64_t begin = 0; begin < keys; begin += kBlockKeys) {
    const int64_t end = block_end(begin, keys);
    put_weights(t, groups, begin, end);
    for (int64_t r = 0; r < t.rows; ++r) {
      const int64_t n = within(visible(t, r) - begin, end - begin);
      if (n > 0)
        std::memcpy(weights + r * weights_row + begin, t.scores + r * kBlockKeys,
                    static_cast<size_t>(n) * sizeof(float));
    }
  }
}

using Eight = Vector<float, 8>;

/// Eight rows of eight become columns.
LOCKSTEP_INLINE void transpose(Eight (&r)[8]) {
  Eight t[8];
#pragma GCC unroll 4
  for (int i = 0; i < 8; i += 2) {
    t[i] = __builtin_shufflevector(r[i], r[i + 1], 0, 8, 1, 9, 4, 12, 5, 13);
    t[i + 1] = __builtin_shufflevector(r[i], r[i + 1], 2, 10, 3, 11, 6, 14, 7, 15);
  }
#pragma GCC unroll 2
  for (int i = 0; i < 8; i += 4) {
    r[i] = __builtin_shufflevector(t[i], t[i + 2], 0, 1, 8, 9, 4, 5, 12, 13);
    r[i + 1] = __builtin_shufflevector(t[i], t[i + 2], 2, 3, 10, 11, 6, 7, 14, 15);
    r[i + 2] = __builtin_shufflevector(t[i + 1], t[i + 3], 0, 1, 8, 9, 4, 5, 12, 13);
    r[i + 3] = __builtin_shufflevector(t[i + 1], t[i + 3], 2, 3, 10, 11, 6, 7, 14, 15);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    t[i] = __builtin_shufflevector(r[i], r[i + 4], 0, 1, 2, 3, 8, 9, 10, 11);
    t[i + 4] = __builtin_shufflevector(r[i], r[i + 4], 4, 5, 6, 7, 12, 13, 14, 15);
  }
#pragma GCC unroll 8
  for (int i = 0; i < 8; ++i) r[i] = t[i];
}

void to_panels(const float* rows, int64_t padded, int64_t n, int64_t width, float* panels) {
  for (int64_t key = 0; key < n; key += 8) {
    float* to = panels + key / kHeadPanel * kHeadPanel * width + key % kHeadPanel;
    for (int64_t column = 0; column < width; column += 8) {
      Eight r[8];
#pragma GCC unroll 8
      for (int i = 0; i < 8; ++i) {
        r[i] = Eight{};
        if (key + i < n) __builtin_memcpy(&r[i], rows + (key + i) * padded + column, sizeof(Eight));
      }
      transpose(r);
#pragma GCC unroll 8
      for (int i = 0; i < 8; ++i)
        if (column + i < width) __builtin_memcpy(to + (column + i) * kHeadPanel, &r[i], sizeof(Eight));
    }
    if (n - key <= 8 && key % kHeadPanel == 0)
      for (int64_t column = 0; column < width; ++column)
        std::memset(to + column * kHeadPanel + 8, 0, 8 * sizeof(float));
  }
}

constexpr AttentionTiles tiles_named(const char* name) {
  return {name, forward_tile, backward_tile, weights_tile, to_panels};
}

}  // namespace

}  // namespace lockstep::cpu
