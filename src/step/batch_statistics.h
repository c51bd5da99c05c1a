// Statistics over a batch need more than one value.
#pragma once

#include <cstdint>

#include "src/network/graph.h"
#include "src/step/step_options.h"

namespace lockstep {

/// Throws Error naming the layer where a batch_norm would see one value per channel in some step of training
/// on `n_samples` samples: the variance is 0 then, and the result is the bias whatever the input is. As
/// PyTorch refuses it ("Expected more than 1 value per channel when training").
void check_batch_statistics(const Graph& graph, const StepOptions& job, int64_t n_samples);

}  // namespace lockstep
