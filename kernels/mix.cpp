// Both ops draw the mixture of their micro-batch by themselves, so that nothing travels from one to the
// other. They work on the host; a GPU has none of them yet.
#include "kernels/mix.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <utility>

#include "kernels/error.h"
#include "kernels/loss.h"
#include "kernels/random.h"

namespace lockstep {

namespace {

constexpr double kTwoPi = 6.283185307179586;
constexpr int64_t kParallelNumbers = 1 << 15;  // below, one thread is faster

/// Numbers one after the other of one stream.
class MixDraw {
 public:
  explicit MixDraw(uint64_t seed, uint32_t step = 0, uint64_t sample = 0)
      : random_(seed ^ hash_name("mixed samples"), RandomPurpose::kAugment, step, sample) {}

  double uniform() { return (random_.bits(index_++) + 0.5) * 0x1p-32; }  // (0, 1)
  int64_t whole(int64_t n) {
    return static_cast<int64_t>(uint64_t{random_.bits(index_++)} * static_cast<uint64_t>(n) >> 32);
  }
  /// log of a number of Gamma(shape, 1) (Marsaglia and Tsang 2000), which itself may be too small for a
  /// double.
  double log_gamma_number(double shape) {
    if (shape < 1) {
      const double boost = std::log(uniform()) / shape;
      return log_gamma_number(shape + 1) + boost;
    }
    const double d = shape - 1.0 / 3, c = 1 / std::sqrt(9 * d);
    for (;;) {
      const double radius = std::sqrt(-2 * std::log(uniform())), x = radius * std::cos(kTwoPi * uniform());
      const double root = 1 + c * x, log_u = std::log(uniform());
      if (root <= 0) continue;
      const double v = root * root * root;
      if (log_u < x * x / 2 + d - d * v + d * std::log(v)) return std::log(d * v);
    }
  }
  double beta(double alpha) {
    const double a = log_gamma_number(alpha), b = log_gamma_number(alpha);
    return 1 / (1 + std::exp(b - a));
  }

 private:
  RandomStream random_;
  uint64_t index_ = 0;
};

/// As the paper's own code: a box of the partner's share of the area, cut where it leaves the image.
void draw_box(MixDraw& draw, int64_t height, int64_t width, Mixture& mixture) {
  const double side = std::sqrt(1 - mixture.share);
  const auto half = [&](int64_t extent) {
    return static_cast<int64_t>(static_cast<double>(extent) * side) / 2;
  };
  const int64_t row = draw.whole(height), column = draw.whole(width);
  mixture.top = std::max<int64_t>(0, row - half(height));
  mixture.bottom = std::min(height, row + half(height));
  mixture.left = std::max<int64_t>(0, column - half(width));
  mixture.right = std::min(width, column + half(width));
  const int64_t area = (mixture.bottom - mixture.top) * (mixture.right - mixture.left);
  mixture.share = 1 - static_cast<double>(area) / static_cast<double>(height * width);
}

int64_t partner_of(const Mixture& mixture, int64_t row, int64_t n_valid) {
  return (row + mixture.shift) % n_valid;
}

class Mix : public Op {
 public:
  Mix(const MixOptions& options, const TensorDesc& src) : options_(options) {
    const Shape& shape = src.shape;
    n_ = shape[0];
    row_ = shape.without_front().n_elements();
    if (shape.rank() == 4) height_ = shape[2], width_ = shape[3];
    info_.src = {src.dense()};
    info_.dst = {src.dense()};
    info_.backward_needs_src = info_.backward_needs_dst = false;
  }

  void forward(Stream&, const OpArgs& args) override {
    const float* src = args.src[0].as<const float>();
    float* dst = args.dst[0].as<float>();
    const int64_t n_valid = args.batch->n_valid;
    const Mixture mixture = draw_mixture(options_, *args.batch, height_, width_);
#pragma omp parallel for schedule(static) if (n_ * row_ >= kParallelNumbers)
    for (int64_t row = 0; row < n_; ++row) {
      const float* own = src + row * row_;
      const bool mixes = mixture.kind != Mixture::Kind::kNone && row < n_valid;
      const float* partner = mixes ? src + partner_of(mixture, row, n_valid) * row_ : nullptr;
      if (mixes && mixture.kind == Mixture::Kind::kMixup) {
        const auto share = static_cast<float>(mixture.share), rest = 1 - share;
        for (int64_t i = 0; i < row_; ++i) dst[row * row_ + i] = share * own[i] + rest * partner[i];
        continue;
      }
      std::memcpy(dst + row * row_, own, static_cast<size_t>(row_) * sizeof(float));
      if (mixes) paste(mixture, partner, dst + row * row_);
    }
  }

  void backward(Stream&, const OpArgs&) override {}  // data have no gradient

 private:
  void paste(const Mixture& mixture, const float* partner, float* dst) const {
    const int64_t plane = height_ * width_, n = mixture.right - mixture.left;
    if (n <= 0) return;
    for (int64_t first = 0; first < row_; first += plane)
      for (int64_t y = mixture.top; y < mixture.bottom; ++y) {
        const int64_t at = first + y * width_ + mixture.left;
        std::memcpy(dst + at, partner + at, static_cast<size_t>(n) * sizeof(float));
      }
  }

  MixOptions options_;
  int64_t n_ = 0, row_ = 0;  // rows, and numbers of each
  int64_t height_ = 1, width_ = 1;
};

class MixedLoss : public Op {
 public:
  MixedLoss(const MixOptions& options, std::unique_ptr<Op> loss, int64_t height, int64_t width)
      : options_(options), loss_(std::move(loss)), height_(height), width_(width) {
    const OpInfo& inner = loss_->info();
    info_ = inner;
    info_.diff_src_in_place = false;  // the prediction is needed twice
    prediction_bytes_ = aligned(inner.src[0].n_bytes());
    target_bytes_ = inner.src[1].n_bytes();
    target_row_bytes_ = target_bytes_ / inner.src[1].shape[0];
    workspace_bytes_ = aligned(inner.workspace_bytes);
    info_.workspace_bytes = 2 * workspace_bytes_ + aligned(target_bytes_);
    info_.scratchpad_bytes = prediction_bytes_ + inner.scratchpad_bytes;
  }

  void forward(Stream& stream, const OpArgs& args) override {
    OpArgs own = inner(args, 0);
    loss_->forward(stream, own);
    const Mixture mixture = draw_mixture(options_, *args.batch, height_, width_);
    if (mixture.kind == Mixture::Kind::kNone) return;
    double* sums = args.dst[0].as<double>();
    std::array<double, size_t{kLossValues}> first{};
    std::copy_n(sums, kLossValues, first.begin());
    swap_targets(args, mixture);
    with_partners(args, [&](const OpArgs& partners) { loss_->forward(stream, partners); });
    for (size_t i = 0; i < first.size(); ++i)
      sums[i] = mixture.share * first[i] + (1 - mixture.share) * sums[i];
  }

  void backward(Stream& stream, const OpArgs& args) override {
    if (args.diff_src.empty() || args.diff_src[0].empty()) return;
    const Mixture mixture = draw_mixture(options_, *args.batch, height_, width_);
    OpArgs own = inner(args, 0);
    BatchContext scaled = *args.batch;
    scaled.loss_scale = static_cast<float>(args.batch->loss_scale * mixture.share);
    own.batch = &scaled;
    loss_->backward(stream, own);
    if (mixture.kind == Mixture::Kind::kNone) return;
    const Tensor rest{args.scratchpad, args.diff_src[0].desc};
    std::array<Tensor, 2> gradients{rest, Tensor{}};
    scaled.loss_scale = static_cast<float>(args.batch->loss_scale * (1 - mixture.share));
    with_partners(args, [&](OpArgs partners) {
      partners.batch = &scaled;
      partners.diff_src = {gradients.data(), args.diff_src.size()};
      loss_->backward(stream, partners);
    });
    float* diff = args.diff_src[0].as<float>();
    const float* more = rest.as<const float>();
    const int64_t n = rest.desc.n_elements();
    for (int64_t i = 0; i < n; ++i) diff[i] += more[i];
  }

 private:
  static int64_t aligned(int64_t n_bytes) { return (n_bytes + 63) / 64 * 64; }

  /// The arguments of the loss for the targets themselves (which = 0), or for the partners'.
  OpArgs inner(const OpArgs& args, int which) const {
    OpArgs result = args;
    result.scratchpad = args.scratchpad + prediction_bytes_;
    result.workspace = args.workspace + which * workspace_bytes_;
    return result;
  }

  std::byte* partner_targets(const OpArgs& args) const { return args.workspace + 2 * workspace_bytes_; }

  void swap_targets(const OpArgs& args, const Mixture& mixture) const {
    const std::byte* from = args.src[1].as<const std::byte>();
    std::byte* to = partner_targets(args);
    const int64_t n_valid = args.batch->n_valid;
    std::memcpy(to, from, static_cast<size_t>(target_bytes_));  // padding stays
    for (int64_t row = 0; row < n_valid; ++row)
      std::memcpy(to + row * target_row_bytes_, from + partner_of(mixture, row, n_valid) * target_row_bytes_,
                  static_cast<size_t>(target_row_bytes_));
  }

  template <typename Run>
  void with_partners(const OpArgs& args, const Run& run) const {
    const std::array<Tensor, 2> src{args.src[0], Tensor{partner_targets(args), args.src[1].desc}};
    OpArgs partners = inner(args, 1);
    partners.src = src;
    run(partners);
  }

  MixOptions options_;
  std::unique_ptr<Op> loss_;
  int64_t height_, width_;
  int64_t prediction_bytes_ = 0, target_bytes_ = 0, target_row_bytes_ = 0, workspace_bytes_ = 0;
};

}  // namespace

double draw_beta(double alpha, uint64_t key) { return MixDraw(key).beta(alpha); }

Mixture draw_mixture(const MixOptions& options, const BatchContext& batch, int64_t height, int64_t width) {
  Mixture mixture;
  if (batch.n_valid < 2 || batch.sample_ids == nullptr || !options.is_on()) return mixture;
  MixDraw draw(batch.seed, static_cast<uint32_t>(batch.step), static_cast<uint64_t>(batch.sample_ids[0]));
  const double which = draw.uniform();
  if (which >= options.mixup_p + options.cutmix_p) return mixture;
  mixture.kind = which < options.mixup_p ? Mixture::Kind::kMixup : Mixture::Kind::kCutmix;
  mixture.shift = 1 + draw.whole(batch.n_valid - 1);
  const bool is_mixup = mixture.kind == Mixture::Kind::kMixup;
  mixture.share = static_cast<float>(draw.beta(is_mixup ? options.mixup_alpha : options.cutmix_alpha));
  if (!is_mixup) draw_box(draw, height, width, mixture);
  return mixture;
}

std::unique_ptr<Op> make_mix(const OpConfig& config, const MixOptions& options, const TensorDesc& src) {
  if (config.device.kind != Device::Kind::kCpu)
    throw Error("mixup and cutmix", "samples are mixed on the CPU alone",
                "set device: cpu, or leave out data.mixup and data.cutmix");
  if (options.cutmix_p > 0 && src.shape.rank() != 4)
    throw Error("cutmix",
                "cuts boxes out of images (C, H, W), not of samples " + src.shape.without_front().str(),
                "use data.mixup, or leave out data.cutmix");
  return std::make_unique<Mix>(options, src);
}

std::unique_ptr<Op> make_mixed_loss(const MixOptions& options, std::unique_ptr<Op> loss, int64_t height,
                                    int64_t width) {
  return std::make_unique<MixedLoss>(options, std::move(loss), height, width);
}

}  // namespace lockstep
