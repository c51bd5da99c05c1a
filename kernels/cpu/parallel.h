#pragma once

#include <cstdint>

namespace lockstep::cpu {

/// Elements of a loop below which a second thread costs more than it brings.
inline constexpr int64_t kParallelElements = 1 << 15;

}  // namespace lockstep::cpu
