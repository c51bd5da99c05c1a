// The inner loops of attention: a tile of queries of one head against all keys that it sees, in blocks of
// keys whose scores stay in the first cache levels. Compiled once per instruction set (attention_tiles_*.cpp,
// one body) and chosen when an op is made.
//
// Every mask is a prefix: query i sees keys [0, visible(i)), more of them from one query to the next. Sums go
// over features, keys or queries in order, in fused multiply-adds where the machine has them; cutting rows
// into register tiles changes no bit.
#pragma once

#include <cstdint>

namespace lockstep::cpu {

/// Columns of a panel; widths of heads are padded to multiples of it.
constexpr int64_t kHeadPanel = 16;
/// Queries of a tile and keys of a block; scores of one against the other have this row stride.
constexpr int64_t kTileQueries = 96, kBlockKeys = 96;

constexpr int64_t padded_to_panels(int64_t n) { return (n + kHeadPanel - 1) / kHeadPanel * kHeadPanel; }

/// Factors of dropout for weights [key, key + n) of query `row`: 0 or 1 / (1 - p).
struct WeightDropout {
  void (*draw)(const WeightDropout&, int64_t row, int64_t key, int64_t n, float* factors) = nullptr;
  const void* state = nullptr;
  int64_t first = 0;  // element of query 0 and key 0
};

/// A tile of at most kTileQueries queries. Matrices are dense, `padded` columns a row; those of keys by
/// panels
/// ("_t") are (panels of keys, width, kHeadPanel).
struct QueryTile {
  int64_t row = 0, rows = 0;  // queries [row, row + rows) of the head
  int64_t keys = 0;           // that any query may see, at least 1
  bool causal = false;
  int64_t first = 0;              // causal: query i sees keys j <= first + i
  int64_t width = 0, padded = 0;  // columns of a head
  const float* query = nullptr;   // (rows), times log2(e) / sqrt(width): powers of 2 stand for exponentials
  const float* keys_t = nullptr;
  const float* values = nullptr;  // (keys): forward
  const WeightDropout* dropout = nullptr;
  float* scores = nullptr;   // (kTileQueries, kBlockKeys): scratch
  float* log_sum = nullptr;  // (rows), base 2: forward writes, backward reads
  float* context = nullptr;  // (rows): forward writes

  // Backward alone.
  const float* keys_rows = nullptr;  // (keys)
  const float* values_t = nullptr;
  const float* diff_context = nullptr;                 // (rows)
  const float* delta = nullptr;                        // (rows): diff_context · context
  float *diff_scores = nullptr, *factors = nullptr;    // (kTileQueries, kBlockKeys): scratch; of dropout
  float* diff_query = nullptr;                         // (rows): written, times 1 / scale
  float *diff_keys = nullptr, *diff_values = nullptr;  // (keys): added to, the former times 1 / scale
};

struct AttentionTiles {
  const char* name;
  void (*forward)(const QueryTile&);
  void (*backward)(const QueryTile&);
  /// weights (rows, weights_row) of all keys, behind forward().
  void (*weights)(const QueryTile&, float* weights, int64_t weights_row);
  /// rows (n, padded) to panels, zeros behind the last row.
  void (*to_panels)(const float* rows, int64_t padded, int64_t n, int64_t width, float* panels);
};

/// Of the best instruction set that this machine has.
const AttentionTiles& attention_tiles();

const AttentionTiles& attention_tiles_any();
#if defined(__x86_64__)
const AttentionTiles& attention_tiles_avx2();
const AttentionTiles& attention_tiles_avx512();
#endif

}  // namespace lockstep::cpu
