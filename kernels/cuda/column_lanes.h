// How a block of kThreads sums a matrix over its rows: lanes side by side take neighbouring packs of
// columns, groups of lanes every so many rows, and a tree in shared memory adds the groups. Blocks share
// the columns and chunks of the rows. All numbers follow from the shape.
#pragma once

#include <algorithm>
#include <cstdint>

#include "kernels/cuda/runtime.h"

namespace lockstep::cuda {

struct ColumnLanes {
  int64_t rows = 0, columns = 0;
  int lanes = 1;              // packs of columns side by side: a power of two up to a warp
  int64_t column_blocks = 1;  // blocks that share the columns
  int64_t chunks = 1;         // … and the rows
  int64_t chunk_rows = 1;

  /// Packs of `width` columns; columns are a multiple of it.
  static ColumnLanes of(int64_t rows, int64_t columns, int width) {
    constexpr int64_t kBlocks = 1024;  // enough for every GPU
    constexpr int64_t kLeastRows = 4;  // of one thread, else the second pass has more to do than the first
    ColumnLanes split{.rows = rows, .columns = columns};
    const int64_t packs = columns / width;
    while (split.lanes < kWarp && split.lanes < packs) split.lanes *= 2;
    split.column_blocks = blocks_for(packs, split.lanes);
    const int64_t wanted = std::max<int64_t>(1, kBlocks / split.column_blocks);
    const int64_t most = std::max<int64_t>(1, rows / (kLeastRows * (kThreads / split.lanes)));
    split.chunk_rows = blocks_for(rows, std::min(wanted, most));
    split.chunks = blocks_for(rows, split.chunk_rows);
    return split;
  }
  __host__ __device__ int64_t blocks() const { return column_blocks * chunks; }
};

/// This thread's part of it.
template <int W>
struct ColumnLane {
  int64_t column;          // first of W; at or behind split.columns: nothing to do
  int64_t row, end, step;  // rows row, row + step, … below end
  int64_t chunk;

  __device__ __forceinline__ explicit ColumnLane(const ColumnLanes& split, int64_t block) {
    chunk = block / split.column_blocks;
    const int thread = static_cast<int>(threadIdx.x);
    column = (block % split.column_blocks * split.lanes + thread % split.lanes) * W;
    step = kThreads / split.lanes;
    const int64_t begin = chunk * split.chunk_rows;
    row = begin + thread / split.lanes;
    end = begin + split.chunk_rows < split.rows ? begin + split.chunk_rows : split.rows;
  }
};

/// Adds the sums of all row groups of the block and writes the totals to to[0 … W) from the first group.
/// All threads take part; `shared` holds kThreads * W floats.
template <int W>
__device__ __forceinline__ void add_row_groups(const ColumnLanes& split, const float (&sums)[W],
                                               float* shared, bool inside, float* to) {
  const int thread = static_cast<int>(threadIdx.x);
  float* own = shared + thread * W;
  __syncthreads();  // who reads `shared` from the call before is done
#pragma unroll
  for (int k = 0; k < W; ++k) own[k] = sums[k];
  for (int half = kThreads / 2; half >= split.lanes; half /= 2) {
    __syncthreads();
    if (thread < half) {
#pragma unroll
      for (int k = 0; k < W; ++k) own[k] += shared[(thread + half) * W + k];
    }
  }
  if (thread < split.lanes && inside) {
#pragma unroll
    for (int k = 0; k < W; ++k) to[k] = own[k];
  }
}

}  // namespace lockstep::cuda
