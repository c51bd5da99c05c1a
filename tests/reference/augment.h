// Augmentation of images in float64, pixel by pixel from the definition in kernels/augment.h; the normal
// numbers by bisection of the distribution function.
#pragma once

#include <algorithm>
#include <cmath>

#include "kernels/augment.h"
#include "kernels/random.h"
#include "tests/support/op_test.h"

namespace lockstep::reference {

struct Augment {
  AugmentDesc desc;
  std::vector<AugmentRecord> records;
  Values src;

  Values forward() const {
    const Shape& d = desc.dst.shape;
    Values dst;
    for (int64_t n = 0; n < d[0]; ++n)
      for (int64_t c = 0; c < d[1]; ++c)
        for (int64_t y = 0; y < d[2]; ++y)
          for (int64_t x = 0; x < d[3]; ++x) dst.push_back(pixel(n, c, y, x));
    return dst;
  }

  static double normal(uint32_t word) {
    const double p = (2.0 * (word >> 9) + 1) / 0x1p24;
    double low = -10, high = 10;
    for (int i = 0; i < 80; ++i) {
      const double middle = (low + high) / 2;
      (std::erfc(-middle / std::sqrt(2.0)) / 2 < p ? low : high) = middle;
    }
    return low;
  }

 private:
  static double picked(const std::vector<float>& values, int64_t c, double absent) {
    return values.empty() ? absent : values.size() == 1 ? values[0] : values[static_cast<size_t>(c)];
  }
  double stored(int64_t n, int64_t c, int64_t y, int64_t x) const {
    const Shape& s = desc.src.shape;
    const auto place = [&](int64_t i, int64_t extent) {
      while (desc.border == AugmentBorder::kReflect && extent > 1 && (i < 0 || i >= extent))
        i = i < 0 ? -i : 2 * (extent - 1) - i;
      return std::clamp<int64_t>(i, 0, extent - 1);
    };
    const bool is_outside = y < 0 || y >= s[2] || x < 0 || x >= s[3];
    if (desc.border == AugmentBorder::kConstant && is_outside) return desc.fill;
    return src[static_cast<size_t>(((n * s[1] + c) * s[2] + place(y, s[2])) * s[3] + place(x, s[3]))];
  }
  double sampled(const AugmentRecord& r, int64_t n, int64_t c, double x, double y, double r2) const {
    const Shape& s = desc.src.shape;
    const double lens = 1 + r.radial * r2;
    const auto to_source = [&](int axis) {
      return r.matrix[axis][0] * x * lens + r.matrix[axis][1] * y * lens + r.matrix[axis][2];
    };
    const double column = to_source(0) + (static_cast<double>(s[3]) - 1) / 2;
    const double row = to_source(1) + (static_cast<double>(s[2]) - 1) / 2;
    const auto left = static_cast<int64_t>(std::floor(column)), top = static_cast<int64_t>(std::floor(row));
    const double right = column - std::floor(column), bottom = row - std::floor(row);
    return (1 - bottom) * ((1 - right) * stored(n, c, top, left) + right * stored(n, c, top, left + 1)) +
           bottom * ((1 - right) * stored(n, c, top + 1, left) + right * stored(n, c, top + 1, left + 1));
  }
  double pixel(int64_t n, int64_t c, int64_t row, int64_t column) const {
    const Shape& d = desc.dst.shape;
    const AugmentRecord& r = records[static_cast<size_t>(n)];
    const double mean = picked(desc.mean, c, 0), scale = picked(desc.scale, c, 1);
    if (r.is_padding) return 0;
    if (row >= r.erase_top && row < r.erase_top + r.erase_height && column >= r.erase_left &&
        column < r.erase_left + r.erase_width)
      return r.erases_to_mean ? 0 : (r.erase_value - mean) * scale;
    const double centre_x = (static_cast<double>(d[3]) - 1) / 2,
                 centre_y = (static_cast<double>(d[2]) - 1) / 2;
    const double x = static_cast<double>(column) - centre_x, y = static_cast<double>(row) - centre_y;
    const double corner = centre_x * centre_x + centre_y * centre_y;
    const double r2 = corner > 0 ? (x * x + y * y) / corner : 0;
    double value = 0;
    if (d[1] == 3) {
      for (int64_t from = 0; from < 3; ++from) value += r.mixing[c][from] * sampled(r, n, from, x, y, r2);
      value += r.offset[c];
    } else {
      value = r.mixing[0][0] * sampled(r, n, c, x, y, r2) + r.offset[0];
    }
    value *= 1 - r.vignette * r2;
    if (r.noise != 0) {
      const int64_t element = (c * d[2] + row) * ((d[3] + 3) / 4 * 4) + column;
      const auto block = static_cast<uint32_t>(element / 4);
      value += r.noise * normal(philox({r.noise_key[0], r.noise_key[1]},
                                       {block, 0, r.noise_counter[0], r.noise_counter[1]})[element % 4]);
    }
    if (r.alters && desc.src.dtype == DType::kUInt8) value = std::clamp(value, 0.0, 255.0);
    return (value - mean) * scale;
  }
};

}  // namespace lockstep::reference
