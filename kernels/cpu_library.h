// The library behind the ops of the CPU.
#pragma once

#include <string>

namespace lockstep {

/// The version of oneDNN as it runs: "2.6.3".
std::string cpu_library_version();

}  // namespace lockstep
