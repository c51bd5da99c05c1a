// The libraries behind the ops, and what they make of the device: two of the things that bits hang on.
#pragma once

#include <string>
#include <vector>

#include "kernels/device.h"

namespace lockstep {

/// {"oneDNN", "2.6.3"}
struct Version {
  std::string name, value;
  bool operator==(const Version&) const = default;
};

/// As they run. CPU: oneDNN, and the instruction sets that it and the loops of kernels/cpu choose. GPU: CUDA,
/// cuBLASLt and cuDNN, whether or not a GPU answers; none in a build without CUDA.
std::vector<Version> library_versions(Device::Kind kind);

}  // namespace lockstep
