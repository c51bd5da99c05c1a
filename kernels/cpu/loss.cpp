// Losses on the CPU. Rows are cut into blocks of 16 columns; sums run in float64, column j in
// lane j % 16, lanes added as a tree, rows in order: bits depend on the shape alone.
#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

#include "kernels/backend.h"
#include "kernels/cpu/vectorize.h"

namespace lockstep::cpu {

namespace {

constexpr int kLanes = 16;
constexpr int64_t kParallelElements = 1 << 15;  // below, a second thread costs more than it brings

/// exp(x) for x <= 0 to about 1 ulp; 0 below -87.33, where float32 leaves its normal range.
/// x = n ln 2 + r, |r| <= ln 2 / 2; exp(r) by its Taylor polynomial, 2^n by the exponent bits.
/// (libm's function would be called once per element and may differ between hosts.)
LOCKSTEP_INLINE float exp_nonpositive(float x) {
  constexpr float kMagic = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer
  const float shifted = x * 1.44269504f + kMagic;
  const float n = shifted - kMagic;
  const float r = (x - n * 0.693359375f) - n * -2.12194440e-4f;  // ln 2 in two parts (Cody and Waite)
  float p = 1.0f / 5040;
  p = p * r + 1.0f / 720;
  p = p * r + 1.0f / 120;
  p = p * r + 1.0f / 24;
  p = p * r + 1.0f / 6;
  p = p * r + 0.5f;
  p = p * r * r + r + 1.0f;
  const uint32_t power = (std::bit_cast<uint32_t>(shifted) << 23) + 0x3F800000u;
  const float y = p * std::bit_cast<float>(power);
  return x < -87.33f ? 0.0f : y;  // NaN stays NaN
}

template <typename T>
LOCKSTEP_INLINE T tree_sum(T* lanes) {
  for (int width = kLanes / 2; width > 0; width /= 2)
    for (int lane = 0; lane < width; ++lane) lanes[lane] += lanes[lane + width];
  return lanes[0];
}

/// The largest of k >= 1 values; any value if one of them is NaN.
LOCKSTEP_VECTORIZE float row_maximum(int64_t k, const float* x) {
  float lanes[kLanes];
  for (int lane = 0; lane < kLanes; ++lane) lanes[lane] = x[0];
  int64_t j = 0;
  for (; j + kLanes <= k; j += kLanes)
    for (int lane = 0; lane < kLanes; ++lane)
      lanes[lane] = x[j + lane] > lanes[lane] ? x[j + lane] : lanes[lane];
  for (; j < k; ++j) lanes[0] = x[j] > lanes[0] ? x[j] : lanes[0];
  for (int width = kLanes / 2; width > 0; width /= 2)
    for (int lane = 0; lane < width; ++lane)
      lanes[lane] = lanes[lane + width] > lanes[lane] ? lanes[lane + width] : lanes[lane];
  return lanes[0];
}

/// Adds exp(x_j - maximum) of one block of 16; kStore also writes them to e.
template <bool kStore>
LOCKSTEP_INLINE void exponential_block(const float* x, float maximum, double* lanes, float* e) {
  float value[kLanes];
  for (int lane = 0; lane < kLanes; ++lane) value[lane] = exp_nonpositive(x[lane] - maximum);
  for (int lane = 0; lane < kLanes; ++lane) lanes[lane] += value[lane];
  if constexpr (kStore) std::memcpy(e, value, sizeof(value));
}

/// sum_j exp(x_j - maximum); kStore: also each term, to e (k).
template <bool kStore>
LOCKSTEP_INLINE double exponential_sum(int64_t k, const float* x, float maximum, float* e) {
  double lanes[kLanes] = {};
  int64_t j = 0;
  for (; j + kLanes <= k; j += kLanes) exponential_block<kStore>(x + j, maximum, lanes, e + (kStore ? j : 0));
  if (j < k) {  // the rest, filled up with exp(-inf) = 0
    float rest[kLanes], terms[kLanes];
    for (float& r : rest) r = -std::numeric_limits<float>::infinity();
    std::memcpy(rest, x + j, static_cast<size_t>(k - j) * sizeof(float));
    exponential_block<kStore>(rest, maximum, lanes, terms);
    if constexpr (kStore) std::memcpy(e + j, terms, static_cast<size_t>(k - j) * sizeof(float));
  }
  return tree_sum(lanes);
}

LOCKSTEP_VECTORIZE double exponentials(int64_t k, const float* x, float maximum, float* e) {
  return exponential_sum<true>(k, x, maximum, e);
}
LOCKSTEP_VECTORIZE double sum_of_exponentials(int64_t k, const float* x, float maximum) {
  return exponential_sum<false>(k, x, maximum, nullptr);
}
LOCKSTEP_VECTORIZE void scale(int64_t k, float factor, float* x) {
  for (int64_t j = 0; j < k; ++j) x[j] *= factor;
}

/// True if element `target` is the first maximum.
LOCKSTEP_VECTORIZE bool is_first_maximum(int64_t target, const float* x, float maximum) {
  if (x[target] != maximum) return false;
  int earlier = 0;
  for (int64_t j = 0; j < target; ++j) earlier |= x[j] == maximum;
  return earlier == 0;
}

void write_result(const OpArgs& args, double loss, double n_correct) {
  double* dst = args.dst[0].as<double>();
  std::fill_n(dst, static_cast<int>(kLossValues), 0.0);
  dst[kLossSum] = loss;
  dst[kNCorrect] = n_correct;
  dst[kNCounted] = static_cast<double>(args.batch->n_valid);
}

class SoftmaxCrossEntropy : public Op {
 public:
  SoftmaxCrossEntropy(const OpConfig& config, const TensorDesc& prediction)
      : n_(prediction.shape[0]), k_(prediction.shape[1]), training_(config.training) {
    info_.src = {prediction.dense(), {Shape{n_}, DType::kInt64, nullptr}};
    info_.dst = {{Shape{kLossValues}, DType::kFloat64, nullptr}};
    // The workspace keeps softmax - onehot, so that backward needs no source.
    info_.workspace_bytes = training_ ? n_ * k_ * static_cast<int64_t>(sizeof(float)) : 0;
    info_.scratchpad_bytes = n_ * static_cast<int64_t>(sizeof(Row));
    info_.backward_needs_src = false;
    info_.backward_needs_dst = false;
  }

  void forward(Stream&, const OpArgs& args) override {
    const int64_t n_valid = args.batch->n_valid;
    Row* rows = reinterpret_cast<Row*>(args.scratchpad);
#pragma omp parallel for schedule(static) if (n_valid * k_ >= kParallelElements)
    for (int64_t row = 0; row < n_valid; ++row) rows[row] = forward_row(args, row);

    double loss = 0.0, n_correct = 0.0;
    for (int64_t row = 0; row < n_valid; ++row) {
      loss += rows[row].loss;
      n_correct += rows[row].correct;
    }
    write_result(args, loss, n_correct);
  }

  void backward(Stream&, const OpArgs& args) override {
    if (args.diff_src[0].empty()) return;
    float* diff = args.diff_src[0].as<float>();
    const size_t row_bytes = static_cast<size_t>(k_) * sizeof(float);
    const size_t n_valid = static_cast<size_t>(args.batch->n_valid), n = static_cast<size_t>(n_);
    std::memcpy(diff, args.workspace, n_valid * row_bytes);
    std::memset(diff + n_valid * static_cast<size_t>(k_), 0, (n - n_valid) * row_bytes);
  }

 private:
  struct Row {
    double loss, correct;
  };

  Row forward_row(const OpArgs& args, int64_t row) const {
    const float* x = args.src[0].as<const float>() + row * k_;
    const int64_t target = args.src[1].as<const int64_t>()[row];
    const float maximum = row_maximum(k_, x);
    double sum;
    if (training_) {
      float* softmax = reinterpret_cast<float*>(args.workspace) + row * k_;
      sum = exponentials(k_, x, maximum, softmax);
      scale(k_, static_cast<float>(1.0 / sum), softmax);
      if (target >= 0 && target < k_) softmax[target] -= 1.0f;
    } else {
      sum = sum_of_exponentials(k_, x, maximum);
    }
    // The loader refuses labels outside; one that comes here is a bug, which must show.
    if (target < 0 || target >= k_) return {std::numeric_limits<double>::quiet_NaN(), 0.0};
    return {std::log(sum) - (static_cast<double>(x[target]) - maximum),
            is_first_maximum(target, x, maximum) ? 1.0 : 0.0};
  }

  int64_t n_, k_;
  bool training_;
};

LOCKSTEP_VECTORIZE double squared_distance(int64_t k, const float* a, const float* b) {
  double lanes[kLanes] = {};
  int64_t j = 0;
  for (; j + kLanes <= k; j += kLanes)
    for (int lane = 0; lane < kLanes; ++lane) {
      const double d = static_cast<double>(a[j + lane]) - b[j + lane];
      lanes[lane] += d * d;
    }
  for (int lane = 0; j + lane < k; ++lane) {
    const double d = static_cast<double>(a[j + lane]) - b[j + lane];
    lanes[lane] += d * d;
  }
  return tree_sum(lanes);
}

LOCKSTEP_VECTORIZE void scaled_difference(int64_t n, float factor, const float* a, const float* b,
                                          float* dst) {
  for (int64_t i = 0; i < n; ++i) dst[i] = factor * (a[i] - b[i]);
}

class L2Loss : public Op {
 public:
  explicit L2Loss(const L2LossDesc& desc)
      : n_(desc.prediction.shape[0]), k_(desc.prediction.shape.without_front().n_elements()) {
    factor_ = (desc.half ? 0.5 : 1.0) / (desc.mean ? static_cast<double>(k_) : 1.0);
    info_.src = {desc.prediction.dense(), desc.prediction.dense()};
    info_.dst = {{Shape{kLossValues}, DType::kFloat64, nullptr}};
    info_.backward_needs_dst = false;
  }

  void forward(Stream&, const OpArgs& args) override {
    const float *prediction = args.src[0].as<const float>(), *target = args.src[1].as<const float>();
    double sum = 0.0;
    for (int64_t row = 0; row < args.batch->n_valid; ++row)
      sum += squared_distance(k_, prediction + row * k_, target + row * k_);
    write_result(args, factor_ * sum, 0.0);
  }

  void backward(Stream&, const OpArgs& args) override {
    const float *prediction = args.src[0].as<const float>(), *target = args.src[1].as<const float>();
    const int64_t n_valid = args.batch->n_valid * k_, n = n_ * k_;
    const float factor = static_cast<float>(2.0 * factor_);
    const float* operand[2][2] = {{prediction, target}, {target, prediction}};
    for (size_t i = 0; i < args.diff_src.size() && i < 2; ++i) {
      if (args.diff_src[i].empty()) continue;
      float* diff = args.diff_src[i].as<float>();
      scaled_difference(n_valid, factor, operand[i][0], operand[i][1], diff);
      std::memset(diff + n_valid, 0, static_cast<size_t>(n - n_valid) * sizeof(float));
    }
  }

 private:
  int64_t n_, k_;
  double factor_;
};

}  // namespace

std::unique_ptr<Op> make_softmax_cross_entropy(const OpConfig& config, const TensorDesc& prediction) {
  return std::make_unique<SoftmaxCrossEntropy>(config, prediction);
}

std::unique_ptr<Op> make_l2_loss(const OpConfig&, const L2LossDesc& desc) {
  return std::make_unique<L2Loss>(desc);
}

}  // namespace lockstep::cpu
