// Gradients of attention on GPUs: for each tile of queries that of the queries, for each tile of keys those
// of keys and values, from the same tiles of scores. See attention.cu, which alone includes it.
#pragma once

#include "kernels/cuda/attention_tiles.h"

namespace lockstep::cuda {

namespace {

template <typename T>
struct Gradients {
  View<const T> context, diff_context;
  float* deltas;                               // (N, heads, Tq): diff_context · context
  View<T> diff_query, diff_keys, diff_values;  // data may be null: not wanted
};

/// A warp for each query of a head.
template <typename T>
__global__ void __launch_bounds__(kThreads) put_deltas(Heads<T> a, Gradients<T> g, int64_t n) {
  const int64_t at = global_thread() / kWarp;
  if (at >= n) return;
  const int64_t query = at % a.queries, head = at / a.queries % a.heads, sample = at / a.queries / a.heads;
  const T* context = g.context.at(sample, head * a.width) + query * g.context.row;
  const T* diff_context = g.diff_context.at(sample, head * a.width) + query * g.diff_context.row;
  float sum = 0.0f;
  for (int64_t c = threadIdx.x % kWarp; c < a.width; c += kWarp)
    sum += to_float(context[c]) * to_float(diff_context[c]);
  sum = warp_reduce(sum, Sum{});
  if (threadIdx.x % kWarp == 0) g.deltas[at] = sum;
}

/// weights = of a score where the query sees the key, else 0.
__device__ __forceinline__ float weight_of(float score, float scale, float log_sum, bool sees) {
  return sees ? expf(score * scale - log_sum) : 0.0f;
}

template <int kColumns, typename T>
__global__ void __launch_bounds__(kThreads) query_gradients(Heads<T> a, Gradients<T> g) {
  __shared__ __align__(16) float shared[kShared], tile[kRows * kStride];
  const int64_t tiles = (a.queries + kRows - 1) / kRows;
  const Place p = place_of(blockIdx.x, a.heads, tiles, a.width, kColumns);
  const Extent extent = extent_of(a, p.sample);
  const Corner corner;
  const int64_t head = p.head * a.width, row = p.tile * kRows, n_rows = a.queries - row;
  const int64_t last = row + kRows < extent.queries ? row + kRows : extent.queries;
  const int64_t keys = last > row ? extent.visible(last - 1) : 0;
  const T *query = a.query.at(p.sample, head) + row * a.query.row,
          *diff_context = g.diff_context.at(p.sample, head) + row * g.diff_context.row;
  const T *key_rows = a.key_rows.at(p.sample, head), *value_rows = a.value_rows.at(p.sample, head);
  WeightDropout dropout(a, p.sample);
  float sums[kEach][kColumns / kSide] = {};
  for (int64_t key = 0; key < keys; key += kRows) {
    const int64_t n_keys = keys - key < kRows ? keys - key : kRows;
    float scores[kEach][kEach], diff[kEach][kEach];
    multiply_rows(query, a.query.row, last - row, key_rows + key * a.key_rows.row, a.key_rows.row, n_keys,
                  a.width, shared, scores);
    multiply_rows(diff_context, g.diff_context.row, last - row, value_rows + key * a.value_rows.row,
                  a.value_rows.row, n_keys, a.width, shared, diff);
#pragma unroll
    for (int i = 0; i < kEach; ++i) {
      const int64_t of_row = row + corner.row + i, seen = extent.visible(of_row) - key - corner.column;
      const int64_t at = (p.sample * a.heads + p.head) * a.queries + of_row;
      const float log_sum = seen > 0 ? a.log_sums[at] : 0.0f, delta = seen > 0 ? g.deltas[at] : 0.0f;
#pragma unroll
      for (int j = 0; j < kEach; ++j) {
        const float weight = weight_of(scores[i][j], a.scale, log_sum, j < seen);
        const int64_t element = (p.head * a.queries + of_row) * a.keys + key + corner.column + j;
        diff[i][j] = weight * (diff[i][j] * dropout.of(static_cast<uint64_t>(element)) - delta);
      }
    }
    put_corner(diff, tile);
    add_product<kColumns>(tile, key_rows + p.column + key * a.key_rows.row, a.key_rows.row, n_keys,
                          a.width - p.column, shared, sums);
  }
  put_sums<kColumns>(sums, g.diff_query.at(p.sample, head + p.column) + row * g.diff_query.row,
                     g.diff_query.row, n_rows, a.width - p.column, [&](int) { return a.scale; });
}

/// Rows of a tile of scores are keys here, columns queries.
template <int kColumns, typename T>
__global__ void __launch_bounds__(kThreads) key_gradients(Heads<T> a, Gradients<T> g) {
  __shared__ __align__(16) float shared[kShared], tile[kRows * kStride];
  const int64_t tiles = (a.keys + kRows - 1) / kRows;
  const Place p = place_of(blockIdx.x, a.heads, tiles, a.width, kColumns);
  const Extent extent = extent_of(a, p.sample);
  const Corner corner;
  const int64_t head = p.head * a.width, key = p.tile * kRows, n_rows = a.keys - key;
  const int64_t n_keys = extent.keys - key;  // may be 0 or less
  const T *query = a.query.at(p.sample, head), *diff_context = g.diff_context.at(p.sample, head);
  const T *key_rows = a.key_rows.at(p.sample, head) + key * a.key_rows.row,
          *value_rows = a.value_rows.at(p.sample, head) + key * a.value_rows.row;
  WeightDropout dropout(a, p.sample);
  float of_keys[kEach][kColumns / kSide] = {}, of_values[kEach][kColumns / kSide] = {};
  const int64_t begin = a.causal ? key : 0;  // a multiple of kRows
  for (int64_t row = begin; n_keys > 0 && row < extent.queries; row += kRows) {
    const int64_t n_queries = extent.queries - row < kRows ? extent.queries - row : kRows;
    float scores[kEach][kEach], diff[kEach][kEach];
    multiply_rows(key_rows, a.key_rows.row, n_keys, query + row * a.query.row, a.query.row, n_queries,
                  a.width, shared, scores);
    multiply_rows(value_rows, a.value_rows.row, n_keys, diff_context + row * g.diff_context.row,
                  g.diff_context.row, n_queries, a.width, shared, diff);
#pragma unroll
    for (int j = 0; j < kEach; ++j) {
      const int64_t of_row = row + corner.column + j, seen = extent.visible(of_row) - key - corner.row;
      const int64_t at = (p.sample * a.heads + p.head) * a.queries + of_row;
      const float log_sum = seen > 0 ? a.log_sums[at] : 0.0f, delta = seen > 0 ? g.deltas[at] : 0.0f;
#pragma unroll
      for (int i = 0; i < kEach; ++i) {
        const float weight = weight_of(scores[i][j], a.scale, log_sum, i < seen);
        const int64_t element = (p.head * a.queries + of_row) * a.keys + key + corner.row + i;
        const float factor = dropout.of(static_cast<uint64_t>(element));
        scores[i][j] = weight * factor;
        diff[i][j] = weight * (diff[i][j] * factor - delta);
      }
    }
    put_corner(scores, tile);
    add_product<kColumns>(tile, diff_context + p.column + row * g.diff_context.row, g.diff_context.row,
                          n_queries, a.width - p.column, shared, of_values);
    __syncthreads();  // who multiplies by the weights is done
    put_corner(diff, tile);
    add_product<kColumns>(tile, query + p.column + row * a.query.row, a.query.row, n_queries,
                          a.width - p.column, shared, of_keys);
  }
  if (g.diff_keys.data)
    put_sums<kColumns>(of_keys, g.diff_keys.at(p.sample, head + p.column) + key * g.diff_keys.row,
                       g.diff_keys.row, n_rows, a.width - p.column, [&](int) { return a.scale; });
  if (g.diff_values.data)
    put_sums<kColumns>(of_values, g.diff_values.at(p.sample, head + p.column) + key * g.diff_values.row,
                       g.diff_values.row, n_rows, a.width - p.column, [](int) { return 1.0f; });
}

}  // namespace

}  // namespace lockstep::cuda
