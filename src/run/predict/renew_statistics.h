// Batch normalisation's statistics anew, for weights that no training step has had: means of several.
#pragma once

#include <cstdint>
#include <string>

#include "src/run/trained_model.h"

namespace lockstep {

/// Sets the running statistics of a network to the means over the micro-batches of `most_samples` of a
/// dataset with targets, drawn and augmented as in training, weighted by their samples (PyTorch's update_bn).
/// Statistics of a frozen trunk stay. One process. Throws Error where data or network do not fit; returns how
/// many samples were seen.
int64_t renew_statistics(TrainedModel& model, const std::string& data, int64_t most_samples);

}  // namespace lockstep
