// See recurrent_tiles.h.
#include "kernels/cpu/recurrent_tiles_body.h"

namespace lockstep::cpu {

const RecurrentTiles& recurrent_tiles_avx2() {
  static constexpr RecurrentTiles tiles = tiles_named("avx2");
  return tiles;
}

}  // namespace lockstep::cpu
