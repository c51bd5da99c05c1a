// The contact sheet of a job's augmentation: what training would see of the first samples in its order.
#pragma once

#include <string>

#include "src/run/job.h"

namespace lockstep {

/// Writes a PNG: one row per sample, first as stored, then as the network would see it in the first epochs.
/// One channel is grey, three are colours, of others the first is shown. Throws Error where the job
/// augments nothing, or no images.
void write_augmented_sheet(const Job& job, const std::string& path);

}  // namespace lockstep
