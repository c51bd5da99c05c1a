// Naive float64 activations and their derivatives; the derivative is written in terms of the
// input here (Lockstep uses the output), so that the two agree only if both are right.
#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/activation.h"

namespace lockstep::reference {

inline double activate(Activation activation, double x) {
  switch (activation) {
    case Activation::kNone: return x;
    case Activation::kRelu: return x > 0 ? x : 0;
    case Activation::kTanh: return std::tanh(x);
    case Activation::kSigmoid: return 1 / (1 + std::exp(-x));
    case Activation::kRelu6: return std::min(std::max(x, 0.0), 6.0);
  }
  return NAN;
}

inline double derivative(Activation activation, double x) {
  switch (activation) {
    case Activation::kNone: return 1;
    case Activation::kRelu: return x > 0 ? 1 : 0;
    case Activation::kTanh: return 1 / (std::cosh(x) * std::cosh(x));
    case Activation::kSigmoid: return std::exp(-x) / ((1 + std::exp(-x)) * (1 + std::exp(-x)));
    case Activation::kRelu6: return x > 0 && x < 6 ? 1 : 0;
  }
  return NAN;
}

inline std::vector<double> activation_forward(Activation activation, std::vector<double> x) {
  for (double& value : x) value = activate(activation, value);
  return x;
}

/// diff_dst * f'(x)
inline std::vector<double> activation_backward(Activation activation, const std::vector<double>& x,
                                               std::vector<double> diff_dst) {
  for (size_t i = 0; i < x.size(); ++i) diff_dst[i] *= derivative(activation, x[i]);
  return diff_dst;
}

}  // namespace lockstep::reference
