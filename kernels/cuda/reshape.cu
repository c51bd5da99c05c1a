// Reorder: another layout, another type, or both; a copy where neither differs. Between dense and
// channels-last, tiles of 32 x 32 go through shared memory, so that reads and writes are coalesced.
#include "kernels/reshape.h"

#include "kernels/backend.h"
#include "kernels/cuda/layouts.h"
#include "kernels/cuda/streaming.h"
#include "kernels/cuda/tile.h"

namespace lockstep::cuda {

namespace {

template <typename From, typename To>
struct Convert {
  const From* src;
  To* dst;
  template <int W>
  __device__ void at(int64_t i) const {
    const Pack<From, W> x = load<W>(src + i);
    Pack<To, W> y;
#pragma unroll
    for (int k = 0; k < W; ++k) y.at[k] = from_float<To>(to_float(x.at[k]));
    store<W>(dst + i, y);
  }
};

/// dst (columns, rows) = src (rows, columns) transposed, for each of n matrices.
template <typename From, typename To>
__global__ void __launch_bounds__(kTile* kTileRows)
    transpose_kernel(int64_t rows, int64_t columns, const From* src, To* dst) {
  __shared__ float tile[kTile][kTile + 1];
  const int64_t tiles_across = (columns + kTile - 1) / kTile, tiles_down = (rows + kTile - 1) / kTile;
  const int64_t matrix = blockIdx.x / (tiles_across * tiles_down);
  const int64_t in_matrix = blockIdx.x % (tiles_across * tiles_down);
  const int64_t row0 = in_matrix / tiles_across * kTile, column0 = in_matrix % tiles_across * kTile;
  const int x = static_cast<int>(threadIdx.x) % kTile, y = static_cast<int>(threadIdx.x) / kTile;
  src += matrix * rows * columns;
  dst += matrix * rows * columns;
  for (int r = y; r < kTile; r += kTileRows) {
    if (row0 + r < rows && column0 + x < columns)
      tile[r][x] = to_float(src[(row0 + r) * columns + column0 + x]);
  }
  __syncthreads();
  for (int r = y; r < kTile; r += kTileRows) {
    if (column0 + r < columns && row0 + x < rows)
      dst[(column0 + r) * rows + row0 + x] = from_float<To>(tile[x][r]);
  }
}

/// One direction of a reorder.
void move(Stream& stream, const TensorDesc& from, const TensorDesc& to, const void* src, void* dst) {
  const int64_t n = from.n_elements();
  if (from.same_layout(to) && from.dtype == to.dtype) return cuda::copy(stream, dst, src, from.n_bytes());
  with_element(from.dtype, [&]<typename From>() {
    with_element(to.dtype, [&]<typename To>() {
      const auto* x = static_cast<const From*>(src);
      auto* y = static_cast<To*>(dst);
      if (from.same_layout(to)) {
        constexpr int kWidth = kPack<From> < kPack<To> ? kPack<From> : kPack<To>;
        return stream_over<kWidth>(stream, n, Convert<From, To>{x, y}, x, y);
      }
      const int64_t samples = from.shape[0], channels = from.shape[1], places = n / (samples * channels);
      const int64_t rows = is_channels_last(to) ? channels : places,
                    columns = is_channels_last(to) ? places : channels;
      const int64_t tiles = blocks_for(rows, kTile) * blocks_for(columns, kTile);
      launch(stream, samples * tiles, kTile * kTileRows, transpose_kernel<From, To>, rows, columns, x, y);
    });
  });
}

class Reorder : public Op {
 public:
  Reorder(const TensorDesc& src, const TensorDesc& dst) {
    info_.src = {src};
    info_.dst = {dst};
    info_.backward_needs_src = false;
    info_.backward_needs_dst = false;
  }
  void forward(Stream& stream, const OpArgs& args) override {
    move(stream, info_.src[0], info_.dst[0], args.src[0].data, args.dst[0].data);
  }
  void backward(Stream& stream, const OpArgs& args) override {
    if (args.diff_src.empty() || args.diff_src[0].empty()) return;
    move(stream, info_.dst[0], info_.src[0], args.diff_dst[0].data, args.diff_src[0].data);
  }
};

}  // namespace

std::unique_ptr<Op> make_reorder(const OpConfig&, const TensorDesc& src, const TensorDesc& dst) {
  return std::make_unique<Reorder>(src, dst);
}

}  // namespace lockstep::cuda
