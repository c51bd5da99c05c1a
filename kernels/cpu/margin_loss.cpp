// Losses by margins: hinge of one score or of several, and the perceptron's. Few numbers per sample:
// plain loops in float64, over classes and then over rows in order.
#include <cmath>
#include <limits>

#include "kernels/backend.h"
#include "kernels/cpu/loss_result.h"
#include "kernels/cpu/softmax_rows.h"

namespace lockstep::cpu {

namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

/// max(0, margin - t x) of one score; the perceptron's is that with margin 0 where 0 counts too.
class OneScoreLoss : public Op {
 public:
  struct Rule {
    double margin = 0;
    bool at_zero_plus = false, at_zero_minus = false;  // is margin = t x a mistake, for t = 1 and t = -1
    bool signs = false;
    double weight = 1;
    bool counts_mistakes = false;  // right is what is no mistake; else what has the sign of t
  };
  OneScoreLoss(const TensorDesc& prediction, const Rule& rule) : rule_(rule), n_(prediction.shape[0]) {
    info_.src = {prediction.dense(), {Shape{n_}, rule.signs ? DType::kFloat32 : DType::kInt64, nullptr}};
    info_.dst = {loss_desc()};
    info_.backward_needs_dst = false;
  }

  void forward(Stream&, const OpArgs& args) override {
    const float* x = args.src[0].as<const float>();
    LossSums sums;
    for (int64_t row = 0; row < args.batch->n_valid; ++row) {
      const double t = target(args, row), product = t * x[row];
      const bool mistake = is_mistake(t, product);
      const bool right = rule_.counts_mistakes ? !mistake : (x[row] > 0.0f) == (t > 0.0);
      sums += {rule_.weight * (mistake ? rule_.margin - product : 0.0), right ? 1.0 : 0.0, 1.0, 1.0};
    }
    write_loss(args, sums);
  }

  void backward(Stream&, const OpArgs& args) override {
    if (!wants(args, 0)) return;
    const float* x = args.src[0].as<const float>();
    float* diff = args.diff_src[0].as<float>();
    const double factor = rule_.weight * static_cast<double>(args.batch->loss_scale);
    for (int64_t row = 0; row < args.batch->n_valid; ++row) {
      const double t = target(args, row);
      diff[row] = is_mistake(t, t * x[row]) ? static_cast<float>(-factor * t) : 0.0f;
    }
    clear_padding(n_, 1, args.batch->n_valid, diff);
  }

 private:
  /// 1, -1, or NaN for what is no class.
  double target(const OpArgs& args, int64_t row) const {
    if (rule_.signs) {
      const float sign = args.src[1].as<const float>()[row];
      return sign > 0.0f ? 1.0 : sign <= 0.0f ? -1.0 : kNaN;
    }
    const int64_t id = args.src[1].as<const int64_t>()[row];
    return id == 1 ? 1.0 : id == 0 || id == -1 ? -1.0 : kNaN;
  }
  /// NaN is one, so that it shows in the loss.
  bool is_mistake(double t, double product) const {
    if (product == rule_.margin) return t > 0 ? rule_.at_zero_plus : rule_.at_zero_minus;
    return !(product > rule_.margin);
  }

  Rule rule_;
  int64_t n_;
};

/// sum over j != target of max(0, margin + x_j - x_target)
class MultiClassHinge : public Op {
 public:
  explicit MultiClassHinge(const HingeLossDesc& desc)
      : n_(desc.prediction.shape[0]), k_(desc.prediction.shape[1]), margin_(desc.margin) {
    factor_ = desc.weight / (desc.mean ? static_cast<double>(k_) : 1.0);
    info_.src = {desc.prediction.dense(), {Shape{n_}, DType::kInt64, nullptr}};
    info_.dst = {loss_desc()};
    info_.backward_needs_dst = false;
  }

  void forward(Stream&, const OpArgs& args) override {
    LossSums sums;
    for (int64_t row = 0; row < args.batch->n_valid; ++row) {
      const float* x = args.src[0].as<const float>() + row * k_;
      const int64_t target = args.src[1].as<const int64_t>()[row];
      if (target < 0 || target >= k_) {
        sums += {kNaN, 0, 1, 1};
        continue;
      }
      double loss = 0;
      for (int64_t j = 0; j < k_; ++j) {
        const double excess = margin_ + (static_cast<double>(x[j]) - x[target]);
        if (j != target && !(excess <= 0)) loss += excess;  // NaN shows
      }
      const bool correct = is_first_maximum(target, x, row_maximum(k_, x));
      sums += {factor_ * loss, correct ? 1.0 : 0.0, 1.0, 1.0};
    }
    write_loss(args, sums);
  }

  void backward(Stream&, const OpArgs& args) override {
    if (!wants(args, 0)) return;
    float* diff = args.diff_src[0].as<float>();
    const double factor = factor_ * static_cast<double>(args.batch->loss_scale);
    for (int64_t row = 0; row < args.batch->n_valid; ++row) {
      const float* x = args.src[0].as<const float>() + row * k_;
      float* d = diff + row * k_;
      const int64_t target = args.src[1].as<const int64_t>()[row];
      const bool is_class = target >= 0 && target < k_;
      int64_t n_exceeding = 0;
      for (int64_t j = 0; j < k_; ++j) {
        const bool exceeds = is_class && j != target && margin_ + (static_cast<double>(x[j]) - x[target]) > 0;
        d[j] = exceeds ? static_cast<float>(factor) : 0.0f;
        n_exceeding += exceeds;
      }
      if (is_class) d[target] = static_cast<float>(-factor * static_cast<double>(n_exceeding));
    }
    clear_padding(n_, k_, args.batch->n_valid, diff);
  }

 private:
  int64_t n_, k_;
  double margin_, factor_ = 1;
};

}  // namespace

std::unique_ptr<Op> make_hinge_loss(const OpConfig&, const HingeLossDesc& desc) {
  if (desc.prediction.shape.without_front().n_elements() > 1) return std::make_unique<MultiClassHinge>(desc);
  return std::make_unique<OneScoreLoss>(
      desc.prediction, OneScoreLoss::Rule{desc.margin, false, false, desc.signs, desc.weight});
}

std::unique_ptr<Op> make_perceptron_loss(const OpConfig&, const PerceptronLossDesc& desc) {
  return std::make_unique<OneScoreLoss>(
      desc.prediction, OneScoreLoss::Rule{0.0, !desc.zero_is_positive, true, desc.signs, desc.weight, true});
}

}  // namespace lockstep::cpu
