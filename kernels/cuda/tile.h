// A square of elements that a block of threads turns over in shared memory.
#pragma once

namespace lockstep::cuda {

inline constexpr int kTile = 32;
inline constexpr int kTileRows = 8;  // rows that the threads of a block move at once

}  // namespace lockstep::cuda
