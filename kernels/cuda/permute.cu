// Permutation of axes: tiles of 32 x 32 through shared memory between the axis that is innermost in dst and
// the one that is innermost in src, so that reads and writes are coalesced; plain copies, up to 16 bytes at
// once, where the two are the same.
#include "kernels/permute.h"

#include <algorithm>
#include <numeric>

#include "kernels/backend.h"
#include "kernels/cuda/streaming.h"
#include "kernels/cuda/tile.h"

namespace lockstep::cuda {

namespace {

/// Some axes; strides in elements of what moves.
struct Axes {
  int n = 0;
  PermutedAxis axis[Shape::kMaxRank] = {};

  explicit Axes(const std::vector<PermutedAxis>& axes) : n(static_cast<int>(axes.size())) {
    std::copy(axes.begin(), axes.end(), axis);
  }
  int64_t n_elements() const {
    int64_t product = 1;
    for (int d = 0; d < n; ++d) product *= axis[d].extent;
    return product;
  }
  /// Adds the offsets of number i of these axes, the last one fastest.
  __device__ __forceinline__ void move(int64_t i, int64_t& from, int64_t& to) const {
    for (int d = n - 1; d >= 0; --d) {
      const int64_t next = i / axis[d].extent, at = i - next * axis[d].extent;
      from += at * axis[d].src_stride;
      to += at * axis[d].dst_stride;
      i = next;
    }
  }
};

template <typename T>
__global__ void __launch_bounds__(kThreads) copy_kernel(Axes axes, int64_t n, const T* src, T* dst) {
  const int64_t i = global_thread();
  if (i >= n) return;
  int64_t from = 0, to = 0;
  axes.move(i, from, to);
  dst[to] = src[from];
}

/// src is contiguous along `rows`, dst along `columns`.
template <typename T>
__global__ void __launch_bounds__(kTile* kTileRows)
    tile_kernel(Axes others, PermutedAxis rows, PermutedAxis columns, const T* src, T* dst) {
  __shared__ T tile[kTile][kTile + 1];
  const int64_t across = (columns.extent + kTile - 1) / kTile, down = (rows.extent + kTile - 1) / kTile;
  const int64_t in_matrix = blockIdx.x % (across * down);
  const int64_t row0 = in_matrix / across * kTile, column0 = in_matrix % across * kTile;
  int64_t from = 0, to = 0;
  others.move(blockIdx.x / (across * down), from, to);
  const int x = static_cast<int>(threadIdx.x) % kTile, y = static_cast<int>(threadIdx.x) / kTile;
  for (int c = y; c < kTile; c += kTileRows) {
    if (column0 + c < columns.extent && row0 + x < rows.extent)
      tile[c][x] = src[from + (column0 + c) * columns.src_stride + row0 + x];
  }
  __syncthreads();
  for (int r = y; r < kTile; r += kTileRows) {
    if (row0 + r < rows.extent && column0 + x < columns.extent)
      dst[to + (row0 + r) * rows.dst_stride + column0 + x] = tile[x][r];
  }
}

template <typename T>
void copy_runs(Stream& stream, std::vector<PermutedAxis> axes, const void* src, void* dst) {
  const Axes all(axes);
  const int64_t n = all.n_elements();
  launch(stream, blocks_for(n), kThreads, copy_kernel<T>, all, n, static_cast<const T*>(src),
         static_cast<T*>(dst));
}

/// One direction, prepared.
class Moves {
 public:
  Moves(std::vector<PermutedAxis> axes, int64_t element_bytes) : bytes_(element_bytes) {
    if (axes.back().src_stride == 1) {
      // Runs of the innermost axis, in units of up to 16 bytes.
      PermutedAxis& run = axes.back();
      bytes_ = std::gcd<int64_t>(16, run.extent * element_bytes);
      const int64_t per_unit = bytes_ / element_bytes;
      run.extent /= per_unit;
      for (PermutedAxis& axis : axes) {
        if (&axis == &run) continue;
        axis.src_stride /= per_unit;
        axis.dst_stride /= per_unit;
      }
    } else {
      columns_ = axes.back();
      axes.pop_back();
      const auto inner = std::find_if(axes.begin(), axes.end(),
                                      [](const PermutedAxis& axis) { return axis.src_stride == 1; });
      rows_ = *inner;
      axes.erase(inner);
      is_tiled_ = true;
    }
    others_ = std::move(axes);
  }

  void run(Stream& stream, const void* src, void* dst) const {
    switch (bytes_) {
      case 2: return run_units<uint16_t>(stream, src, dst);
      case 4: return run_units<uint32_t>(stream, src, dst);
      case 8: return run_units<uint64_t>(stream, src, dst);
      default: return copy_runs<Pack<uint64_t, 2>>(stream, others_, src, dst);
    }
  }

 private:
  template <typename T>
  void run_units(Stream& stream, const void* src, void* dst) const {
    if (!is_tiled_) return copy_runs<T>(stream, others_, src, dst);
    const Axes others(others_);
    const int64_t tiles = blocks_for(rows_.extent, kTile) * blocks_for(columns_.extent, kTile);
    launch(stream, others.n_elements() * tiles, kTile * kTileRows, tile_kernel<T>, others, rows_, columns_,
           static_cast<const T*>(src), static_cast<T*>(dst));
  }

  int64_t bytes_;  // of what moves at once
  bool is_tiled_ = false;
  PermutedAxis columns_{1, 1, 1}, rows_{1, 0, 0};
  std::vector<PermutedAxis> others_;
};

class Permute : public Op {
 public:
  Permute(const TensorDesc& src, const Shape& dst, const std::vector<int>& axes,
          const std::vector<int>& inverse)
      : forward_(permuted_axes(src.shape, axes), size_of(src.dtype)),
        backward_(permuted_axes(dst, inverse), size_of(src.dtype)) {
    info_.src = {src};
    info_.dst = {{dst, src.dtype, nullptr}};
    info_.backward_needs_src = false;
    info_.backward_needs_dst = false;
  }
  void forward(Stream& stream, const OpArgs& args) override {
    forward_.run(stream, args.src[0].data, args.dst[0].data);
  }
  void backward(Stream& stream, const OpArgs& args) override {
    if (args.diff_src[0].empty()) return;
    backward_.run(stream, args.diff_dst[0].data, args.diff_src[0].data);
  }

 private:
  Moves forward_, backward_;
};

}  // namespace

std::unique_ptr<Op> make_permute(const OpConfig& config, const TensorDesc& src,
                                 const std::vector<int>& axes) {
  const bool is_float =
      src.dtype == DType::kFloat32 || src.dtype == DType::kBFloat16 || src.dtype == DType::kFloat16;
  const TensorDesc dense{src.shape, is_float ? config.compute : src.dtype, nullptr};
  if (size_of(dense.dtype) == 1)
    throw Error("permute", "cannot move elements of " + std::string(name_of(dense.dtype)),
                "convert them to float32 first");
  Shape dst = src.shape;
  std::vector<int> inverse(axes.size());
  for (size_t i = 0; i < axes.size(); ++i) {
    dst[static_cast<int>(i)] = src.shape[axes[i]];
    inverse[static_cast<size_t>(axes[i])] = static_cast<int>(i);
  }
  return std::make_unique<Permute>(dense, dst, axes, inverse);
}

}  // namespace lockstep::cuda
