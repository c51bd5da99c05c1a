// Losses that are sums over the elements of a row: L1, L2, binary cross-entropy. Sums run in float64,
// element j in lane j % 16, lanes added as a tree, rows in order: bits depend on the shape alone.
#include "kernels/backend.h"
#include "kernels/cpu/loss_result.h"
#include "kernels/cpu/softmax_rows.h"
#include "kernels/cpu/vector_math.h"

namespace lockstep::cpu {

namespace {

// Of a row (k): the sum of the loss, without factors.

LOCKSTEP_VECTORIZE double squared_distance(int64_t k, const float* x, const float* t) {
  return lane_sum(k, [=](int64_t j) LOCKSTEP_INLINE_LAMBDA {
    const double d = static_cast<double>(x[j]) - t[j];
    return d * d;
  });
}
LOCKSTEP_VECTORIZE double distance(int64_t k, const float* x, const float* t) {
  return lane_sum(k, [=](int64_t j) LOCKSTEP_INLINE_LAMBDA {
    const double d = static_cast<double>(x[j]) - t[j];
    return d < 0 ? -d : d;
  });
}
/// max(x, 0) - x t + log(1 + exp(-|x|))
LOCKSTEP_VECTORIZE double bernoulli_loss(int64_t k, const float* x, const float* t) {
  return lane_sum(k, [=](int64_t j) LOCKSTEP_INLINE_LAMBDA {
    const float v = x[j], negative = v > 0.0f ? -v : v;
    const double linear = (v > 0.0f ? static_cast<double>(v) : 0.0) - static_cast<double>(v) * t[j];
    return linear + log1p_of_unit(exp_nonpositive(negative));
  });
}
LOCKSTEP_VECTORIZE double n_agreeing(int64_t k, const float* x, const float* t) {
  return lane_sum(
      k, [=](int64_t j) LOCKSTEP_INLINE_LAMBDA { return (x[j] > 0.0f) == (t[j] > 0.5f) ? 1.0 : 0.0; });
}

// Gradients with respect to x, times a factor.

LOCKSTEP_VECTORIZE void difference(int64_t n, float factor, const float* x, const float* t, float* diff) {
  for (int64_t i = 0; i < n; ++i) diff[i] = factor * (x[i] - t[i]);
}
LOCKSTEP_VECTORIZE void sign_of_difference(int64_t n, float factor, const float* x, const float* t,
                                           float* diff) {
  for (int64_t i = 0; i < n; ++i) {
    const float d = x[i] - t[i];
    diff[i] = d > 0.0f ? factor : d < 0.0f ? -factor : factor * d;  // 0, and NaN stays NaN
  }
}
LOCKSTEP_VECTORIZE void bernoulli_gradient(int64_t n, float factor, const float* x, const float* t,
                                           float* diff) {
  for (int64_t i = 0; i < n; ++i) diff[i] = factor * (sigmoid(x[i]) - t[i]);
}

struct Formula {
  double (*loss)(int64_t k, const float* x, const float* t);
  void (*gradient)(int64_t n, float factor, const float* x, const float* t, float* diff);
  double (*n_correct)(int64_t k, const float* x, const float* t) = nullptr;  // null: no accuracy
  bool symmetric = false;  // gradient(t, x) is the one with respect to t
};

class ElementwiseLoss : public Op {
 public:
  /// loss_factor, gradient_factor: of the formulas.
  ElementwiseLoss(const TensorDesc& prediction, const Formula& formula, double loss_factor,
                  double gradient_factor)
      : formula_(formula),
        n_(prediction.shape[0]),
        k_(prediction.shape.without_front().n_elements()),
        loss_factor_(loss_factor),
        gradient_factor_(static_cast<float>(gradient_factor)) {
    info_.src = {prediction.dense(), prediction.dense()};
    info_.dst = {loss_desc()};
    info_.backward_needs_dst = false;
  }

  void forward(Stream&, const OpArgs& args) override {
    const float *x = args.src[0].as<const float>(), *t = args.src[1].as<const float>();
    const int64_t n_valid = args.batch->n_valid;
    double sum = 0.0, n_correct = 0.0;
    for (int64_t row = 0; row < n_valid; ++row) {
      sum += formula_.loss(k_, x + row * k_, t + row * k_);
      if (formula_.n_correct) n_correct += formula_.n_correct(k_, x + row * k_, t + row * k_);
    }
    const double n_rows = static_cast<double>(n_valid);
    const double n_counted = formula_.n_correct ? n_rows * static_cast<double>(k_) : n_rows;
    write_loss(args, {loss_factor_ * sum, n_correct, n_counted, n_rows});
  }

  void backward(Stream&, const OpArgs& args) override {
    const float *x = args.src[0].as<const float>(), *t = args.src[1].as<const float>();
    const int64_t n_valid = args.batch->n_valid;
    const float factor = gradient_factor_ * args.batch->loss_scale;
    const float* operands[2][2] = {{x, t}, {t, x}};
    for (size_t i = 0; i < (formula_.symmetric ? 2 : 1); ++i) {
      if (!wants(args, i)) continue;
      float* diff = args.diff_src[i].as<float>();
      formula_.gradient(n_valid * k_, factor, operands[i][0], operands[i][1], diff);
      clear_padding(n_, k_, n_valid, diff);
    }
  }

 private:
  Formula formula_;
  int64_t n_, k_;
  double loss_factor_;
  float gradient_factor_;
};

/// weight, over the elements of a row if `mean`.
double factor_of(const TensorDesc& prediction, bool mean, double weight) {
  return mean ? weight / static_cast<double>(prediction.shape.without_front().n_elements()) : weight;
}

}  // namespace

std::unique_ptr<Op> make_l2_loss(const OpConfig&, const L2LossDesc& desc) {
  const double factor = (desc.half ? 0.5 : 1.0) * factor_of(desc.prediction, desc.mean, desc.weight);
  const Formula formula{squared_distance, difference, nullptr, true};
  return std::make_unique<ElementwiseLoss>(desc.prediction, formula, factor, 2.0 * factor);
}

std::unique_ptr<Op> make_l1_loss(const OpConfig&, const L1LossDesc& desc) {
  const double factor = factor_of(desc.prediction, desc.mean, desc.weight);
  const Formula formula{distance, sign_of_difference, nullptr, true};
  return std::make_unique<ElementwiseLoss>(desc.prediction, formula, factor, factor);
}

std::unique_ptr<Op> make_binary_cross_entropy(const OpConfig&, const BinaryCrossEntropyDesc& desc) {
  const double factor = factor_of(desc.prediction, desc.mean, desc.weight);
  const Formula formula{bernoulli_loss, bernoulli_gradient, n_agreeing};
  return std::make_unique<ElementwiseLoss>(desc.prediction, formula, factor, factor);
}

}  // namespace lockstep::cpu
