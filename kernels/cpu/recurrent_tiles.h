// The inner loops of recurrent cells: products in register tiles, and what a cell does with its gates.
// Compiled once per instruction set (recurrent_tiles_*.cpp, one body) and chosen when an op is made.
//
// Each element of a product is one running sum over k in order, in fused multiply-adds where the machine has
// them: its bits depend neither on the other rows nor on how rows and columns are cut into tiles.
#pragma once

#include <cstdint>

#include "kernels/recurrent_kind.h"

namespace lockstep::cpu {

/// Columns of a panel; padded widths are multiples of it.
constexpr int64_t kPanelColumns = 16;
/// Rows of a block whose factors stay in the second cache level, at most.
constexpr int64_t kMostBlockRows = 192;

/// c (rows, columns) = start + a (rows, k) · b.
struct PanelProduct {
  enum class Start : uint8_t { kAdd, kZero, kBias };  // from c itself, 0, or bias (by column)

  int64_t k = 0, columns = 0;
  const float* a = nullptr;
  int64_t a_row = 0;
  const float* b = nullptr;  // packed: (panels, k, kPanelColumns)
  float* c = nullptr;
  int64_t c_row = 0;                // from row to row,
  const int64_t* c_rows = nullptr;  // or where each row lies
  Start start = Start::kAdd;
  const float* bias = nullptr;
  /// A tile none of whose rows has a length above t is left out.
  const int32_t* lengths = nullptr;
  int64_t t = 0;
};

/// Rows of a call of multiply_transposed(), at most.
constexpr int64_t kMostTransposedRows = 192;

/// c (rows, columns) = a (k, rows), transposed, · b (k, columns).
struct TransposedProduct {
  int64_t k = 0, columns = 0;
  const float* a = nullptr;
  int64_t a_row = 0;
  const float* b = nullptr;
  int64_t b_row = 0;
  float* const* c_rows = nullptr;  // where each row lies; null: not wanted
};

/// One step of all rows. Units are padded to kPanelColumns (stride `units` between the slots of a row of
/// gates and between the three peepholes), rows of states lie state_row apart.
///
/// Slots of gates: before forward() sums, behind it activations, behind backward() their gradients.
///   LSTMs as their weights; kGruAfter: hidden part of n, r, z, n; kGruBefore: r, z, n.
struct CellStep {
  int64_t rows = 0, units = 0;
  int64_t gates_row = 0, state_row = 0;
  const int32_t* lengths = nullptr;  // (rows); a row takes part where t < length
  int64_t t = 0;
  bool update_keeps = true;
  float* gates = nullptr;
  const float *h_before = nullptr, *c_before = nullptr;
  float *h = nullptr, *c = nullptr;  // forward writes, backward reads
  float* reset = nullptr;            // kGruBefore: r · h_before
  const float* peephole = nullptr;   // of i, f, o
  const float* diff_y = nullptr;     // backward; null: 0
  float* diff_h = nullptr;           // in: gradient of h from later steps; out: the part that by-passes gates
  float* diff_c = nullptr;           // in: of c; out: of c_before
  float* diff_reset = nullptr;       // kGruBefore: gradient of r · h_before
  float *diff_bias = nullptr, *diff_peephole = nullptr;  // added to: sums over rows, by slot
};

struct RecurrentTiles {
  const char* name;
  void (*multiply)(const PanelProduct&, int64_t row_begin, int64_t row_end, int64_t panel_begin,
                   int64_t panel_end);
  void (*multiply_transposed)(const TransposedProduct&, int64_t row_begin, int64_t row_end);
  /// Units [begin, end), multiples of kPanelColumns. kGruBefore: r and z alone, then `finish` with n.
  void (*forward)(CellKind, const CellStep&, int64_t begin, int64_t end);
  void (*forward_finish)(const CellStep&, int64_t begin, int64_t end);
  /// kGruBefore: z and n alone, then `finish` with r, when diff_reset is known.
  void (*backward)(CellKind, const CellStep&, int64_t begin, int64_t end);
  void (*backward_finish)(const CellStep&, int64_t begin, int64_t end);
};

/// Of the best instruction set that this machine has.
const RecurrentTiles& recurrent_tiles();

const RecurrentTiles& recurrent_tiles_any();
#if defined(__x86_64__)
const RecurrentTiles& recurrent_tiles_avx2();
const RecurrentTiles& recurrent_tiles_avx512();
#endif

}  // namespace lockstep::cpu
