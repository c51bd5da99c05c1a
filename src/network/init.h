// Initial weights. Every element is drawn by a counter keyed by (seed, parameter name,
// element), so the result depends on the job alone.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "src/config/family.h"
#include "src/network/arena.h"

namespace lockstep {

/// How the elements of a weight are drawn: U(-limit, limit), else N(0, deviation^2), else all `value`.
struct InitDraw {
  double limit = 0, deviation = 0, value = 0;
};

struct InitSpec {
  std::string name;
  std::function<InitDraw(double fan_in, double fan_out)> draw;
  bool draws_biases = false;  // which are zeros otherwise
  bool is_chosen = true;      // false: nobody named one, and layers may know better (ParameterSpec)
};
using InitMaker = std::function<InitSpec(Config& options)>;

/// The initialisers by name; those here are in initialisers.cpp. A new one is a file with
///   const bool NAME_init_registered = initialisers().add("NAME", [](Config& options) { … });
Family<InitMaker>& initialisers();

/// From `init: he_normal` or `init: {normal: {std: 0.01}}`. Biases start at zero.
///   glorot_uniform  U(±sqrt(6 / (fan_in + fan_out)))     Glorot and Bengio 2010
///   glorot_normal   N(0, 2 / (fan_in + fan_out))
///   he_uniform      U(±sqrt(6 / fan_in))                 He et al. 2015
///   he_normal       N(0, 2 / fan_in)
///   lecun_uniform   U(±sqrt(1 / fan_in)), biases too     the default, and PyTorch's
InitSpec read_init(const Config& description);
/// One without options.
InitSpec default_init(const std::string& name = "lecun_uniform");

/// Fills the arena's weights (host memory).
void initialize(const ParameterArena& arena, const InitSpec& init, uint64_t seed);

}  // namespace lockstep
