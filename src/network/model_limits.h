// What is taken for a mistake in a job file, long before memory runs out or a product of sizes leaves int64.
#pragma once

#include <cstdint>

namespace lockstep {

inline constexpr int kMaxLayers = 10'000;
/// Elements of one sample's value, and of one parameter.
inline constexpr int64_t kMaxElements = int64_t{1} << 31;
/// Extents of windows, their strides and dilations, and borders.
inline constexpr int64_t kMaxWindow = int64_t{1} << 15;

}  // namespace lockstep
