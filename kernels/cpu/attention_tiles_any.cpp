// See attention_tiles.h.
#include "kernels/cpu/attention_tiles_body.h"

namespace lockstep::cpu {

const AttentionTiles& attention_tiles_any() {
  static constexpr AttentionTiles tiles = tiles_named("any");
  return tiles;
}

}  // namespace lockstep::cpu
