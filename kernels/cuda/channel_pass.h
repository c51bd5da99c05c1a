// Passes over a tensor whose channels are treated apart, as normalisations do: (rows, channels) with the
// channels innermost, or a plane per sample and channel. Blocks share the tensor by channels and by cuts of
// the rows, which depend on the shape alone. A pass that sums leaves two numbers per cut and channel:
// float32 over at most kRun steps of a thread, then float64, threads as a tree; cut_totals adds the cuts in a
// fixed order. Passes that write go backwards: what the pass before read last may still be in the cache.
#pragma once

#include "kernels/cuda/layouts.h"
#include "kernels/cuda/streaming.h"
#include "kernels/op.h"

namespace lockstep::cuda {

/// A row is what a thread takes of a channel at once: in planes a pack of neighbours, else one element, of
/// each of a pack's channels.
struct ChannelCuts {
  int64_t channels = 0, inner = 0;       // as in ChannelView
  int64_t rows = 0, rows_of_sample = 0;  // of a channel; below 2^32
  int64_t strips = 0, n_cuts = 0;        // blocks by channels and by rows
  int64_t rows_of_cut = 0;
  int across = 1;  // threads of a block side by side over channels
  int width = 1;   // elements of a pack
  bool planes = false;

  ChannelCuts() = default;
  ChannelCuts(int64_t samples, const ChannelView& view, DType dtype);
  /// Room for the sums of a pass, in elements of double.
  int64_t n_partial() const { return n_cuts * 2 * channels; }
};

/// A pack as it lies in memory, taken apart where it is used: while loads are under way, a pair of bfloat16
/// is one register.
template <typename T, int W>
struct Waiting {
  Pack<T, W> pack;
  __device__ __forceinline__ void take(const T* from) { pack = load<W>(from); }
  __device__ __forceinline__ float operator[](int k) const { return to_float(pack.at[k]); }
};
template <>
struct Waiting<BFloat16, 8> {
  using Word = uint32_t __attribute__((may_alias));
  struct alignas(16) Words {
    Word of[4];
  } words;
  __device__ __forceinline__ void take(const BFloat16* from) {
    words = *reinterpret_cast<const Words*>(from);
  }
  __device__ __forceinline__ float operator[](int k) const {
    return __uint_as_float(k % 2 == 0 ? words.of[k / 2] << 16 : words.of[k / 2] & 0xFFFF0000u);
  }
};

/// What a pass is made for: Pass has load(place, row) -> Loaded, use(place, Loaded) for the rows of valid
/// samples, pad(place) for the others, and begin(channel, place of the first valid row or -1). If kSums,
/// use() adds to first[] and second[], and totals(c, n, &first, &second) may finish those of n elements.
template <typename T, int W, bool kInPlanes>
struct PassForm {
  using Element = T;
  static constexpr int kWidth = W;
  static constexpr bool kPlanes = kInPlanes;
  static constexpr int kChannels = kInPlanes ? 1 : W;  // of a pack; its element k has channel k % kChannels
};

constexpr int kRun = 32;

template <typename Pass>
__global__ void __launch_bounds__(kThreads, 2)  // blocks side by side, for enough loads in flight
    pass_kernel(ChannelCuts cuts, const BatchContext* batch, Pass pass, double* partial) {
  constexpr int kUnroll = Pass::kUnroll, kChannels = Pass::kChannels;
  const int thread = static_cast<int>(threadIdx.x), down = kThreads / cuts.across;
  const int x = thread % cuts.across, y = thread / cuts.across;
  const int64_t strip = blockIdx.x % cuts.strips, cut = blockIdx.x / cuts.strips;
  const int64_t channel = Pass::kPlanes ? strip : (strip * cuts.across + x) * Pass::kWidth;
  const bool exists = channel < cuts.channels;
  const int64_t begin = cut * cuts.rows_of_cut, end = min(cuts.rows, begin + cuts.rows_of_cut);
  const int64_t valid_end = max(begin, min(end, batch->n_valid * cuts.rows_of_sample));
  const auto place = [&](int64_t row) {
    if constexpr (!Pass::kPlanes) return row * cuts.channels + channel;
    const auto sample = static_cast<uint32_t>(row) / static_cast<uint32_t>(cuts.rows_of_sample);
    return (sample * cuts.channels + channel) * cuts.inner +
           (row - sample * cuts.rows_of_sample) * Pass::kWidth;
  };
  __shared__ double sums[Pass::kSums ? 2 * kChannels : 1][Pass::kSums ? kThreads : 1];
  const auto flush = [&] {
    if constexpr (Pass::kSums) {
#pragma unroll
      for (int c = 0; c < kChannels; ++c) {
        sums[c][thread] += static_cast<double>(pass.first[c]);
        sums[kChannels + c][thread] += static_cast<double>(pass.second[c]);
        pass.first[c] = pass.second[c] = 0.0f;
      }
    }
  };
  if constexpr (Pass::kSums) {
#pragma unroll
    for (int c = 0; c < 2 * kChannels; ++c) sums[c][thread] = 0;
  }
  if (exists) {
    pass.begin(channel, begin < valid_end ? place(begin) : -1);
    int steps = 0;
    const auto row = [&](int64_t k) { return Pass::kSums ? begin + k : end - 1 - k; };
    for (int64_t first = y; first < end - begin; first += kUnroll * down) {
      const int64_t last = first + (kUnroll - 1) * down;
      if (last < end - begin && max(row(first), row(last)) < valid_end) {
        typename Pass::Loaded loaded[kUnroll];  // all loads before the first use
#pragma unroll
        for (int u = 0; u < kUnroll; ++u)
          loaded[u] = pass.load(place(row(first + u * down)), row(first + u * down));
#pragma unroll
        for (int u = 0; u < kUnroll; ++u) pass.use(place(row(first + u * down)), loaded[u]);
      } else {
#pragma unroll 1
        for (int64_t k = first; k < min(last + 1, end - begin); k += down) {
          if (row(k) < valid_end)
            pass.use(place(row(k)), pass.load(place(row(k)), row(k)));
          else
            pass.pad(place(row(k)));
        }
      }
      if (++steps % (kRun / kUnroll) == 0) flush();
    }
    flush();
  }
  if constexpr (Pass::kSums) {
    __syncthreads();
    for (int half = down / 2; half > 0; half /= 2) {
      if (y < half) {
#pragma unroll
        for (int c = 0; c < 2 * kChannels; ++c) sums[c][thread] += sums[c][thread + half * cuts.across];
      }
      __syncthreads();
    }
    if (!exists || y > 0) return;
    const double n = static_cast<double>((valid_end - begin) * (Pass::kWidth / kChannels));
    double* to = partial + cut * 2 * cuts.channels + channel;
#pragma unroll
    for (int c = 0; c < kChannels; ++c) {
      double total = sums[c][thread], second = sums[kChannels + c][thread];
      pass.totals(c, n, total, second);
      to[c] = total;
      to[cuts.channels + c] = second;
    }
  }
}

/// Runs a pass over rows that `cuts` describes. partial: n_partial() sums (cuts, 2, channels); null where the
/// pass has none.
template <typename Pass>
void run_pass(Stream& stream, const ChannelCuts& cuts, const BatchContext* batch, const Pass& pass,
              double* partial = nullptr) {
  launch(stream, cuts.strips * cuts.n_cuts, kThreads, pass_kernel<Pass>, cuts, batch, pass, partial);
}

/// body.operator()<T, W, kInPlanes>() with what fits `cuts` of elements `dtype`.
template <typename Body>
void with_pass_form(const ChannelCuts& cuts, DType dtype, const Body& body) {
  with_element(dtype, [&]<typename T>() {
    if (cuts.planes) {
      cuts.width == 1 ? body.template operator()<T, 1, true>()
                      : body.template operator()<T, kPack<T>, true>();
    } else {
      cuts.width == 1 ? body.template operator()<T, 1, false>()
                      : body.template operator()<T, kPack<T>, false>();
    }
  });
}

/// Threads of kernels that call cut_totals: lanes are channels, warps share the cuts.
constexpr int kTotalThreads = kWarp * kWarp;

/// The channel of this thread in such a kernel of blocks_for(channels, kWarp) blocks.
__device__ __forceinline__ int64_t total_channel() {
  return static_cast<int64_t>(blockIdx.x) * kWarp + threadIdx.x % kWarp;
}

/// The sums over all cuts. Returns true in the one thread per channel that has them; all threads take part.
__device__ __forceinline__ bool cut_totals(const double* partial, int64_t n_cuts, int64_t channels,
                                           double& first, double& second) {
  __shared__ double of_warp[2][kWarp][kWarp];
  const int lane = static_cast<int>(threadIdx.x) % kWarp, warp = static_cast<int>(threadIdx.x) / kWarp;
  const int64_t channel = total_channel();
  first = second = 0;
  if (channel < channels) {
#pragma unroll 4
    for (int64_t cut = warp; cut < n_cuts; cut += kWarp) {
      first += partial[cut * 2 * channels + channel];
      second += partial[(cut * 2 + 1) * channels + channel];
    }
  }
  of_warp[0][warp][lane] = first;
  of_warp[1][warp][lane] = second;
  __syncthreads();
  if (warp > 0 || channel >= channels) return false;
  for (int w = 1; w < kWarp; ++w) {
    first += of_warp[0][w][lane];
    second += of_warp[1][w][lane];
  }
  return true;
}

}  // namespace lockstep::cuda
