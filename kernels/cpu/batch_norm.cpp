// Batch normalisation on the CPU in own loops (batch_norm_loops.h), dense, blocked by channels or
// channels-last. Threads share the channels, so that their number changes no bit. The mask of an
// activation is recomputed from src, by the same operations as in the forward pass, which spares
// backward a read of dst; with a residual it comes from dst.
#include "kernels/batch_norm.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "kernels/backend.h"
#include "kernels/cpu/batch_norm_loops.h"
#include "kernels/cpu/channel_blocks.h"
#include "kernels/cpu/parallel.h"

namespace lockstep::cpu {

namespace {

/// Up to 16 channels that are neighbours in memory.
struct Slab {
  int64_t offset = 0;             // of the first element in a sample
  int64_t channel = 0;            // the first
  int n_channels = 0, width = 0;  // without and with the padding of the last block
};

std::vector<Slab> slabs_of(const ChannelBlocks& blocks) {
  std::vector<Slab> slabs;
  for (int64_t b = 0; b < blocks.blocks; ++b)
    for (int64_t lane = 0; lane < blocks.block;) {
      const int64_t left = blocks.block - lane;
      const int width = left >= 16 ? 16 : left >= 8 ? 8 : 1;
      const int64_t channel = b * blocks.block + lane;
      const auto n = static_cast<int>(std::clamp<int64_t>(blocks.channels - channel, 0, width));
      if (n > 0) slabs.push_back({b * blocks.spatial * blocks.block + lane, channel, n, width});
      lane += width;
    }
  return slabs;
}

/// A channel's statistics, kept from forward to backward.
struct Statistics {
  double mean, variance;  // biased
  double n;               // elements behind them
};

template <typename T>
class BatchNormOp : public BatchNorm {
 public:
  BatchNormOp(const OpConfig& config, const BatchNormDesc& desc)
      : epsilon_(desc.epsilon), affine_(desc.affine), adds_residual_(desc.adds_residual) {
    auto blocks = channel_blocks(desc.src);
    const TensorDesc form = blocks ? desc.src : desc.src.dense();
    if (!blocks) blocks = channel_blocks(form);
    sample_stride_ = blocks->sample_stride();
    if (blocks->spatial == 1 && blocks->block == 1) std::swap(blocks->blocks, blocks->block);
    samples_ = blocks->samples;
    channels_ = blocks->channels;
    positions_ = blocks->spatial;
    pitch_ = blocks->block;
    slabs_ = slabs_of(*blocks);
    activation_ = desc.activation;

    info_.src.assign(adds_residual_ ? 2 : 1, form);
    info_.dst = {form};
    info_.backward_needs_dst = masks_by_dst();
    training_ = config.training;
    if (training_)
      info_.workspace_bytes = channels_ * static_cast<int64_t>(sizeof(Statistics));
    else
      evaluation_.resize(slabs_.size());
  }

  void prepare(Stream&, std::span<const Tensor> params) override {
    if (training_) return;
    const float *mean = running(params, 0), *variance = running(params, 1);
    for (size_t i = 0; i < slabs_.size(); ++i)
      evaluation_[i] = affine_from(slabs_[i], params, [&](int64_t c) {
        return Statistics{mean[c], variance[c], 0};
      });
  }

  void forward(Stream&, const OpArgs& args) override {
    const int64_t n_valid = args.batch->n_valid;
    auto* statistics = reinterpret_cast<Statistics*>(args.workspace);
    for_slabs([&](size_t i) {
      if (!training_) return normalize(slabs_[i], evaluation_[i], n_valid, args);
      own_statistics(slabs_[i], n_valid, args, statistics);
      normalize(slabs_[i], affine_of(slabs_[i], args.params, statistics), n_valid, args);
    });
    zero_padding_rows(args.dst[0], n_valid);
  }

  void backward(Stream&, const OpArgs& args) override {
    const int64_t n_valid = args.batch->n_valid;
    const auto* statistics = reinterpret_cast<const Statistics*>(args.workspace);
    for_slabs([&](size_t i) {
      const SlabAffine affine = affine_of(slabs_[i], args.params, statistics);
      Sums sums = own_sums(slabs_[i], affine, n_valid, args, statistics);
      input_gradient(slabs_[i], affine, sums, n_valid, args, statistics);
    });
    for (const Tensor& diff_src : args.diff_src) zero_padding_rows(diff_src, n_valid);
  }

  int64_t n_sums() const override { return 2 * channels_ + 1; }

  void forward_sums(Stream&, const OpArgs& args, double* sums) override {
    auto* statistics = reinterpret_cast<Statistics*>(args.workspace);
    for_slabs([&](size_t i) {
      own_statistics(slabs_[i], args.batch->n_valid, args, statistics);
      for (int64_t c = slabs_[i].channel; c < slabs_[i].channel + slabs_[i].n_channels; ++c) {
        const Statistics& s = statistics[c];
        sums[c] = s.n * s.mean;
        sums[channels_ + c] = s.n * (s.variance + s.mean * s.mean);
      }
    });
    sums[2 * channels_] = static_cast<double>(args.batch->n_valid * positions_);
  }

  void forward_apply(Stream&, const OpArgs& args, const double* sums) override {
    const double n = sums[2 * channels_];
    auto* statistics = reinterpret_cast<Statistics*>(args.workspace);
    for_slabs([&](size_t i) {
      const Slab& slab = slabs_[i];
      for (int64_t c = slab.channel; c < slab.channel + slab.n_channels; ++c) {
        const double mean = n > 0 ? sums[c] / n : 0;
        const double variance = n > 0 ? std::max(0.0, sums[channels_ + c] / n - mean * mean) : 0;
        statistics[c] = {mean, variance, n};
      }
      normalize(slab, affine_of(slab, args.params, statistics), args.batch->n_valid, args);
    });
    zero_padding_rows(args.dst[0], args.batch->n_valid);
  }

  void backward_sums(Stream&, const OpArgs& args, double* sums) override {
    const int64_t n_valid = args.batch->n_valid;
    const auto* statistics = reinterpret_cast<const Statistics*>(args.workspace);
    for_slabs([&](size_t i) {
      const Slab& slab = slabs_[i];
      const SlabAffine affine = affine_of(slab, args.params, statistics);
      const Sums own = own_sums(slab, affine, n_valid, args, statistics);
      std::copy_n(own.gradient, slab.n_channels, sums + slab.channel);
      std::copy_n(own.product, slab.n_channels, sums + channels_ + slab.channel);
    });
    sums[2 * channels_] = static_cast<double>(n_valid * positions_);
    if (adds_residual_) zero_padding_rows(args.diff_src[1], n_valid);
  }

  void backward_apply(Stream&, const OpArgs& args, const double* sums) override {
    const int64_t n_valid = args.batch->n_valid;
    const auto* statistics = reinterpret_cast<const Statistics*>(args.workspace);
    for_slabs([&](size_t i) {
      const Slab& slab = slabs_[i];
      Sums of_slab;
      std::copy_n(sums + slab.channel, slab.n_channels, of_slab.gradient);
      std::copy_n(sums + channels_ + slab.channel, slab.n_channels, of_slab.product);
      input_gradient(slab, affine_of(slab, args.params, statistics), of_slab, n_valid, args, statistics);
    });
    zero_padding_rows(args.diff_src[0], n_valid);
  }

 private:
  /// Per channel of a slab: the sum of g = diff_dst f', and of g times the normalised value.
  struct Sums {
    double gradient[kMaxSlabWidth] = {}, product[kMaxSlabWidth] = {};
  };

  template <typename Body>
  void for_slabs(const Body& body) const {
    const auto n_slabs = static_cast<int64_t>(slabs_.size());
#pragma omp parallel for schedule(static) if (n_slabs > 1 && samples_ * sample_stride_ >= kParallelElements)
    for (int64_t i = 0; i < n_slabs; ++i) body(static_cast<size_t>(i));
  }

  SlabPlaces places(const Slab& slab, int64_t n_valid) const {
    // One position per sample: samples are positions.
    if (positions_ == 1 && pitch_ == sample_stride_) return {1, 0, n_valid, pitch_, slab.width};
    return {n_valid, sample_stride_, positions_, pitch_, slab.width};
  }
  static T* at(const Tensor& tensor, const Slab& slab) {
    return tensor.empty() ? nullptr : tensor.as<T>() + slab.offset;
  }
  bool masks_by_dst() const { return activation_ != Activation::kNone && adds_residual_; }
  const T* given_dst(const OpArgs& args, const Slab& slab) const {
    return masks_by_dst() ? at(args.dst[0], slab) : nullptr;
  }
  const float* running(std::span<const Tensor> params, size_t which) const {
    return params[(affine_ ? 2 : 0) + which].as<const float>();
  }

  void own_statistics(const Slab& slab, int64_t n_valid, const OpArgs& args, Statistics* statistics) const {
    double mean[kMaxSlabWidth] = {}, deviations[kMaxSlabWidth] = {};
    const double n = static_cast<double>(n_valid * positions_);
    if (n_valid > 0) slab_moments(places(slab, n_valid), at(args.src[0], slab), mean, deviations);
    for (int w = 0; w < slab.n_channels; ++w)
      statistics[slab.channel + w] = {mean[w], n > 0 ? deviations[w] / n : 0, n};
  }

  double inverse_deviation(const Statistics& s) const { return 1 / std::sqrt(s.variance + epsilon_); }

  /// Padding lanes keep factors of zero, so that padding stays zero.
  template <typename Get>
  SlabAffine affine_from(const Slab& slab, std::span<const Tensor> params, const Get& get) const {
    SlabAffine result;
    if (activation_ != Activation::kNone) result.low = 0;
    if (activation_ == Activation::kRelu6) result.high = 6;
    for (int w = 0; w < slab.n_channels; ++w) {
      const int64_t c = slab.channel + w;
      const Statistics s = get(c);
      const double scale = (affine_ ? params[0].as<const float>()[c] : 1.0) * inverse_deviation(s);
      result.center[w] = static_cast<float>(s.mean);
      result.scale[w] = static_cast<float>(scale);
      const double rest = s.mean - static_cast<double>(result.center[w]);
      result.shift[w] = static_cast<float>((affine_ ? params[1].as<const float>()[c] : 0.0) - rest * scale);
    }
    return result;
  }
  SlabAffine affine_of(const Slab& slab, std::span<const Tensor> params, const Statistics* statistics) const {
    return affine_from(slab, params, [&](int64_t c) { return statistics[c]; });
  }

  void normalize(const Slab& slab, const SlabAffine& affine, int64_t n_valid, const OpArgs& args) const {
    if (n_valid == 0) return;
    slab_normalize(places(slab, n_valid), affine, at(args.src[0], slab),
                   adds_residual_ ? at(args.src[1], slab) : nullptr, at(args.dst[0], slab));
  }

  /// Also writes diff_params and diff_src[1].
  Sums own_sums(const Slab& slab, const SlabAffine& affine, int64_t n_valid, const OpArgs& args,
                const Statistics* statistics) const {
    Sums sums;
    if (n_valid > 0) {
      T* masked = adds_residual_ ? at(args.diff_src[1], slab) : nullptr;
      slab_gradient_sums(places(slab, n_valid), affine, at(args.src[0], slab), given_dst(args, slab),
                         at(args.diff_dst[0], slab), masked, sums.gradient, sums.product);
    }
    float* weight = affine_ ? args.diff_params[0].as<float>() : nullptr;
    float* bias = affine_ ? args.diff_params[1].as<float>() : nullptr;
    float* running_mean = args.diff_params[affine_ ? 2 : 0].as<float>();
    float* running_variance = args.diff_params[affine_ ? 3 : 1].as<float>();
    const double rows = static_cast<double>(n_valid);
    for (int w = 0; w < slab.n_channels; ++w) {
      const int64_t c = slab.channel + w;
      const Statistics& s = statistics[c];
      const double rest = s.mean - static_cast<double>(affine.center[w]);
      sums.product[w] = (sums.product[w] - rest * sums.gradient[w]) * inverse_deviation(s);
      if (affine_) weight[c] = static_cast<float>(sums.product[w]);
      if (affine_) bias[c] = static_cast<float>(sums.gradient[w]);
      running_mean[c] = static_cast<float>(rows * s.mean);
      running_variance[c] = static_cast<float>(rows * s.variance * (s.n > 1 ? s.n / (s.n - 1) : 1));
    }
    return sums;
  }

  void input_gradient(const Slab& slab, const SlabAffine& affine, const Sums& sums, int64_t n_valid,
                      const OpArgs& args, const Statistics* statistics) const {
    if (args.diff_src[0].empty() || n_valid == 0) return;
    SlabGradient gradient;
    for (int w = 0; w < slab.n_channels; ++w) {
      const Statistics& s = statistics[slab.channel + w];
      const double weight = affine_ ? args.params[0].as<const float>()[slab.channel + w] : 1.0;
      const double a = weight * inverse_deviation(s), b = -a * inverse_deviation(s) * sums.product[w] / s.n;
      const double rest = s.mean - static_cast<double>(affine.center[w]);
      gradient.of_gradient[w] = static_cast<float>(a);
      gradient.of_value[w] = static_cast<float>(b);
      gradient.constant[w] = static_cast<float>(-a * sums.gradient[w] / s.n - b * rest);
    }
    // The masked gradient is there already where the residual has asked for it.
    const T* masked = adds_residual_ ? at(args.diff_src[1], slab) : nullptr;
    SlabAffine unbounded = affine;
    unbounded.low = unbounded.high = kNoBound;
    slab_input_gradient(places(slab, n_valid), masked ? unbounded : affine, gradient, at(args.src[0], slab),
                        masked ? nullptr : given_dst(args, slab),
                        masked ? masked : at(args.diff_dst[0], slab), at(args.diff_src[0], slab));
  }

  void zero_padding_rows(const Tensor& tensor, int64_t n_valid) const {
    if (tensor.empty() || n_valid == samples_) return;
    std::memset(tensor.as<T>() + n_valid * sample_stride_, 0,
                static_cast<size_t>((samples_ - n_valid) * sample_stride_) * sizeof(T));
  }

  double epsilon_;
  bool affine_, adds_residual_, training_ = true;
  Activation activation_ = Activation::kNone;
  int64_t samples_ = 0, channels_ = 0, sample_stride_ = 0, positions_ = 0, pitch_ = 0;
  std::vector<Slab> slabs_;
  std::vector<SlabAffine> evaluation_;  // of the running statistics
};

}  // namespace

std::unique_ptr<BatchNorm> make_batch_norm(const OpConfig& config, const BatchNormDesc& desc) {
  if (desc.src.dtype == DType::kBFloat16) return std::make_unique<BatchNormOp<BFloat16>>(config, desc);
  return std::make_unique<BatchNormOp<float>>(config, desc);
}

}  // namespace lockstep::cpu
