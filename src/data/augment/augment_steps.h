// The steps of `data.augment` by kind, and how their options are read. A maker reads the options of one step.
#pragma once

#include <string>
#include <vector>

#include "src/config/family.h"
#include "src/data/augment/augment.h"

namespace lockstep {

struct Range {
  double low = 0, high = 0;
  bool is_point(double value) const { return low == value && high == value; }
  double draw(AugmentDraw& d) const { return d.uniform(low, high); }
};

/// `key` as [low, high], or as one number v for [centre - v, centre + v], cut off at `least`; [centre,
/// centre] where it is absent. Throws Error outside of [least, most].
Range read_around(const Config& options, const std::string& key, double centre, double least, double most);
/// `key` as [low, high], or as one number for both.
Range read_between(const Config& options, const std::string& key, std::vector<double> fallback, double least,
                   double most);
double read_probability(const Config& options, const std::string& key, double fallback);
/// `size`: one number, or [height, width]; 0, 0 where it is absent.
Extents read_size(const Config& options);

constexpr double kLarge = 1e6, kSmall = 1e-6;  // borders of numbers that have none of their own

/// Makes one step; the spec gets the border that it names. Steps that move pixels stand in
/// augment_geometry.cpp, those that change values where they are in augment_values.cpp; a new one is a file
/// with
///   const bool NAME_step_registered = augment_steps().add("NAME", {make_NAME});
struct AugmentStepFactory {
  AugmentStep (*make)(Config&, AugmentSpec&);
  bool has_p = true;  // crops happen always, reflections have probabilities of their own
};
Family<AugmentStepFactory>& augment_steps();

}  // namespace lockstep
