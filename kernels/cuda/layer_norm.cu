// Layer normalisation on GPUs: a warp per row, or a block where rows are long. Mean first, then the
// deviations from it, while the row is in the caches; sums: float32 within a thread, then float64, threads as
// a butterfly. Gradients of weight and bias are sums of columns in two stages (channel_pass.h).
#include "kernels/layer_norm.h"

#include "kernels/backend.h"
#include "kernels/cuda/channel_pass.h"
#include "kernels/cuda/rows.h"

namespace lockstep::cuda {

namespace {

/// Of one row.
struct RowMoments {
  float center, rest;  // mean = center + rest: digits of rows far from zero
  float inverse;       // 1 / sqrt(variance + epsilon)
  __device__ __forceinline__ float normalized(float x) const { return (x - center - rest) * inverse; }
};

/// All rows, of n elements each; weight and bias null: not affine.
struct Rows {
  int64_t n_rows, rows_of_sample, n;
  const float *weight, *bias;
  double epsilon;
};

/// body(i) for each W elements of a row of n that fall to this lane.
template <int kGroup, int W, typename Body>
__device__ __forceinline__ void for_packs(int64_t n, int lane, const Body& body) {
  for (int64_t i = static_cast<int64_t>(lane) * W; i < n; i += kGroup * W) body(i);
}

/// The sum over the group; every thread gets it.
template <int kGroup>
__device__ __forceinline__ double total(float of_thread) {
  return group_reduce<kGroup>(static_cast<double>(of_thread), Sum{});
}

template <int kGroup, int W, typename T>
__device__ __forceinline__ void write_zeros(int64_t n, int lane, T* to) {
  Pack<T, W> zeros;
#pragma unroll
  for (int k = 0; k < W; ++k) zeros.at[k] = from_float<T>(0.0f);
  for_packs<kGroup, W>(n, lane, [&](int64_t i) { store<W>(to + i, zeros); });
}

/// moments may be null.
template <int kGroup, int W, typename T>
__global__ void __launch_bounds__(kThreads, 4)
    forward_kernel(Rows rows, const BatchContext* batch, const T* src, T* dst, RowMoments* moments) {
  const GroupPlace<kGroup> place;
  const int64_t row = place.group;
  if (row >= rows.n_rows) return;
  src += row * rows.n;
  dst += row * rows.n;
  if (row >= batch->n_valid * rows.rows_of_sample) return write_zeros<kGroup, W>(rows.n, place.lane, dst);
  const double n = static_cast<double>(rows.n);

  RowMoments m{};
  float sum = 0.0f;
  for_row<kGroup, W>(rows.n, place.lane, src, [&](int64_t, float x) { sum += x; });
  m.center = static_cast<float>(total<kGroup>(sum) / n);

  float first = 0.0f, second = 0.0f;
  for_row<kGroup, W>(rows.n, place.lane, src, [&](int64_t, float x) {
    const float distance = x - m.center;
    first += distance;
    second = fmaf(distance, distance, second);
  });
  const double rest = total<kGroup>(first) / n;
  double variance = total<kGroup>(second) / n - rest * rest;
  if (variance < 0) variance = 0;
  m.rest = static_cast<float>(rest);
  m.inverse = static_cast<float>(1 / sqrt(variance + rows.epsilon));

  for_packs<kGroup, W>(rows.n, place.lane, [&](int64_t i) {
    Pack<T, W> x = load<W>(src + i);
    Pack<float, W> weight{}, bias{};
    if (rows.weight) {
      weight = load<W>(rows.weight + i);
      bias = load<W>(rows.bias + i);
    }
#pragma unroll
    for (int k = 0; k < W; ++k) {
      const float y = m.normalized(to_float(x.at[k]));
      x.at[k] = from_float<T>(rows.weight ? fmaf(y, weight.at[k], bias.at[k]) : y);
    }
    store<W>(dst + i, x);
  });
  if (moments && place.lane == 0) moments[row] = m;
}

template <int kGroup, int W, typename T>
__global__ void __launch_bounds__(kThreads, 4)
    backward_kernel(Rows rows, const BatchContext* batch, const RowMoments* moments, const T* src,
                    const T* diff_dst, T* diff_src) {
  const GroupPlace<kGroup> place;
  const int64_t row = place.group;
  if (row >= rows.n_rows) return;
  src += row * rows.n;
  diff_dst += row * rows.n;
  diff_src += row * rows.n;
  if (row >= batch->n_valid * rows.rows_of_sample)
    return write_zeros<kGroup, W>(rows.n, place.lane, diff_src);
  const RowMoments m = moments[row];
  const double n = static_cast<double>(rows.n);
  // body(k, gradient of the normalised value, the value) for W elements.
  const auto each_at = [&](int64_t i, const auto& body) {
    const Pack<T, W> x = load<W>(src + i), g = load<W>(diff_dst + i);
    Pack<float, W> weight{};
    if (rows.weight) weight = load<W>(rows.weight + i);
#pragma unroll
    for (int k = 0; k < W; ++k)
      body(k, rows.weight ? to_float(g.at[k]) * weight.at[k] : to_float(g.at[k]),
           m.normalized(to_float(x.at[k])));
  };

  float sum = 0.0f, products = 0.0f;
  for_packs<kGroup, W>(rows.n, place.lane, [&](int64_t i) {
    each_at(i, [&](int, float g, float x) {
      sum += g;
      products = fmaf(g, x, products);
    });
  });
  const auto mean = static_cast<float>(total<kGroup>(sum) / n);
  const auto slope = static_cast<float>(total<kGroup>(products) / n);
  for_packs<kGroup, W>(rows.n, place.lane, [&](int64_t i) {
    Pack<T, W> result;
    each_at(i, [&](int k, float g, float x) {
      result.at[k] = from_float<T>((g - mean - x * slope) * m.inverse);
    });
    store<W>(diff_src + i, result);
  });
}

/// Sums over the rows of diff_dst and of diff_dst times the normalised value, for each column.
template <typename T, int W, bool kInPlanes>
struct ColumnSums : PassForm<T, W, kInPlanes> {
  static constexpr bool kSums = true;
  static constexpr int kUnroll = 2;
  static constexpr int kChannels = PassForm<T, W, kInPlanes>::kChannels;
  struct Loaded {
    Waiting<T, W> x, g;
    RowMoments moments;
  };
  const T *src, *diff_dst;
  const RowMoments* moments;
  float first[kChannels], second[kChannels];

  __device__ void begin(int64_t, int64_t) {
#pragma unroll
    for (int c = 0; c < kChannels; ++c) first[c] = second[c] = 0.0f;
  }
  __device__ Loaded load(int64_t place, int64_t row) const {
    Loaded loaded;
    loaded.x.take(src + place);
    loaded.g.take(diff_dst + place);
    loaded.moments = moments[row];
    return loaded;
  }
  __device__ void use(int64_t, const Loaded& loaded) {
#pragma unroll
    for (int k = 0; k < W; ++k) {
      const float g = loaded.g[k];
      first[k % kChannels] += g;
      second[k % kChannels] = fmaf(g, loaded.moments.normalized(loaded.x[k]), second[k % kChannels]);
    }
  }
  __device__ void pad(int64_t) const {}
  __device__ void totals(int, double, double&, double&) const {}
};

__global__ void __launch_bounds__(kTotalThreads)
    column_totals_kernel(const double* partial, int64_t n_cuts, int64_t n, float* diff_weight,
                         float* diff_bias) {
  double bias, weight;
  if (!cut_totals(partial, n_cuts, n, bias, weight)) return;
  diff_weight[total_channel()] = static_cast<float>(weight);
  diff_bias[total_channel()] = static_cast<float>(bias);
}

class LayerNorm : public Op {
 public:
  LayerNorm(const OpConfig& config, const LayerNormDesc& desc)
      : epsilon_(desc.epsilon), affine_(desc.affine), training_(config.training) {
    info_.src = {desc.src.dense()};
    info_.dst = {desc.src.dense()};
    info_.backward_needs_dst = false;
    const Shape& shape = desc.src.shape;
    for (int i = shape.rank() - desc.axes; i < shape.rank(); ++i) n_ *= shape[i];
    for (int i = 1; i < shape.rank() - desc.axes; ++i) rows_of_sample_ *= shape[i];
    n_rows_ = shape[0] * rows_of_sample_;
    cuts_ = ChannelCuts(shape[0], {n_rows_, n_, 1}, desc.src.dtype);
    if (!training_) return;
    info_.workspace_bytes = n_rows_ * static_cast<int64_t>(sizeof(RowMoments));
    if (affine_) info_.scratchpad_bytes = cuts_.n_partial() * static_cast<int64_t>(sizeof(double));
  }

  void forward(Stream& stream, const OpArgs& args) override {
    auto* moments = training_ ? reinterpret_cast<RowMoments*>(args.workspace) : nullptr;
    with_element(info_.src[0].dtype, [&]<typename T>() {
      with_group<T>(n_, [&]<int kGroup, int W>() {
        launch(stream, blocks_for(n_rows_ * kGroup), kThreads, forward_kernel<kGroup, W, T>, rows(args),
               args.batch, args.src[0].as<const T>(), args.dst[0].as<T>(), moments);
      });
    });
  }

  void backward(Stream& stream, const OpArgs& args) override {
    const auto* moments = reinterpret_cast<const RowMoments*>(args.workspace);
    with_element(info_.src[0].dtype, [&]<typename T>() {
      if (args.diff_src[0].empty()) return;
      with_group<T>(n_, [&]<int kGroup, int W>() {
        launch(stream, blocks_for(n_rows_ * kGroup), kThreads, backward_kernel<kGroup, W, T>, rows(args),
               args.batch, moments, args.src[0].as<const T>(), args.diff_dst[0].as<const T>(),
               args.diff_src[0].as<T>());
      });
    });
    if (!affine_) return;
    with_pass_form(cuts_, info_.src[0].dtype, [&]<typename T, int W, bool>() {
      ColumnSums<T, W, false> pass{};
      pass.src = args.src[0].as<const T>();
      pass.diff_dst = args.diff_dst[0].as<const T>();
      pass.moments = moments;
      run_pass(stream, cuts_, args.batch, pass, reinterpret_cast<double*>(args.scratchpad));
    });
    launch(stream, blocks_for(n_, kWarp), kTotalThreads, column_totals_kernel,
           reinterpret_cast<const double*>(args.scratchpad), cuts_.n_cuts, n_,
           args.diff_params[0].as<float>(), args.diff_params[1].as<float>());
  }

 private:
  Rows rows(const OpArgs& args) const {
    Rows rows{n_rows_, rows_of_sample_, n_, nullptr, nullptr, epsilon_};
    if (affine_) {
      rows.weight = args.params[0].as<const float>();
      rows.bias = args.params[1].as<const float>();
    }
    return rows;
  }

  double epsilon_;
  bool affine_, training_;
  int64_t n_ = 1, n_rows_ = 0, rows_of_sample_ = 1;
  ChannelCuts cuts_;  // of the columns
};

}  // namespace

std::unique_ptr<Op> make_layer_norm(const OpConfig& config, const LayerNormDesc& desc) {
  return std::make_unique<LayerNorm>(config, desc);
}

}  // namespace lockstep::cuda
