// See recurrent_tiles.h.
#include "kernels/cpu/recurrent_tiles_body.h"

namespace lockstep::cpu {

const RecurrentTiles& recurrent_tiles_any() {
  static constexpr RecurrentTiles tiles = tiles_named("any");
  return tiles;
}

}  // namespace lockstep::cpu
