// What the steps of an augmentation do to one sample, as they are drawn: all that moves pixels becomes one
// matrix from the output to the stored image, all that changes colours another.
#pragma once

#include <array>
#include <cstdint>

#include "kernels/augment.h"
#include "kernels/random.h"

namespace lockstep {

/// (x, y) -> (a x + b y + c, d x + e y + f), distances from the centres of two images.
struct Affine {
  double a = 1, b = 0, c = 0, d = 0, e = 1, f = 0;

  /// This map after `first`.
  Affine after(const Affine& first) const;
  Affine inverse() const;
};

using ColourMatrix = std::array<std::array<double, 3>, 3>;

struct Extents {
  int64_t height = 0, width = 0;
};

class AugmentDraw {
 public:
  /// Of a stored image. `random` gives the sample's numbers.
  AugmentDraw(const RandomStream& random, Extents stored, double lowest, double highest)
      : extents(stored), low(lowest), high(highest), random_(random) {}

  /// Numbers from here on belong to that step of the list: no step's depend on what others draw.
  void begin_step(size_t step) { index_ = step * kNumbersOfStep; }
  double uniform(double from, double to);  // [from, to)
  double log_uniform(double from, double to);
  int64_t whole(int64_t n);  // [0, n)
  bool happens(double p) { return uniform(0, 1) < p; }

  /// The image becomes one of these extents, whose pixels lie at to_before(place) in what it was.
  void move(const Affine& to_before, Extents after);
  /// colour = mixing · colour + offset, after what was asked for before.
  void mix(const ColourMatrix& mixing, const std::array<double, 3>& offset);

  /// What was drawn, for the op. Exact where the matrix moves whole pixels.
  AugmentRecord finish() const;

  Extents extents;       // of the image as it is by now
  double low, high;      // the range of stored values
  AugmentRecord record;  // vignette, noise, lens and erasing go here directly

 private:
  static constexpr uint64_t kNumbersOfStep = 64;
  const RandomStream& random_;
  uint64_t index_ = 0;
  Extents stored_ = extents;
  Affine to_source_;
  ColourMatrix mixing_{{{1, 0, 0}, {0, 1, 0}, {0, 0, 1}}};
  std::array<double, 3> offset_{};
};

}  // namespace lockstep
