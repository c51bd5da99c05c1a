// Naive float64 activations with a parameter, and their derivatives in terms of the input.
#pragma once

#include <cmath>
#include <numbers>
#include <vector>

#include "kernels/nonlinearity.h"

namespace lockstep::reference {

inline double nonlinear(Nonlinearity function, double alpha, double x) {
  switch (function) {
    case Nonlinearity::kSign: return x > 0 ? 1 : x < 0 ? -1 : alpha;
    case Nonlinearity::kLeakyRelu: return x > 0 ? x : alpha * x;
    case Nonlinearity::kElu: return x > 0 ? x : alpha * std::expm1(x);
    case Nonlinearity::kGelu: return x * 0.5 * std::erfc(-x / std::numbers::sqrt2);
    case Nonlinearity::kGeluTanh:
      return 0.5 * x * (1 + std::tanh(std::sqrt(2 / std::numbers::pi) * (x + 0.044715 * x * x * x)));
  }
  return NAN;
}

inline double nonlinear_derivative(Nonlinearity function, double alpha, double x) {
  switch (function) {
    case Nonlinearity::kSign: return 0;
    case Nonlinearity::kLeakyRelu: return x > 0 ? 1 : alpha;
    case Nonlinearity::kElu: return x > 0 ? 1 : alpha * std::exp(x);
    case Nonlinearity::kGelu:
      return 0.5 * std::erfc(-x / std::numbers::sqrt2) +
             x * std::exp(-x * x / 2) / std::sqrt(2 * std::numbers::pi);
    case Nonlinearity::kGeluTanh: {
      const double root = std::sqrt(2 / std::numbers::pi);
      const double t = std::tanh(root * (x + 0.044715 * x * x * x));
      return 0.5 * (1 + t) + 0.5 * x * (1 - t * t) * root * (1 + 3 * 0.044715 * x * x);
    }
  }
  return NAN;
}

}  // namespace lockstep::reference
