// Drawing a token from the scores that a network gives.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace lockstep {

struct SamplingOptions {
  double temperature = 1;  // scores are divided by it; 0: always the most probable token
  int64_t top_k = 0;       // only the k most probable ones; 0: all
  double top_p =
      1;  // only the most probable ones that reach this probability together (Holtzman et al. 2020)
  uint64_t seed = 1;
};

/// The token that `uniform` in [0, 1) draws. Temperature, then top_k, then top_p, then what is left in
/// proportion; the first of equal scores stands first. `excluded` is never drawn; -1: nothing is.
int64_t draw_token(std::span<const float> scores, const SamplingOptions& options, double uniform,
                   int64_t excluded = -1);

}  // namespace lockstep
