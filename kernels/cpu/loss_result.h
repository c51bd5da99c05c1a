// How loss ops of the CPU close: what they leave in dst[0], and gradients of padding.
#pragma once

#include <cstring>

#include "kernels/loss.h"

namespace lockstep::cpu {

struct LossSums {
  double loss = 0, n_correct = 0, n_counted = 0, weight_sum = 0;

  LossSums& operator+=(const LossSums& other) {
    loss += other.loss;
    n_correct += other.n_correct;
    n_counted += other.n_counted;
    weight_sum += other.weight_sum;
    return *this;
  }
};

inline TensorDesc loss_desc() { return {Shape{kLossValues}, DType::kFloat64, nullptr}; }

inline void write_loss(const OpArgs& args, const LossSums& sums) {
  double* dst = args.dst[0].as<double>();
  dst[kLossSum] = sums.loss;
  dst[kNCorrect] = sums.n_correct;
  dst[kNCounted] = sums.n_counted;
  dst[kWeightSum] = sums.weight_sum;
}

/// diff (n, k) = 0 from row n_valid on.
inline void clear_padding(int64_t n, int64_t k, int64_t n_valid, float* diff) {
  std::memset(diff + n_valid * k, 0, static_cast<size_t>((n - n_valid) * k) * sizeof(float));
}

/// Whether a gradient of source i is wanted.
inline bool wants(const OpArgs& args, size_t i) {
  return i < args.diff_src.size() && !args.diff_src[i].empty();
}

}  // namespace lockstep::cpu
