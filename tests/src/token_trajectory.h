// Ten steps of Adam on a network of tokens, held against those of another program.
#pragma once

#include <string>
#include <vector>

#include "src/network/arena.h"
#include "src/network/graph.h"

namespace lockstep {

struct TokenTrajectory {
  std::string file, name;  // of the fixture: NAME/output before the first step, NAME/losses
  int64_t samples = 4, vocabulary = 0;
  double lr = 0;
  double output_tolerance = 1e-5;
};

/// inputs: of the graph; targets (samples, T): -1 counts nothing. Losses agree to 1e-4 of the first.
void expect_token_trajectory(const TokenTrajectory& expected, const Graph& graph, ParameterArena& arena,
                             const std::vector<const void*>& inputs, const std::vector<int64_t>& targets);

}  // namespace lockstep
