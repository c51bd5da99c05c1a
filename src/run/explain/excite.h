// Gradient ascent: an input that a unit answers strongly to (Erhan et al. 2009; Olah et al. 2017).
#pragma once

#include <vector>

#include "src/run/explain/pictures.h"
#include "src/run/explain/unit_gradient.h"

namespace lockstep {

struct Excitement {
  std::vector<float> input;      // (C, H, W), as the network reads it
  double before = 0, after = 0;  // the unit's value for grey noise, and for the input
};

/// Climbs from grey noise, the same in every call, shaking the image by a pixel or two and smoothing it now
/// and then, so that no pattern of single pixels wins. pixels: what can be stored.
Excitement excite(UnitGradient& unit, int64_t channel, const Shape& image, const PixelScale& pixels);

}  // namespace lockstep
