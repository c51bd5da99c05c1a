// Local response normalisation on the CPU in own loops, for every layout by channels: sixteen
// positions of all channels are gathered as a tile (C, 16), normalised, and scattered again. A window
// is summed from its first channel on, without running sums, which would gather rounding errors.
#include "kernels/local_response_norm.h"

#include <algorithm>
#include <cmath>

#include "kernels/backend.h"
#include "kernels/cpu/channel_blocks.h"
#include "kernels/cpu/float_lanes.h"

namespace lockstep::cpu {

namespace {

constexpr int64_t kWidth = 16;  // positions of a tile
constexpr int64_t kTasks = 16;  // each with tiles of its own in the scratchpad, whatever the threads
constexpr int kTilesOfTask = 3;

struct Window {
  int64_t channels;  // padding of the last block included: zeros change nothing
  int64_t size;
  float factor, k, beta;  // factor: alpha / size
};

/// to (n) = from (n) ^ -beta
LOCKSTEP_INLINE void inverse_power(const Window& w, const float* from, float* to) {
  if (w.beta == 0.75f) {
    for (int64_t i = 0; i < kWidth; ++i) {
      const float root = 1.0f / std::sqrt(from[i]);
      to[i] = root * std::sqrt(root);
    }
  } else if (w.beta == 0.5f) {
    for (int64_t i = 0; i < kWidth; ++i) to[i] = 1.0f / std::sqrt(from[i]);
  } else {
    for (int64_t i = 0; i < kWidth; ++i) to[i] = std::pow(from[i], -w.beta);
  }
}

/// d (16) = denominators of channel c before the power
LOCKSTEP_INLINE void denominators(const Window& w, const float* src, int64_t c, float* d) {
  float sums[kWidth] = {};
  const int64_t end = std::min(w.channels, c + (w.size - 1) / 2 + 1);
  for (int64_t j = std::max<int64_t>(0, c - w.size / 2); j < end; ++j)
    for (int64_t i = 0; i < kWidth; ++i) sums[i] += src[j * kWidth + i] * src[j * kWidth + i];
  for (int64_t i = 0; i < kWidth; ++i) d[i] = w.k + w.factor * sums[i];
}

// Tiles (channels, 16).
LOCKSTEP_VECTORIZE void forward_tile(const Window& w, const float* src, float* dst) {
  for (int64_t c = 0; c < w.channels; ++c) {
    float d[kWidth], power[kWidth];
    denominators(w, src, c, d);
    inverse_power(w, d, power);
    for (int64_t i = 0; i < kWidth; ++i) dst[c * kWidth + i] = src[c * kWidth + i] * power[i];
  }
}

/// diff_dst becomes diff_src; product: room for a tile.
LOCKSTEP_VECTORIZE void backward_tile(const Window& w, const float* src, float* diff, float* product) {
  for (int64_t c = 0; c < w.channels; ++c) {
    float d[kWidth], power[kWidth];
    denominators(w, src, c, d);
    inverse_power(w, d, power);
    for (int64_t i = 0; i < kWidth; ++i) {
      const int64_t at = c * kWidth + i;
      const float g = diff[at] * power[i];
      product[at] = g * src[at] / d[i];
      diff[at] = g;
    }
  }
  for (int64_t c = 0; c < w.channels; ++c) {
    float sums[kWidth] = {};
    const int64_t end = std::min(w.channels, c + w.size / 2 + 1);
    for (int64_t j = std::max<int64_t>(0, c - (w.size - 1) / 2); j < end; ++j)
      for (int64_t i = 0; i < kWidth; ++i) sums[i] += product[j * kWidth + i];
    for (int64_t i = 0; i < kWidth; ++i)
      diff[c * kWidth + i] -= 2 * w.factor * w.beta * src[c * kWidth + i] * sums[i];
  }
}

// Between a tensor (blocks, spatial, block) of one sample and a tile; n positions.
template <typename T>
LOCKSTEP_INLINE void gather(const ChannelBlocks& b, int64_t n, const T* from, float* tile) {
  for (int64_t block = 0; block < b.blocks; ++block, from += b.spatial * b.block)
    for (int64_t lane = 0; lane < b.block; ++lane, tile += kWidth) {
      for (int64_t i = 0; i < n; ++i) tile[i] = to_float(from[i * b.block + lane]);
      std::fill(tile + n, tile + kWidth, 0.0f);
    }
}
template <typename T>
LOCKSTEP_INLINE void scatter(const ChannelBlocks& b, int64_t n, const float* tile, T* to) {
  for (int64_t block = 0; block < b.blocks; ++block, to += b.spatial * b.block)
    for (int64_t lane = 0; lane < b.block; ++lane, tile += kWidth)
      for (int64_t i = 0; i < n; ++i) to[i * b.block + lane] = from_float<T>(tile[i]);
}
LOCKSTEP_VECTORIZE void gather_of(const ChannelBlocks& b, int64_t n, const float* from, float* tile) {
  gather(b, n, from, tile);
}
LOCKSTEP_VECTORIZE void gather_of(const ChannelBlocks& b, int64_t n, const BFloat16* from, float* tile) {
  gather(b, n, from, tile);
}
LOCKSTEP_VECTORIZE void scatter_of(const ChannelBlocks& b, int64_t n, const float* tile, float* to) {
  scatter(b, n, tile, to);
}
LOCKSTEP_VECTORIZE void scatter_of(const ChannelBlocks& b, int64_t n, const float* tile, BFloat16* to) {
  scatter(b, n, tile, to);
}

template <typename T>
class LocalResponseNorm : public Op {
 public:
  explicit LocalResponseNorm(const LocalResponseNormDesc& desc) {
    const auto blocks = channel_blocks(desc.src);
    const TensorDesc form = blocks ? desc.src : desc.src.dense();
    blocks_ = blocks ? *blocks : *channel_blocks(form);
    window_ = {blocks_.blocks * blocks_.block, desc.size,
               static_cast<float>(desc.alpha / static_cast<double>(desc.size)), static_cast<float>(desc.k),
               static_cast<float>(desc.beta)};
    info_.src = {form};
    info_.dst = {form};
    info_.backward_needs_dst = false;
    info_.scratchpad_bytes =
        kTasks * kTilesOfTask * window_.channels * kWidth * static_cast<int64_t>(sizeof(float));
  }

  void forward(Stream&, const OpArgs& args) override {
    for_tiles(args, [&](int64_t at, int64_t n, float* src, float* dst, float*) {
      gather_of(blocks_, n, args.src[0].as<const T>() + at, src);
      forward_tile(window_, src, dst);
      scatter_of(blocks_, n, dst, args.dst[0].as<T>() + at);
    });
  }

  void backward(Stream&, const OpArgs& args) override {
    if (args.diff_src[0].empty()) return;
    for_tiles(args, [&](int64_t at, int64_t n, float* src, float* diff, float* product) {
      gather_of(blocks_, n, args.src[0].as<const T>() + at, src);
      gather_of(blocks_, n, args.diff_dst[0].as<const T>() + at, diff);
      backward_tile(window_, src, diff, product);
      scatter_of(blocks_, n, diff, args.diff_src[0].as<T>() + at);
    });
  }

 private:
  /// body(offset of a tile's first element, its positions, three tiles). Tiles share nothing.
  template <typename Body>
  void for_tiles(const OpArgs& args, const Body& body) const {
    const int64_t of_sample = (blocks_.spatial + kWidth - 1) / kWidth;
    const int64_t n_tiles = blocks_.samples * of_sample, tile_elements = window_.channels * kWidth;
#pragma omp parallel for schedule(static) if (n_tiles > 1)
    for (int64_t task = 0; task < kTasks; ++task) {
      float* tiles = reinterpret_cast<float*>(args.scratchpad) + task * kTilesOfTask * tile_elements;
      for (int64_t tile = n_tiles * task / kTasks; tile < n_tiles * (task + 1) / kTasks; ++tile) {
        const int64_t position = tile % of_sample * kWidth;
        body(tile / of_sample * blocks_.sample_stride() + position * blocks_.block,
             std::min(kWidth, blocks_.spatial - position), tiles, tiles + tile_elements,
             tiles + 2 * tile_elements);
      }
    }
  }

  ChannelBlocks blocks_;
  Window window_{};
};

}  // namespace

std::unique_ptr<Op> make_local_response_norm(const OpConfig&, const LocalResponseNormDesc& desc) {
  if (desc.src.dtype == DType::kBFloat16) return std::make_unique<LocalResponseNorm<BFloat16>>(desc);
  return std::make_unique<LocalResponseNorm<float>>(desc);
}

}  // namespace lockstep::cpu
