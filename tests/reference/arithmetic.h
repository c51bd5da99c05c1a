// Naive float64 arithmetic with broadcasting: every element of dst finds its sources by coordinates.
#pragma once

#include <cmath>

#include "kernels/arithmetic.h"
#include "tests/reference/concat.h"

namespace lockstep::reference {

struct Binary {
  Arithmetic arithmetic;
  Shape a_shape, b_shape, dst_shape;  // with samples in front
  std::vector<double> a, b;

  /// Position of the element that dst's coordinates `at` read in a value of this shape.
  static size_t source(const Shape& shape, const std::vector<int64_t>& at) {
    std::vector<int64_t> own(static_cast<size_t>(shape.rank()));
    own[0] = at[0];
    for (int i = 1; i < shape.rank(); ++i) {
      const int64_t index = at[at.size() - static_cast<size_t>(shape.rank() - i)];
      own[static_cast<size_t>(i)] = shape[i] == 1 ? 0 : index;
    }
    return static_cast<size_t>(position(shape, own));
  }

  std::vector<double> forward() const {
    std::vector<double> dst;
    for_each_element(dst_shape, [&](const std::vector<int64_t>& at) {
      const double x = a[source(a_shape, at)], y = b[source(b_shape, at)];
      switch (arithmetic) {
        case Arithmetic::kAdd: return dst.push_back(x + y);
        case Arithmetic::kSubtract: return dst.push_back(x - y);
        case Arithmetic::kMultiply: return dst.push_back(x * y);
        case Arithmetic::kDivide: return dst.push_back(x / y);
      }
    });
    return dst;
  }

  void backward(const std::vector<double>& diff_dst, std::vector<double>& diff_a,
                std::vector<double>& diff_b) const {
    diff_a.assign(a.size(), 0);
    diff_b.assign(b.size(), 0);
    size_t next = 0;
    for_each_element(dst_shape, [&](const std::vector<int64_t>& at) {
      const size_t i = source(a_shape, at), j = source(b_shape, at);
      const double g = diff_dst[next++];
      const bool product = arithmetic == Arithmetic::kMultiply, quotient = arithmetic == Arithmetic::kDivide;
      diff_a[i] += product ? g * b[j] : quotient ? g / b[j] : g;
      diff_b[j] += product                               ? g * a[i]
                   : quotient                            ? -g * a[i] / (b[j] * b[j])
                   : arithmetic == Arithmetic::kSubtract ? -g
                                                         : g;
    });
  }
};

inline double map_value(Map map, double c, double x) {
  switch (map) {
    case Map::kScale: return c * x;
    case Map::kShift: return x + c;
    case Map::kPower: return std::pow(x, c);
    case Map::kAbsolute: return std::abs(x);
    case Map::kSquareRoot: return std::sqrt(x);
    case Map::kLog: return std::log(x);
    case Map::kExp: return std::exp(x);
  }
  return 0;
}
inline double map_slope(Map map, double c, double x) {
  switch (map) {
    case Map::kScale: return c;
    case Map::kShift: return 1;
    case Map::kPower: return c * std::pow(x, c - 1);
    case Map::kAbsolute: return x > 0 ? 1 : x < 0 ? -1 : 0;
    case Map::kSquareRoot: return 0.5 / std::sqrt(x);
    case Map::kLog: return 1 / x;
    case Map::kExp: return std::exp(x);
  }
  return 0;
}

}  // namespace lockstep::reference
