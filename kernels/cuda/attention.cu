// Attention on GPUs (Dao et al. 2022, FlashAttention): a block of threads for each tile of queries, forward
// and for their gradients, and for each tile of keys for theirs. A tile of scores of kRows x kRows lies in
// shared memory and is computed again by each pass; no two blocks add to one number. Heads of more than
// kMostColumns columns have a block for each part of them, which computes the scores for itself.
#include "kernels/attention.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "kernels/backend.h"
#include "kernels/cuda/element.h"
#include "kernels/cuda/reduce.h"
#include "kernels/cuda/scratch.h"
#include "kernels/cuda/valid_lengths.h"
#include "kernels/random.h"

namespace lockstep::cuda {

namespace {

constexpr int kRows = 64;             // queries or keys of a tile
constexpr int kSide = 16;             // threads along a side of a tile of scores
constexpr int kEach = kRows / kSide;  // rows and columns of it that a thread holds
constexpr int kDepth = 32;  // features of a pair of tiles, or rows of one, that lie in shared memory at once
constexpr int kStride =
    kRows + 4;  // keeps rows of shared tiles on different banks, and packs of four aligned
constexpr int kMostColumns = 128;
static_assert(kThreads == kSide * kSide);

/// Columns of a head in a tensor (N, steps, row).
template <typename T>
struct View {
  T* data = nullptr;
  int64_t sample = 0, row = 0;  // strides
  __device__ __forceinline__ T* at(int64_t n, int64_t column) const { return data + n * sample + column; }
};

template <typename T>
struct Heads {
  int64_t queries, keys, cached, heads, width;  // Tq, Tk, steps of the cache or 0, columns of a head
  bool causal, self;
  float scale;
  uint64_t key;
  uint32_t threshold;  // dropout: words below it drop their weight
  float factor;
  const BatchContext* batch;
  const int32_t* lengths;
  View<const T> query, key_rows, value_rows;
  float* log_sums;  // (N, heads, Tq)
};

/// What a block works on.
struct Place {
  int64_t sample, head, tile, column;  // first column of the head's part
};
__device__ __forceinline__ Place place_of(int64_t block, int64_t heads, int64_t tiles, int64_t width,
                                          int columns) {
  const int64_t parts = (width + columns - 1) / columns;
  Place p;
  p.column = block % parts * columns;
  block /= parts;
  p.tile = block % tiles;
  block /= tiles;
  p.head = block % heads;
  p.sample = block / heads;
  return p;
}

/// Queries and keys of a sample that take part, and what queries see.
struct Extent {
  int64_t queries, keys, first;
  bool causal;
  __device__ __forceinline__ int64_t visible(int64_t query) const {
    if (query >= queries) return 0;
    const int64_t seen = first + query + 1;
    return causal && seen < keys ? seen : keys;
  }
};
template <typename T>
__device__ __forceinline__ Extent extent_of(const Heads<T>& a, int64_t sample) {
  const int64_t length = valid_length(a.batch, a.lengths, a.keys, sample);
  Extent e{a.queries, length, 0, a.causal};
  if (a.self || length == 0) e.queries = length < a.queries ? length : a.queries;
  if (a.cached > 0 && length > 0) {
    e.first = a.batch->first_step;
    e.keys = e.first + length < a.cached ? e.first + length : a.cached;
  }
  return e;
}

using Four = Pack<float, kEach>;
__device__ __forceinline__ Four four_at(const float* from) { return *reinterpret_cast<const Four*>(from); }

/// This thread's rows and columns of a tile of scores.
struct Corner {
  int row = static_cast<int>(threadIdx.x) / kSide * kEach,
      column = static_cast<int>(threadIdx.x) % kSide * kEach;
};

/// sums = rows of a (n_a, stride) times rows of b (n_b, stride): each a thread's corner of kRows x kRows.
/// Rows behind them count as 0. shared: 2 kDepth kStride.
template <typename T>
__device__ __forceinline__ void multiply_rows(const T* a, int64_t a_row, int64_t n_a, const T* b,
                                              int64_t b_row, int64_t n_b, int64_t width, float* shared,
                                              float (&sums)[kEach][kEach]) {
  const Corner corner;
#pragma unroll
  for (int i = 0; i < kEach; ++i)
#pragma unroll
    for (int j = 0; j < kEach; ++j) sums[i][j] = 0.0f;
  float *of_a = shared, *of_b = shared + kDepth * kStride;
  const int k = static_cast<int>(threadIdx.x) % kDepth;
  for (int64_t done = 0; done < width; done += kDepth) {
    __syncthreads();
    for (int row = static_cast<int>(threadIdx.x) / kDepth; row < kRows; row += kThreads / kDepth) {
      const bool is_there = done + k < width;
      of_a[k * kStride + row] = is_there && row < n_a ? to_float(a[row * a_row + done + k]) : 0.0f;
      of_b[k * kStride + row] = is_there && row < n_b ? to_float(b[row * b_row + done + k]) : 0.0f;
    }
    __syncthreads();
#pragma unroll 8
    for (int d = 0; d < kDepth; ++d) {
      const Four left = four_at(of_a + d * kStride + corner.row),
                 right = four_at(of_b + d * kStride + corner.column);
#pragma unroll
      for (int i = 0; i < kEach; ++i)
#pragma unroll
        for (int j = 0; j < kEach; ++j) sums[i][j] += left.at[i] * right.at[j];
    }
  }
}

/// sums (a thread's kEach rows, columns % kSide) += tile (kRows, kStride; shared) times rows of b (n,
/// stride), `columns` of them. shared: kDepth kColumns.
template <int kColumns, typename T>
__device__ __forceinline__ void add_product(const float* tile, const T* b, int64_t b_row, int64_t n,
                                            int64_t columns, float* shared,
                                            float (&sums)[kEach][kColumns / kSide]) {
  const Corner corner;
  const int lane = static_cast<int>(threadIdx.x) % kSide;
  for (int64_t done = 0; done < n; done += kDepth) {
    __syncthreads();
    for (int i = static_cast<int>(threadIdx.x); i < kDepth * kColumns; i += kThreads) {
      const int row = i / kColumns, column = i % kColumns;
      shared[i] = done + row < n && column < columns ? to_float(b[(done + row) * b_row + column]) : 0.0f;
    }
    __syncthreads();
#pragma unroll 4
    for (int d = 0; d < kDepth; ++d) {
      float right[kColumns / kSide];
#pragma unroll
      for (int c = 0; c < kColumns / kSide; ++c) right[c] = shared[d * kColumns + c * kSide + lane];
#pragma unroll
      for (int i = 0; i < kEach; ++i) {
        const float left = tile[(corner.row + i) * kStride + done + d];
#pragma unroll
        for (int c = 0; c < kColumns / kSide; ++c) sums[i][c] += left * right[c];
      }
    }
  }
}

/// A thread's corner into the shared tile.
__device__ __forceinline__ void put_corner(const float (&values)[kEach][kEach], float* tile) {
  const Corner corner;
#pragma unroll
  for (int i = 0; i < kEach; ++i) {
    Four row;
#pragma unroll
    for (int j = 0; j < kEach; ++j) row.at[j] = values[i][j];
    *reinterpret_cast<Four*>(tile + (corner.row + i) * kStride + corner.column) = row;
  }
}

/// dst rows [0, n) of `columns` = factor (row) · sums
template <int kColumns, typename T, typename Factor>
__device__ __forceinline__ void put_sums(const float (&sums)[kEach][kColumns / kSide], T* dst,
                                         int64_t dst_row, int64_t n, int64_t columns, const Factor& factor) {
  const Corner corner;
  const int lane = static_cast<int>(threadIdx.x) % kSide;
#pragma unroll
  for (int i = 0; i < kEach; ++i)
#pragma unroll
    for (int c = 0; c < kColumns / kSide; ++c)
      if (corner.row + i < n && c * kSide + lane < columns)
        dst[(corner.row + i) * dst_row + c * kSide + lane] = from_float<T>(factor(i) * sums[i][c]);
}

/// Over the kSide threads that hold the same rows.
template <typename Combine>
__device__ __forceinline__ float side_reduce(float value, Combine combine) {
#pragma unroll
  for (int distance = 1; distance < kSide; distance *= 2)
    value = combine(value, __shfl_xor_sync(0xFFFFFFFFu, value, distance));
  return value;
}

/// The factors of dropout of weights, asked for in ascending order: see dropout.h.
struct WeightDropout {
  bool drops;
  uint32_t threshold;
  float factor;
  std::array<uint32_t, 2> key;
  uint64_t id, block = ~uint64_t{0};
  std::array<uint32_t, 4> words;

  template <typename T>
  __device__ __forceinline__ WeightDropout(const Heads<T>& a, int64_t sample)
      : drops(a.threshold > 0), threshold(a.threshold), factor(a.factor), key{}, id(0), words{} {
    if (!drops) return;
    key = stream_key(mix_bits(a.batch->seed) ^ a.key, RandomPurpose::kDropout,
                     static_cast<uint32_t>(a.batch->step));
    id = static_cast<uint64_t>(a.batch->sample_ids[sample]);
  }
  __device__ __forceinline__ float of(uint64_t element) {
    if (!drops) return 1.0f;
    if (element / 4 != block) {
      block = element / 4;
      words = philox(key, {static_cast<uint32_t>(block), static_cast<uint32_t>(block >> 32),
                           static_cast<uint32_t>(id), static_cast<uint32_t>(id >> 32)});
    }
    const uint32_t low = element % 2 ? words[1] : words[0], high = element % 2 ? words[3] : words[2];
    return (element % 4 < 2 ? low : high) >= threshold ? factor : 0.0f;
  }
};

constexpr int kShared = 2 * kDepth * kStride;  // floats: of multiply_rows() and, in turn, add_product()
static_assert(kShared >= kDepth * kMostColumns);

template <int kColumns, typename T>
__global__ void __launch_bounds__(kThreads) attend(Heads<T> a, View<T> context) {
  __shared__ __align__(16) float shared[kShared], tile[kRows * kStride];
  const int64_t tiles = (a.queries + kRows - 1) / kRows;
  const Place p = place_of(blockIdx.x, a.heads, tiles, a.width, kColumns);
  const Extent extent = extent_of(a, p.sample);
  const Corner corner;
  const int64_t head = p.head * a.width, row = p.tile * kRows, n_rows = a.queries - row;
  const int64_t last = row + kRows < extent.queries ? row + kRows : extent.queries;
  const int64_t keys = last > row ? extent.visible(last - 1) : 0;
  const T* query = a.query.at(p.sample, head) + row * a.query.row;
  const T *key_rows = a.key_rows.at(p.sample, head), *value_rows = a.value_rows.at(p.sample, head + p.column);
  WeightDropout dropout(a, p.sample);
  float sums[kEach][kColumns / kSide] = {}, most[kEach], total[kEach] = {};
#pragma unroll
  for (int i = 0; i < kEach; ++i) most[i] = Maximum::none<float>();
  for (int64_t key = 0; key < keys; key += kRows) {
    const int64_t n_keys = keys - key < kRows ? keys - key : kRows;
    float scores[kEach][kEach];
    multiply_rows(query, a.query.row, last - row, key_rows + key * a.key_rows.row, a.key_rows.row, n_keys,
                  a.width, shared, scores);
#pragma unroll
    for (int i = 0; i < kEach; ++i) {
      const int64_t of_row = row + corner.row + i, seen = extent.visible(of_row) - key - corner.column;
      float largest = Maximum::none<float>();
#pragma unroll
      for (int j = 0; j < kEach; ++j) {
        scores[i][j] = j < seen ? scores[i][j] * a.scale : Maximum::none<float>();
        largest = Maximum{}(largest, scores[i][j]);
      }
      largest = Maximum{}(side_reduce(largest, Maximum{}), most[i]);
      const float base = largest == Maximum::none<float>() ? 0.0f : largest, shrinks = expf(most[i] - base);
      most[i] = largest;
      float sum = 0.0f;
#pragma unroll
      for (int j = 0; j < kEach; ++j) {
        const float weight = j < seen ? expf(scores[i][j] - base) : 0.0f;
        sum += weight;
        const int64_t element = (p.head * a.queries + of_row) * a.keys + key + corner.column + j;
        scores[i][j] = weight * dropout.of(static_cast<uint64_t>(element));
      }
      total[i] = total[i] * shrinks + side_reduce(sum, Sum{});
#pragma unroll
      for (int c = 0; c < kColumns / kSide; ++c) sums[i][c] *= shrinks;
    }
    put_corner(scores, tile);
    add_product<kColumns>(tile, value_rows + key * a.value_rows.row, a.value_rows.row, n_keys,
                          a.width - p.column, shared, sums);
  }
  put_sums<kColumns>(sums, context.at(p.sample, head + p.column) + row * context.row, context.row, n_rows,
                     a.width - p.column,
                     [&](int i) { return total[i] > 0.0f || total[i] != total[i] ? 1.0f / total[i] : 0.0f; });
  if (a.log_sums == nullptr || p.column > 0 || corner.column > 0) return;
#pragma unroll
  for (int i = 0; i < kEach; ++i)
    if (corner.row + i < n_rows)
      a.log_sums[(p.sample * a.heads + p.head) * a.queries + row + corner.row + i] = most[i] + logf(total[i]);
}

/// Weights (N, heads, Tq, Tk) from the logarithms of the sums: a block for each pair of tiles.
template <typename T>
__global__ void __launch_bounds__(kThreads) put_weights(Heads<T> a, T* weights) {
  __shared__ __align__(16) float shared[kShared];
  const int64_t key_tiles = (a.keys + kRows - 1) / kRows, tiles = (a.queries + kRows - 1) / kRows;
  const Place p = place_of(blockIdx.x / key_tiles, a.heads, tiles, 1, 1);
  const int64_t key = blockIdx.x % key_tiles * kRows, row = p.tile * kRows, head = p.head * a.width;
  const Extent extent = extent_of(a, p.sample);
  const Corner corner;
  float scores[kEach][kEach];
  multiply_rows(a.query.at(p.sample, head) + row * a.query.row, a.query.row, extent.queries - row,
                a.key_rows.at(p.sample, head) + key * a.key_rows.row, a.key_rows.row, extent.keys - key,
                a.width, shared, scores);
#pragma unroll
  for (int i = 0; i < kEach; ++i) {
    const int64_t of_row = row + corner.row + i, seen = extent.visible(of_row);
    if (of_row >= a.queries) continue;
    const int64_t at = (p.sample * a.heads + p.head) * a.queries + of_row;
#pragma unroll
    for (int j = 0; j < kEach; ++j) {
      const int64_t column = key + corner.column + j;
      if (column < a.keys)
        weights[at * a.keys + column] =
            from_float<T>(column < seen ? expf(scores[i][j] * a.scale - a.log_sums[at]) : 0.0f);
    }
  }
}

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

/// The rows of samples with another parent go to `to`, or from there to where they belong.
template <typename T>
__global__ void __launch_bounds__(kThreads)
    move_to_children(const BatchContext* batch, bool returns, int64_t n, int64_t steps, int64_t columns,
                     T* cache, T* other) {
  if (batch->parents == nullptr || batch->first_step == 0) return;
  const int64_t i = global_thread(), sample = i / (steps * columns), at = i % (steps * columns);
  if (sample >= n || sample >= batch->n_valid || at >= batch->first_step * columns) return;
  const int64_t parent = batch->parents[sample];
  if (parent == sample) return;
  if (returns)
    cache[i] = other[i];
  else
    other[i] = cache[parent * steps * columns + at];
}

/// src (N, steps, columns of a row) goes behind the steps of cache (N, cached, columns).
template <typename T>
__global__ void __launch_bounds__(kThreads)
    append_steps(const BatchContext* batch, View<const T> src, int64_t n, int64_t steps, int64_t columns,
                 int64_t cached, T* cache) {
  const int64_t i = global_thread(), column = i % columns, step = i / columns % steps,
                sample = i / columns / steps;
  const int64_t to = batch->first_step + step;
  if (sample >= n || to >= cached) return;
  cache[(sample * cached + to) * columns + column] = src.at(sample, column)[step * src.row];
}

/// body.operator()<kColumns>(): columns of a head that a block takes.
template <typename Body>
void with_columns(int64_t width, const Body& body) {
  if (width <= 32) return body.template operator()<32>();
  if (width <= 64) return body.template operator()<64>();
  body.template operator()<kMostColumns>();
}

class Attention : public Op {
 public:
  Attention(const OpConfig& config, const AttentionDesc& desc)
      : desc_(desc),
        n_(desc.query.shape[0]),
        queries_(desc.query.shape[1]),
        keys_(desc.packed ? queries_ : desc.keys.shape[1]),
        features_(desc.query.shape[2] / (desc.packed ? 3 : 1)),
        width_(features_ / desc.heads) {
    const auto activation = [&](const Shape& shape) { return TensorDesc{shape, config.compute, nullptr}; };
    info_.src = {activation(desc.query.shape)};
    if (!desc.packed) info_.src.insert(info_.src.end(), 2, activation(desc.keys.shape));
    if (desc.has_lengths) info_.src.push_back({Shape{n_}, DType::kInt32, nullptr});
    info_.dst = {activation(Shape{n_, queries_, features_})};
    if (desc.wants_weights) info_.dst.push_back(activation(Shape{n_, desc.heads, queries_, keys_}));
    const int64_t n_rows = n_ * desc.heads * queries_;
    if (config.training) info_.workspace_bytes = n_rows * 4;
    if (config.training || desc.wants_weights) info_.scratchpad_bytes = n_rows * 4;
    if (config.training && desc.dropout > 0)
      threshold_ = static_cast<uint32_t>(std::min(std::nearbyint(desc.dropout * 0x1p32), 0x1p32 - 1));
    for (Memory& memory : cache_)
      memory = Memory(config.device, n_ * desc.cache_steps * features_ * size_of(config.compute));
  }

  void forward(Stream& stream, const OpArgs& args) override {
    with_element(info_.src[0].dtype, [&]<typename T>() {
      if (desc_.cache_steps > 0) remember<T>(stream, args);
      Heads<T> heads = heads_of<T>(args);
      if (desc_.wants_weights) heads.log_sums = reinterpret_cast<float*>(args.scratchpad);
      with_columns(width_, [&]<int kColumns>() {
        launch(stream, blocks(queries_, kColumns), kThreads, attend<kColumns, T>, heads,
               context_view(args.dst[0].as<T>()));
      });
      if (desc_.wants_weights)
        launch(stream, blocks(queries_, static_cast<int>(width_)) * blocks_for(keys_, kRows), kThreads,
               put_weights<T>, heads, args.dst[1].as<T>());
    });
  }

  void backward(Stream& stream, const OpArgs& args) override {
    with_element(info_.src[0].dtype, [&]<typename T>() { backward_of<T>(stream, args); });
  }

 private:
  template <typename T>
  void backward_of(Stream& stream, const OpArgs& args) const {
    if (args.diff_dst[0].empty()) {
      for (const Tensor& diff : args.diff_src)
        if (!diff.empty())
          check(cudaMemsetAsync(diff.data, 0, static_cast<size_t>(diff.desc.n_bytes()), handle_of(stream)),
                "cudaMemsetAsync");
      return;
    }
    const Heads<T> heads = heads_of<T>(args);
    Gradients<T> g;
    g.context = context_view(args.dst[0].as<const T>());
    g.diff_context = context_view(args.diff_dst[0].as<const T>());
    g.deltas = reinterpret_cast<float*>(args.scratchpad);
    g.diff_query = view<T>(args.diff_src, 0);
    g.diff_keys = view<T>(args.diff_src, 1);
    g.diff_values = view<T>(args.diff_src, 2);
    const int64_t n_rows = n_ * desc_.heads * queries_;
    launch(stream, blocks_for(n_rows, kThreads / kWarp), kThreads, put_deltas<T>, heads, g, n_rows);
    with_columns(width_, [&]<int kColumns>() {
      if (g.diff_query.data)
        launch(stream, blocks(queries_, kColumns), kThreads, query_gradients<kColumns, T>, heads, g);
      if (g.diff_keys.data || g.diff_values.data)
        launch(stream, blocks(keys_, kColumns), kThreads, key_gradients<kColumns, T>, heads, g);
    });
  }

  /// The cache: samples take over their parents' steps, then the new ones come behind them.
  template <typename T>
  void remember(Stream& stream, const OpArgs& args) {
    const int64_t n_elements = n_ * desc_.cache_steps * features_, n_new = n_ * queries_ * features_;
    for (int which = 0; which < 2; ++which) {
      T *cache = cache_[which].as<T>(), *other = cache_[2].as<T>();
      for (const bool returns : {false, true})
        launch(stream, blocks_for(n_elements), kThreads, move_to_children<T>, args.batch, returns, n_,
               desc_.cache_steps, features_, cache, other);
      launch(stream, blocks_for(n_new), kThreads, append_steps<T>, args.batch,
             view<const T>(args.src, which + 1), n_, queries_, features_, desc_.cache_steps, cache);
    }
  }

  int64_t blocks(int64_t rows, int columns) const {
    return n_ * desc_.heads * blocks_for(rows, kRows) * blocks_for(width_, columns);
  }
  /// Query (0), keys (1) or values (2) of src or diff_src.
  template <typename T>
  View<T> view(std::span<const Tensor> tensors, int which) const {
    const int64_t row = desc_.packed ? 3 * features_ : features_;
    const Tensor& tensor = tensors[desc_.packed ? 0 : static_cast<size_t>(which)];
    if (tensor.empty()) return {};
    return {tensor.as<T>() + (desc_.packed ? which * features_ : 0), (which == 0 ? queries_ : keys_) * row,
            row};
  }
  template <typename T>
  View<T> context_view(T* data) const {
    return {data, queries_ * features_, features_};
  }
  template <typename T>
  Heads<T> heads_of(const OpArgs& args) const {
    Heads<T> a;
    a.queries = queries_;
    a.keys = keys_;
    a.cached = desc_.cache_steps;
    a.heads = desc_.heads;
    a.width = width_;
    a.causal = desc_.causal;
    a.self = desc_.packed || desc_.self;
    a.scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(width_)));
    a.key = desc_.key;
    a.threshold = threshold_;
    a.factor = static_cast<float>(1.0 / (1.0 - desc_.dropout));
    a.batch = args.batch;
    a.lengths = desc_.has_lengths ? args.src.back().template as<const int32_t>() : nullptr;
    a.query = view<const T>(args.src, 0);
    a.key_rows = view<const T>(args.src, 1);
    a.value_rows = view<const T>(args.src, 2);
    if (desc_.cache_steps > 0) {
      a.key_rows = {cache_[0].as<const T>(), desc_.cache_steps * features_, features_};
      a.value_rows = {cache_[1].as<const T>(), desc_.cache_steps * features_, features_};
    }
    a.log_sums = reinterpret_cast<float*>(info_.workspace_bytes > 0 ? args.workspace : nullptr);
    return a;
  }

  AttentionDesc desc_;
  int64_t n_, queries_, keys_, features_, width_;  // N, Tq, Tk, D, columns of a head
  uint32_t threshold_ = 0;
  Memory cache_[3];  // keys, values (N, cache_steps, D), and where samples wait that move
};

}  // namespace

std::unique_ptr<Op> make_attention(const OpConfig& config, const AttentionDesc& desc) {
  return std::make_unique<Attention>(config, desc);
}

}  // namespace lockstep::cuda
