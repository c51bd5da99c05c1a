// Batch normalisation on GPUs, dense or channels-last: two passes over the elements forward and two backward
// (batch_norm_passes.h), each followed or preceded by a small kernel over the channels, in float64. The
// mask of an activation is recomputed from src, which spares backward a read of dst; with a residual it comes
// from dst.
#include "kernels/batch_norm.h"

#include <limits>

#include "kernels/backend.h"
#include "kernels/cuda/batch_norm_passes.h"

namespace lockstep::cuda {

namespace {

constexpr float kNoBound = std::numeric_limits<float>::quiet_NaN();  // every comparison with it is false

/// Of all channels, kept from forward to backward.
struct Statistics {
  double *mean, *variance;  // biased
  double* n;                // one: elements of a channel behind them
};

/// Null where there are none.
struct Params {
  const float *weight, *bias;
  double epsilon;
};

/// Arrays of the affine map, to be written.
struct AffineArrays {
  float *center, *scale, *shift;
};

__device__ double inverse_deviation(double variance, double epsilon) { return 1 / sqrt(variance + epsilon); }

__device__ void set_affine(const AffineArrays& to, const Params& params, int64_t c, double mean,
                           double variance) {
  const double weight = params.weight ? params.weight[c] : 1.0, bias = params.bias ? params.bias[c] : 0.0;
  const double scale = weight * inverse_deviation(variance, params.epsilon);
  const auto center = static_cast<float>(mean);
  const double rest = mean - static_cast<double>(center);
  to.center[c] = center;
  to.scale[c] = static_cast<float>(scale);
  to.shift[c] = static_cast<float>(bias - rest * scale);
}

/// sums (2 channels + 1) = those of a micro-batch.
__global__ void __launch_bounds__(kTotalThreads)
    moment_sums_kernel(const double* partial, int64_t n_cuts, int64_t channels, const BatchContext* batch,
                       int64_t positions, double* sums) {
  double sum, squares;
  if (!cut_totals(partial, n_cuts, channels, sum, squares)) return;
  const int64_t c = total_channel();
  sums[c] = sum;
  sums[channels + c] = squares;
  if (c == 0) sums[2 * channels] = static_cast<double>(batch->n_valid * positions);
}

/// The statistics and the affine map of the sums in `partial`, of which `count` is the number of elements
/// per channel; null: those of the micro-batch.
__global__ void __launch_bounds__(kTotalThreads)
    statistics_kernel(const double* partial, int64_t n_cuts, int64_t channels, const double* count,
                      const BatchContext* batch, int64_t positions, Params params, Statistics statistics,
                      AffineArrays affine) {
  double sum, squares;
  if (!cut_totals(partial, n_cuts, channels, sum, squares)) return;
  const int64_t c = total_channel();
  const double n = count ? *count : static_cast<double>(batch->n_valid * positions);
  const double mean = n > 0 ? sum / n : 0;
  double variance = n > 0 ? squares / n - mean * mean : 0;
  if (variance < 0) variance = 0;
  statistics.mean[c] = mean;
  statistics.variance[c] = variance;
  if (c == 0) *statistics.n = n;
  set_affine(affine, params, c, mean, variance);
}

__global__ void __launch_bounds__(kThreads)
    evaluation_kernel(int64_t channels, const float* mean, const float* variance, Params params,
                      AffineArrays affine) {
  const int64_t c = global_thread();
  if (c < channels) set_affine(affine, params, c, mean[c], variance[c]);
}

struct GradientArrays {
  float *of_gradient, *of_value, *constant;
};

/// gradient: sum of g; product: sum of g times the normalised value.
__device__ void set_input_gradient(const GradientArrays& to, const Params& params,
                                   const Statistics& statistics, int64_t c, double gradient, double product) {
  const double mean = statistics.mean[c], n = *statistics.n;
  const double inverse = inverse_deviation(statistics.variance[c], params.epsilon);
  const double a = (params.weight ? params.weight[c] : 1.0) * inverse;
  const double b = n > 0 ? -a * inverse * product / n : 0;
  const double rest = mean - static_cast<double>(static_cast<float>(mean));
  to.of_gradient[c] = static_cast<float>(a);
  to.of_value[c] = static_cast<float>(b);
  to.constant[c] = static_cast<float>((n > 0 ? -a * gradient / n : 0) - b * rest);
}

/// Where gradients of params go; weight and bias null: not affine.
struct DiffParams {
  float *weight, *bias, *running_mean, *running_variance;
};

/// diff_params, and the map to diff_src as if the sums were of this micro-batch alone; `sums`, which may be
/// null, receives them for backward_sums().
__global__ void __launch_bounds__(kTotalThreads)
    gradient_kernel(const double* partial, int64_t n_cuts, int64_t channels, const BatchContext* batch,
                    int64_t positions, Params params, Statistics statistics, DiffParams diff,
                    GradientArrays to, double* sums) {
  double gradient, product;
  if (!cut_totals(partial, n_cuts, channels, gradient, product)) return;
  const int64_t c = total_channel();
  const double mean = statistics.mean[c], variance = statistics.variance[c], n = *statistics.n;
  const double rest = mean - static_cast<double>(static_cast<float>(mean));
  product = (product - rest * gradient) * inverse_deviation(variance, params.epsilon);
  const double rows = static_cast<double>(batch->n_valid);
  if (diff.weight) diff.weight[c] = static_cast<float>(product);
  if (diff.bias) diff.bias[c] = static_cast<float>(gradient);
  diff.running_mean[c] = static_cast<float>(rows * mean);
  diff.running_variance[c] = static_cast<float>(rows * variance * (n > 1 ? n / (n - 1) : 1));
  set_input_gradient(to, params, statistics, c, gradient, product);
  if (!sums) return;
  sums[c] = gradient;
  sums[channels + c] = product;
  if (c == 0) sums[2 * channels] = static_cast<double>(batch->n_valid * positions);
}

__global__ void __launch_bounds__(kThreads)
    joined_gradient_kernel(int64_t channels, const double* sums, Params params, Statistics statistics,
                           GradientArrays to) {
  const int64_t c = global_thread();
  if (c < channels) set_input_gradient(to, params, statistics, c, sums[c], sums[channels + c]);
}

class BatchNormOp : public BatchNorm {
 public:
  BatchNormOp(const OpConfig& config, const BatchNormDesc& desc)
      : cuts_(desc.src.shape[0], channel_view(desc.src), desc.src.dtype),
        channels_(desc.src.shape[1]),
        positions_(desc.src.n_elements() / (desc.src.shape[0] * channels_)),
        padded_(blocks_for(channels_, 16) * 16),
        epsilon_(desc.epsilon),
        affine_(desc.affine),
        adds_residual_(desc.adds_residual),
        training_(config.training) {
    if (desc.activation != Activation::kNone) low_ = 0;
    if (desc.activation == Activation::kRelu6) high_ = 6;
    masks_by_dst_ = desc.activation != Activation::kNone && adds_residual_;
    info_.src.assign(adds_residual_ ? 2 : 1, desc.src);
    info_.dst = {desc.src};
    info_.backward_needs_dst = masks_by_dst_;
    constexpr auto kDouble = static_cast<int64_t>(sizeof(double)),
                   kFloat = static_cast<int64_t>(sizeof(float));
    const int64_t map_bytes = 3 * padded_ * kFloat;
    if (training_) {
      info_.workspace_bytes = (2 * padded_ + kCountRoom) * kDouble + map_bytes;
      info_.scratchpad_bytes = map_bytes + (cuts_.n_partial() + n_sums()) * kDouble;
    } else {
      info_.scratchpad_bytes = map_bytes;
    }
  }

  void forward(Stream& stream, const OpArgs& args) override {
    if (training_) {
      sum_moments(stream, args);
      finish_statistics(stream, args, partial(args), cuts_.n_cuts, nullptr);
    } else {
      launch(stream, blocks_for(channels_), kThreads, evaluation_kernel, channels_, running(args, 0),
             running(args, 1), params(args), affine_arrays(args));
    }
    normalize(stream, args);
  }

  void backward(Stream& stream, const OpArgs& args) override {
    sum_gradients(stream, args, nullptr);
    input_gradient(stream, args);
  }

  int64_t n_sums() const override { return 2 * channels_ + 1; }

  void forward_sums(Stream& stream, const OpArgs& args, double* sums) override {
    sum_moments(stream, args);
    launch(stream, total_blocks(), kTotalThreads, moment_sums_kernel, partial(args), cuts_.n_cuts, channels_,
           args.batch, positions_, sums_on_device(args));
    fetch_sums(stream, args, sums);
  }
  void forward_apply(Stream& stream, const OpArgs& args, const double* sums) override {
    send_sums(stream, args, sums);
    const double* given = sums_on_device(args);  // as the sums of one cut
    finish_statistics(stream, args, given, 1, given + 2 * channels_);
    normalize(stream, args);
  }
  void backward_sums(Stream& stream, const OpArgs& args, double* sums) override {
    sum_gradients(stream, args, sums_on_device(args));
    fetch_sums(stream, args, sums);
  }
  void backward_apply(Stream& stream, const OpArgs& args, const double* sums) override {
    send_sums(stream, args, sums);
    launch(stream, blocks_for(channels_), kThreads, joined_gradient_kernel, channels_, sums_on_device(args),
           params(args), statistics(args), gradient_arrays(args));
    input_gradient(stream, args);
  }

 private:
  static constexpr int64_t kCountRoom = 8;  // doubles, which keep the arrays behind aligned

  // Workspace: mean, variance, n, center, scale, shift. Scratchpad: the map to diff_src, the sums of the
  // cuts, the sums. Evaluation: center, scale and shift in the scratchpad.
  Statistics statistics(const OpArgs& args) const {
    auto* first = reinterpret_cast<double*>(args.workspace);
    return {first, first + padded_, first + 2 * padded_};
  }
  AffineArrays affine_arrays(const OpArgs& args) const {
    auto* first = training_ ? reinterpret_cast<float*>(statistics(args).n + kCountRoom)
                            : reinterpret_cast<float*>(args.scratchpad);
    return {first, first + padded_, first + 2 * padded_};
  }
  Affine affine(const OpArgs& args) const {
    const AffineArrays arrays = affine_arrays(args);
    return {arrays.center, arrays.scale, arrays.shift, low_, high_};
  }
  GradientArrays gradient_arrays(const OpArgs& args) const {
    auto* first = reinterpret_cast<float*>(args.scratchpad);
    return {first, first + padded_, first + 2 * padded_};
  }
  double* partial(const OpArgs& args) const {
    return reinterpret_cast<double*>(gradient_arrays(args).constant + padded_);
  }
  double* sums_on_device(const OpArgs& args) const { return partial(args) + cuts_.n_partial(); }

  Params params(const OpArgs& args) const {
    if (!affine_) return {nullptr, nullptr, epsilon_};
    return {args.params[0].as<const float>(), args.params[1].as<const float>(), epsilon_};
  }
  const float* running(const OpArgs& args, size_t which) const {
    return args.params[(affine_ ? 2 : 0) + which].as<const float>();
  }
  int64_t total_blocks() const { return blocks_for(channels_, kWarp); }

  template <typename Body>
  void with_form(const Body& body) const {
    with_pass_form(cuts_, info_.src[0].dtype, body);
  }

  void sum_moments(Stream& stream, const OpArgs& args) const {
    with_form([&]<typename T, int W, bool kInPlanes>() {
      Moments<T, W, kInPlanes> pass{};
      pass.src = args.src[0].as<const T>();
      run_pass(stream, cuts_, args.batch, pass, partial(args));
    });
  }

  void finish_statistics(Stream& stream, const OpArgs& args, const double* sums, int64_t n_cuts,
                         const double* count) const {
    launch(stream, total_blocks(), kTotalThreads, statistics_kernel, sums, n_cuts, channels_, count,
           args.batch, positions_, params(args), statistics(args), affine_arrays(args));
  }

  void normalize(Stream& stream, const OpArgs& args) const {
    with_form([&]<typename T, int W, bool kInPlanes>() {
      Normalize<T, W, kInPlanes> pass{};
      pass.affine = affine(args);
      pass.src = args.src[0].as<const T>();
      pass.residual = adds_residual_ ? args.src[1].as<const T>() : nullptr;
      pass.dst = args.dst[0].as<T>();
      run_pass(stream, cuts_, args.batch, pass);
    });
  }

  /// Also writes diff_params, diff_src[1] and the map to diff_src[0].
  void sum_gradients(Stream& stream, const OpArgs& args, double* sums) const {
    with_form([&]<typename T, int W, bool kInPlanes>() {
      GradientSums<T, W, kInPlanes> pass{};
      pass.affine = affine(args);
      pass.src = args.src[0].as<const T>();
      pass.dst = masks_by_dst_ ? args.dst[0].as<const T>() : nullptr;
      pass.diff_dst = args.diff_dst[0].as<const T>();
      pass.masked = adds_residual_ ? args.diff_src[1].as<T>() : nullptr;
      run_pass(stream, cuts_, args.batch, pass, partial(args));
    });
    DiffParams diff{};
    if (affine_) {
      diff.weight = args.diff_params[0].as<float>();
      diff.bias = args.diff_params[1].as<float>();
    }
    diff.running_mean = args.diff_params[affine_ ? 2 : 0].as<float>();
    diff.running_variance = args.diff_params[affine_ ? 3 : 1].as<float>();
    launch(stream, total_blocks(), kTotalThreads, gradient_kernel, partial(args), cuts_.n_cuts, channels_,
           args.batch, positions_, params(args), statistics(args), diff, gradient_arrays(args), sums);
  }

  void input_gradient(Stream& stream, const OpArgs& args) const {
    if (args.diff_src[0].empty()) return;
    // The masked gradient is there already where the residual has asked for it.
    const Tensor* masked = adds_residual_ && !args.diff_src[1].empty() ? &args.diff_src[1] : nullptr;
    with_form([&]<typename T, int W, bool kInPlanes>() {
      InputGradient<T, W, kInPlanes> pass{};
      pass.affine = affine(args);
      if (masked) pass.affine.low = pass.affine.high = kNoBound;
      const GradientArrays arrays = gradient_arrays(args);
      pass.gradient = {arrays.of_gradient, arrays.of_value, arrays.constant};
      pass.src = args.src[0].as<const T>();
      pass.dst = masks_by_dst_ && !masked ? args.dst[0].as<const T>() : nullptr;
      pass.diff_dst = masked ? masked->as<const T>() : args.diff_dst[0].as<const T>();
      pass.diff_src = args.diff_src[0].as<T>();
      run_pass(stream, cuts_, args.batch, pass);
    });
  }

  // The host's part is no page-locked memory that lives on: both wait.
  void fetch_sums(Stream& stream, const OpArgs& args, double* sums) const {
    cuda::copy(stream, sums, sums_on_device(args), n_sums() * static_cast<int64_t>(sizeof(double)));
    stream.synchronize();
  }
  void send_sums(Stream& stream, const OpArgs& args, const double* sums) const {
    cuda::copy(stream, sums_on_device(args), sums, n_sums() * static_cast<int64_t>(sizeof(double)));
    stream.synchronize();
  }

  ChannelCuts cuts_;
  int64_t channels_, positions_;  // of a sample
  int64_t padded_;                // channels_, so that the arrays behind one another stay aligned
  double epsilon_;
  bool affine_, adds_residual_, training_, masks_by_dst_ = false;
  float low_ = kNoBound, high_ = kNoBound;
};

}  // namespace

std::unique_ptr<BatchNorm> make_batch_norm(const OpConfig& config, const BatchNormDesc& desc) {
  return std::make_unique<BatchNormOp>(config, desc);
}

}  // namespace lockstep::cuda
