// Optimizer updates in float64, element by element, as the papers state them.
#pragma once

#include <cmath>
#include <cstdint>
#include <vector>

#include "kernels/optimizer_update.h"

namespace lockstep::reference {

inline void sgd_update(const SgdUpdate& rule, const std::vector<double>& grad, std::vector<double>& weights,
                       std::vector<double>& velocity) {
  for (size_t i = 0; i < grad.size(); ++i) {
    const double g = grad[i] * rule.grad_scale + rule.weight_decay * weights[i];
    velocity[i] = rule.momentum * velocity[i] + g;
    weights[i] -= rule.lr * (rule.nesterov ? g + rule.momentum * velocity[i] : velocity[i]);
  }
}

inline void adam_update(const AdamUpdate& rule, const std::vector<double>& grad, std::vector<double>& weights,
                        std::vector<double>& m, std::vector<double>& v) {
  const double beta1 = rule.beta1, beta2 = rule.beta2, t = static_cast<double>(rule.step);
  for (size_t i = 0; i < grad.size(); ++i) {
    double g = grad[i] * rule.grad_scale;
    if (rule.decoupled)
      weights[i] -= static_cast<double>(rule.lr) * rule.weight_decay * weights[i];
    else
      g += rule.weight_decay * weights[i];
    m[i] = beta1 * m[i] + (1 - beta1) * g;
    v[i] = beta2 * v[i] + (1 - beta2) * g * g;
    const double corrected_m = m[i] / (1 - std::pow(beta1, t)), corrected_v = v[i] / (1 - std::pow(beta2, t));
    weights[i] -= rule.lr * corrected_m / (std::sqrt(corrected_v) + rule.epsilon);
  }
}

}  // namespace lockstep::reference
