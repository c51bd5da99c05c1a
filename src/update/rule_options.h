// What rules read from a job, and hand to the kernels, alike.
#pragma once

#include "kernels/element_update.h"
#include "src/config/config.h"
#include "src/update/update_rule.h"

namespace lockstep {

/// The number of that key, `usual` where it is not there. Throws Error where it lies outside [0, 1).
double read_share(const Config& options, const char* key, double usual);
/// The same; must be above 0.
double read_above_zero(const Config& options, const char* key, double usual);
/// The same; must not be negative.
double read_not_negative(const Config& options, const char* key, double usual);

/// The key `decoupled`: weight decay apart from the gradient (Loshchilov and Hutter 2019).
ElementUpdate::Decay read_decay(const Config& options, bool usual = false);

/// What all elements have in common in a call of UpdateRule::update().
ElementUpdate element_update_of(const UpdateArgs& args, ElementUpdate::Decay decay);

/// 1 - beta^t, in float64.
double bias_correction(double beta, int64_t t);

}  // namespace lockstep
