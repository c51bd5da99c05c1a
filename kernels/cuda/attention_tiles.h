// Tiles of attention on GPUs: what a block of threads works on, products of tiles through shared memory, and
// the factors of dropout. See attention.cu, which alone includes it.
#pragma once

#include <array>

#include "kernels/attention.h"
#include "kernels/cuda/element.h"
#include "kernels/cuda/reduce.h"
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

}  // namespace

}  // namespace lockstep::cuda
