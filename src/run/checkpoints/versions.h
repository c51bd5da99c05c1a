// What a run computes with: Lockstep, compiler, libraries, instruction sets, device, precision. Checkpoints
// and metrics keep it, and a resume tells what differs since, as bits may.
#pragma once

#include <string>
#include <vector>

#include "io/checkpoint/checkpoint.h"
#include "kernels/library_versions.h"
#include "src/run/job.h"

namespace lockstep {

using Versions = std::vector<Version>;

/// How a checkpoint's text and a line of metrics call the version of NAME: computed_with.NAME.
inline constexpr const char kComputedWith[] = "computed_with.";

/// Of this program as it runs, on devices of that kind, in the order in which `lockstep --version` prints
/// them.
const Versions& versions_of(Device::Kind kind);

/// These, the name of the job's device and the job's precision.
Versions computed_with(const Job& job);

void add_versions(const Versions& versions, CheckpointInfo& info);
/// What a checkpoint of anyone says, in the order of the names; none in an imported one and in older ones.
Versions read_versions(const CheckpointInfo& info);

/// "oneDNN was 3.1.0, is 2.6.3; precision was …", of the names that both have; "" where their values are
/// equal.
std::string what_differs(const Versions& then, const Versions& now);

/// A value of anyone as a part of one line: safe for a terminal, its end left out where it is long.
std::string shown(const std::string& value);

}  // namespace lockstep
