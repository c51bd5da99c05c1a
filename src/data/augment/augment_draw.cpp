#include "src/data/augment/augment_draw.h"

#include <cmath>

namespace lockstep {

Affine Affine::after(const Affine& first) const {
  const Affine& g = first;
  return {a * g.a + b * g.d, a * g.b + b * g.e, a * g.c + b * g.f + c,
          d * g.a + e * g.d, d * g.b + e * g.e, d * g.c + e * g.f + f};
}

Affine Affine::inverse() const {
  const double det = a * e - b * d;
  const Affine linear{e / det, -b / det, 0, -d / det, a / det, 0};
  return {linear.a, linear.b, -(linear.a * c + linear.b * f),
          linear.d, linear.e, -(linear.d * c + linear.e * f)};
}

double AugmentDraw::uniform(double from, double to) {
  return from + (to - from) * (random_.bits(index_++) * 0x1p-32);
}
double AugmentDraw::log_uniform(double from, double to) {
  return std::exp(uniform(std::log(from), std::log(to)));
}
int64_t AugmentDraw::whole(int64_t n) {
  return static_cast<int64_t>(static_cast<uint64_t>(random_.bits(index_++)) * static_cast<uint64_t>(n) >> 32);
}

void AugmentDraw::move(const Affine& to_before, Extents after) {
  to_source_ = to_source_.after(to_before);
  extents = after;
}

void AugmentDraw::mix(const ColourMatrix& mixing, const std::array<double, 3>& offset) {
  const ColourMatrix before = mixing_;
  const std::array<double, 3> offset_before = offset_;
  for (size_t i = 0; i < 3; ++i) {
    offset_[i] = offset[i];
    for (size_t j = 0; j < 3; ++j) {
      offset_[i] += mixing[i][j] * offset_before[j];
      mixing_[i][j] = 0;
      for (size_t k = 0; k < 3; ++k) mixing_[i][j] += mixing[i][k] * before[k][j];
    }
  }
  record.alters = 1;
}

AugmentRecord AugmentDraw::finish() const {
  AugmentRecord r = record;
  const Affine& m = to_source_;
  const double matrix[2][3] = {{m.a, m.b, m.c}, {m.d, m.e, m.f}};
  for (size_t i = 0; i < 2; ++i)
    for (size_t j = 0; j < 3; ++j) r.matrix[i][j] = static_cast<float>(matrix[i][j]);
  for (size_t i = 0; i < 3; ++i) {
    r.offset[i] = static_cast<float>(offset_[i]);
    for (size_t j = 0; j < 3; ++j) r.mixing[i][j] = static_cast<float>(mixing_[i][j]);
  }
  // Where the first pixel comes from: whole numbers, and then so do all others.
  const auto first = [](double sign, double shift, int64_t stored, int64_t after) {
    return (static_cast<double>(stored) - 1) / 2 + shift - sign * (static_cast<double>(after) - 1) / 2;
  };
  const double column = first(m.a, m.c, stored_.width, extents.width);
  const double row = first(m.e, m.f, stored_.height, extents.height);
  r.copies = std::abs(m.a) == 1 && std::abs(m.e) == 1 && m.b == 0 && m.d == 0 && r.radial == 0 &&
             column == std::floor(column) && row == std::floor(row);
  if (r.vignette != 0 || r.noise != 0) r.alters = 1;
  return r;
}

}  // namespace lockstep
