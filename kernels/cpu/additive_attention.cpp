// Additive attention on the CPU, row by row: one row's keys and values stay in the caches from the scores to
// the context. Sums over features run in 16 lanes (softmax_rows.h), those over steps in order.
#include "kernels/additive_attention.h"

#include <algorithm>

#include "kernels/backend.h"
#include "kernels/cpu/softmax_rows.h"
#include "kernels/cpu/through_float32.h"
#include "kernels/cpu/valid_lengths.h"
#include "kernels/cpu/vector_math.h"

namespace lockstep::cpu {

namespace {

LOCKSTEP_VECTORIZE void tanh_of_sum(int64_t n, const float* a, const float* b, float* dst) {
  for (int64_t i = 0; i < n; ++i) dst[i] = tanh(a[i] + b[i]);
}
LOCKSTEP_VECTORIZE double dot_of(int64_t n, const float* a, const float* b) {
  return lane_sum(n, [=](int64_t i) LOCKSTEP_INLINE_LAMBDA { return static_cast<double>(a[i]) * b[i]; });
}
LOCKSTEP_VECTORIZE void add_scaled(int64_t n, float factor, const float* a, float* dst) {
  for (int64_t i = 0; i < n; ++i) dst[i] += factor * a[i];
}
LOCKSTEP_VECTORIZE void scaled_row(int64_t n, float factor, const float* a, float* dst) {
  for (int64_t i = 0; i < n; ++i) dst[i] = factor * a[i];
}
/// diff_sum = diff_score v (1 - u^2), summed into diff_query too; diff_v += diff_score u.
LOCKSTEP_VECTORIZE void score_backward(int64_t n, float diff_score, const float* u, const float* v,
                                       float* diff_key, float* diff_query, float* diff_v) {
  for (int64_t i = 0; i < n; ++i) {
    const float diff = diff_score * v[i] * (1.0f - u[i] * u[i]);
    diff_key[i] = diff;
    diff_query[i] += diff;
    diff_v[i] += diff_score * u[i];
  }
}

class AdditiveAttention : public Op {
 public:
  AdditiveAttention(const AdditiveAttentionDesc& desc)
      : n_(desc.keys.shape[0]),
        steps_(desc.keys.shape[1]),
        features_(desc.keys.shape[2]),
        width_(desc.values.shape[2]) {
    info_.src = {{desc.query.shape}, {desc.keys.shape}, {desc.values.shape}};
    if (desc.has_lengths) info_.src.push_back({Shape{n_}, DType::kInt32, nullptr});
    info_.dst = {{Shape{n_, width_}}, {Shape{n_, steps_}}};
    // A row's tanh, gradients of its key, query and v where nobody wants them, and of its scores.
    row_floats_ = padded(features_) * 3 + padded(steps_);
    info_.scratchpad_bytes = n_ * (row_floats_ + padded(features_)) * 4;
  }

  void forward(Stream&, const OpArgs& args) override {
    const auto *query = args.src[0].as<const float>(), *keys = args.src[1].as<const float>(),
               *values = args.src[2].as<const float>(), *v = args.params[0].as<const float>();
    float *context = args.dst[0].as<float>(), *weights = args.dst[1].as<float>();
#pragma omp parallel for schedule(static) if (is_large())
    for (int64_t row = 0; row < n_; ++row) {
      const int64_t length = length_of(args, row);
      float* u = scratch(args, row);
      float* weight = weights + row * steps_;
      float* sum = context + row * width_;
      std::fill_n(sum, width_, 0.0f);
      std::fill(weight + length, weight + steps_, 0.0f);
      if (length == 0) continue;
      for (int64_t s = 0; s < length; ++s) {
        tanh_of_sum(features_, query + row * features_, keys + (row * steps_ + s) * features_, u);
        weight[s] = static_cast<float>(dot_of(features_, v, u));
      }
      const double total = exponentials(length, weight, row_maximum(length, weight), weight);
      scale_row(length, static_cast<float>(1.0 / total), weight);
      for (int64_t s = 0; s < length; ++s)
        add_scaled(width_, weight[s], values + (row * steps_ + s) * width_, sum);
    }
  }

  void backward(Stream&, const OpArgs& args) override {
    float* of_rows = reinterpret_cast<float*>(args.scratchpad) + n_ * row_floats_;  // (N, A): diff_v of each
#pragma omp parallel for schedule(static) if (is_large())
    for (int64_t row = 0; row < n_; ++row) row_backward(args, row, of_rows + row * padded(features_));
    float* diff_v = args.diff_params[0].as<float>();
    std::fill_n(diff_v, features_, 0.0f);
    for (int64_t row = 0; row < n_; ++row)
      add_scaled(features_, 1.0f, of_rows + row * padded(features_), diff_v);
  }

 private:
  void row_backward(const OpArgs& args, int64_t row, float* diff_v) const {
    const int64_t length = length_of(args, row), first = row * steps_;
    const float* query = args.src[0].as<const float>() + row * features_;
    const auto *keys = args.src[1].as<const float>() + first * features_,
               *v = args.params[0].as<const float>();
    const float* values = args.src[2].as<const float>() + first * width_;
    const float* weights = args.dst[1].as<const float>() + first;
    const float* diff_context = of(args.diff_dst[0], row * width_);
    const float* diff_weights = of(args.diff_dst[1], first);
    float* u = scratch(args, row);
    float* unread = u + padded(features_);
    float* diff_query =
        args.diff_src[0].empty() ? u + 2 * padded(features_) : args.diff_src[0].as<float>() + row * features_;
    float* diff_score = u + 3 * padded(features_);
    float* diff_keys = of(args.diff_src[1], first * features_);
    float* diff_values = of(args.diff_src[2], first * width_);

    std::fill_n(diff_v, features_, 0.0f);
    std::fill_n(diff_query, features_, 0.0f);
    if (diff_keys) std::fill_n(diff_keys + length * features_, (steps_ - length) * features_, 0.0f);
    if (diff_values) {
      for (int64_t s = 0; s < length; ++s) {
        if (diff_context)
          scaled_row(width_, weights[s], diff_context, diff_values + s * width_);
        else
          std::fill_n(diff_values + s * width_, width_, 0.0f);
      }
      std::fill_n(diff_values + length * width_, (steps_ - length) * width_, 0.0f);
    }
    double projection = 0;
    for (int64_t s = 0; s < length; ++s) {
      const double diff = (diff_context ? dot_of(width_, diff_context, values + s * width_) : 0.0) +
                          (diff_weights ? static_cast<double>(diff_weights[s]) : 0.0);
      diff_score[s] = static_cast<float>(diff);
      projection += diff * weights[s];
    }
    for (int64_t s = 0; s < length; ++s) {
      const float diff = weights[s] * static_cast<float>(static_cast<double>(diff_score[s]) - projection);
      tanh_of_sum(features_, query, keys + s * features_, u);
      score_backward(features_, diff, u, v, diff_keys ? diff_keys + s * features_ : unread, diff_query,
                     diff_v);
    }
  }

  static int64_t padded(int64_t n) { return (n + 15) / 16 * 16; }
  static float* of(const Tensor& tensor, int64_t offset) {
    return tensor.empty() ? nullptr : tensor.as<float>() + offset;
  }
  float* scratch(const OpArgs& args, int64_t row) const {
    return reinterpret_cast<float*>(args.scratchpad) + row * row_floats_;
  }
  int64_t length_of(const OpArgs& args, int64_t row) const {
    const int32_t* lengths = args.src.size() > 3 ? args.src[3].as<const int32_t>() : nullptr;
    return valid_length(*args.batch, lengths, steps_, row);
  }
  bool is_large() const { return n_ * steps_ * (features_ + width_) >= kParallelElements; }

  int64_t n_, steps_, features_, width_;  // N, S, A, E
  int64_t row_floats_ = 0;                // of the scratchpad
};

}  // namespace

std::unique_ptr<Op> make_additive_attention(const OpConfig& config, const AdditiveAttentionDesc& desc) {
  auto op = std::make_unique<AdditiveAttention>(desc);
  if (config.compute == DType::kBFloat16) return through_float32(std::move(op));
  return op;
}

}  // namespace lockstep::cpu
