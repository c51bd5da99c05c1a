// See attention_tiles.h.
#include "kernels/cpu/attention_tiles_body.h"

namespace lockstep::cpu {

const AttentionTiles& attention_tiles_avx2() {
  static constexpr AttentionTiles tiles = tiles_named("avx2");
  return tiles;
}

}  // namespace lockstep::cpu
