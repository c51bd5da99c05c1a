// Initial weights. Every element is drawn by a counter keyed by (seed, parameter name,
// element), so the result depends on the job alone.
#pragma once

#include <cstdint>

#include "src/config/config.h"
#include "src/network/arena.h"

namespace lockstep {

struct InitSpec {
  enum class Kind {
    kZeros,
    kConstant,
    kNormal,
    kUniform,
    kGlorotUniform,
    kGlorotNormal,
    kHeUniform,
    kHeNormal,
    kLecunUniform
  };
  Kind kind = Kind::kLecunUniform;
  double scale = 0.01;  // constant: the value; normal: standard deviation; uniform: limit
};

/// From `init: he_normal` or `init: {normal: {std: 0.01}}`. Biases start at zero.
///   glorot_uniform  U(±sqrt(6 / (fan_in + fan_out)))     Glorot and Bengio 2010
///   glorot_normal   N(0, 2 / (fan_in + fan_out))
///   he_uniform      U(±sqrt(6 / fan_in))                 He et al. 2015
///   he_normal       N(0, 2 / fan_in)
///   lecun_uniform   U(±sqrt(1 / fan_in)), biases too     the default, and PyTorch's
InitSpec read_init(const Config& description);

/// Fills the arena's weights (host memory).
void initialize(const ParameterArena& arena, const InitSpec& init, uint64_t seed);

}  // namespace lockstep
