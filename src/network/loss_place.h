// Where a loss stands in a graph: the vertex it judges, and what it compares that with.
#pragma once

#include "src/losses/loss.h"
#include "src/network/graph.h"

namespace lockstep {

/// The vertex that the loss reads: the one named by `of`, else the graph's output. Throws Error
/// naming the nearest layer.
int loss_vertex(const Graph& graph, const LossSpec& loss);

/// The graph input that the loss compares with (an autoencoder's `target: input`), or -1 where the
/// target is a field of the dataset.
int loss_target_input(const Graph& graph, const LossSpec& loss);

/// How many targets these losses read from the dataset, one each unless it is a graph input.
size_t count_targets(const Graph& graph, const std::vector<LossSpec>& losses);

/// Throws Error naming the layers that nothing reads: no layer, no loss, and not the output.
void check_all_read(const Graph& graph, const std::vector<LossSpec>& losses);

}  // namespace lockstep
