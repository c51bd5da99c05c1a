// See attention_tiles.h.
#include "kernels/cpu/attention_tiles_body.h"

namespace lockstep::cpu {

const AttentionTiles& attention_tiles_avx512() {
  static constexpr AttentionTiles tiles = tiles_named("avx512");
  return tiles;
}

}  // namespace lockstep::cpu
