// What a network looked at: weights over the steps of one sequence for each step of another, of a few samples
// of the validation data, with the tokens beside them.
#pragma once

#include <string>
#include <vector>

#include "io/loader/loader.h"
#include "src/data/data.h"
#include "src/plan/plan.h"

namespace lockstep {

struct AttentionMap {
  std::string name;                        // of the graph's vertex
  std::vector<std::string> rows, columns;  // tokens: what was to be written, and what was read
  std::vector<float> weights;              // (rows, columns)
};

/// Of the first samples of a micro-batch that `plan` has run, which keeps what `graph` shows: of shown values
/// (T, S) or (heads, T, S), where S are the steps of an input of ids, and T those of the target. Nothing
/// where there are none.
std::vector<AttentionMap> attention_maps(Plan& plan, const Graph& graph, const MicroBatch& batch,
                                         const DataContract& contract);
/// The same of attention with several heads, a map for each head of the first sample, of its first steps. It
/// runs a plan of its own, as such weights take much memory. Nothing where they would take too much.
std::vector<AttentionMap> attention_maps_of_heads(const Graph& graph, const ParameterArena& arena,
                                                  const OpConfig& config, const MicroBatch& batch,
                                                  const DataContract& contract);

}  // namespace lockstep
