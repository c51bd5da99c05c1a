// Naive float64 recurrent cells, one sample after another, by the equations of kernels/recurrent.h.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "kernels/recurrent.h"

namespace lockstep::reference {

struct Recurrent {
  RecurrentDesc desc;
  std::vector<double> x, h0, c0;  // h0, c0 empty: 0
  std::vector<int64_t> lengths;   // of all rows
  std::vector<double> weight_ih, weight_hh, bias_ih, bias_hh, peephole;

  struct Result {
    std::vector<double> y, h_n, c_n;
  };
  Result forward() const {
    const int64_t n = desc.src.shape[0], steps = desc.src.shape[1], hidden = desc.hidden;
    Result result{std::vector<double>(n * steps * hidden), std::vector<double>(n * hidden),
                  std::vector<double>(n * hidden)};
    for (int64_t row = 0; row < n; ++row) {
      std::vector<double> h(hidden), c(hidden);
      for (int64_t j = 0; j < hidden; ++j) {
        if (!h0.empty()) h[j] = h0[row * hidden + j];
        if (!c0.empty()) c[j] = c0[row * hidden + j];
      }
      for (int64_t i = 0; i < lengths[row]; ++i) {
        const int64_t t = desc.reversed ? lengths[row] - 1 - i : i;
        step(x.data() + (row * steps + t) * desc.src.shape[2], h, c);
        std::copy(h.begin(), h.end(), result.y.begin() + (row * steps + t) * hidden);
      }
      std::copy(h.begin(), h.end(), result.h_n.begin() + row * hidden);
      std::copy(c.begin(), c.end(), result.c_n.begin() + row * hidden);
    }
    return result;
  }

 private:
  static double sigmoid(double a) { return 1 / (1 + std::exp(-a)); }

  /// Of gate g and unit j: W x + b, and U h + d.
  double of_src(int64_t g, int64_t j, const double* x_t) const {
    const int64_t row = g * desc.hidden + j, in = desc.src.shape[2];
    double sum = bias_ih.empty() ? 0 : bias_ih[row];
    for (int64_t k = 0; k < in; ++k) sum += weight_ih[row * in + k] * x_t[k];
    return sum;
  }
  double of_hidden(int64_t g, int64_t j, const std::vector<double>& h) const {
    const int64_t row = g * desc.hidden + j;
    double sum = bias_hh.empty() ? 0 : bias_hh[row];
    for (int64_t k = 0; k < desc.hidden; ++k) sum += weight_hh[row * desc.hidden + k] * h[k];
    return sum;
  }

  void step(const double* x_t, std::vector<double>& h, std::vector<double>& c) const {
    const int64_t hidden = desc.hidden;
    const auto sum = [&](int64_t g, int64_t j, const std::vector<double>& of) {
      return of_src(g, j, x_t) + of_hidden(g, j, of);
    };
    std::vector<double> next(hidden), next_c = c, gated(hidden);
    for (int64_t j = 0; j < hidden; ++j)
      if (desc.cell == RecurrentCell::kGru) gated[j] = sigmoid(sum(0, j, h)) * h[j];
    for (int64_t j = 0; j < hidden; ++j) {
      switch (desc.cell) {
        case RecurrentCell::kRnnTanh: next[j] = std::tanh(sum(0, j, h)); break;
        case RecurrentCell::kRnnRelu: next[j] = std::max(0.0, sum(0, j, h)); break;
        case RecurrentCell::kLstm:
          next_c[j] = sigmoid(sum(1, j, h)) * c[j] + sigmoid(sum(0, j, h)) * std::tanh(sum(2, j, h));
          next[j] = sigmoid(sum(3, j, h)) * std::tanh(next_c[j]);
          break;
        case RecurrentCell::kLstmPeephole:
          next_c[j] = sigmoid(sum(1, j, h) + peephole[hidden + j] * c[j]) * c[j] +
                      sigmoid(sum(0, j, h) + peephole[j] * c[j]) * std::tanh(sum(2, j, h));
          next[j] = sigmoid(sum(3, j, h) + peephole[2 * hidden + j] * next_c[j]) * std::tanh(next_c[j]);
          break;
        case RecurrentCell::kLstmCoupled: {
          const double f = sigmoid(sum(0, j, h));
          next_c[j] = f * c[j] + (1 - f) * std::tanh(sum(1, j, h));
          next[j] = sigmoid(sum(2, j, h)) * std::tanh(next_c[j]);
          break;
        }
        case RecurrentCell::kGru: {
          const double z = sigmoid(sum(1, j, h));
          const double n = desc.reset_after
                               ? std::tanh(of_src(2, j, x_t) + sigmoid(sum(0, j, h)) * of_hidden(2, j, h))
                               : std::tanh(sum(2, j, gated));
          next[j] = desc.update_keeps ? z * h[j] + (1 - z) * n : (1 - z) * h[j] + z * n;
          break;
        }
      }
    }
    h = next;
    c = next_c;
  }
};

}  // namespace lockstep::reference
