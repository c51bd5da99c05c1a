// The body of recurrent_tiles_*.cpp: included once in each, compiled for the instruction set of that file.
// All names are local to it, so that no function compiled for AVX is ever called on a machine without.
#pragma once

#include <cstring>

#include "kernels/cpu/recurrent_tiles.h"
#include "kernels/cpu/tile_lanes.h"

namespace lockstep::cpu {

namespace {

constexpr int kVectors = static_cast<int>(kPanelColumns) / kWidth;
constexpr int64_t kTransposedBlock = 128;  // of k

/// NaN stays NaN.
LOCKSTEP_INLINE Floats at_most(Floats x, Floats limit) {
#if defined(__FMA__) && !defined(__AVX512F__)
  return (Floats)_mm256_min_ps((__m256)limit, (__m256)x);
#else
  return x > limit ? limit : x;
#endif
}

// As in vector_math.h, on vectors.

struct Exponent {
  Floats series, power;  // exp(r) - 1 and 2^n, x = n ln 2 + r
};
LOCKSTEP_INLINE Exponent exponent_of(Floats x) {  // |x| <= 87
  const Floats magic = all(12582912.0f);
  const Floats shifted = fused(x, all(1.44269504f), magic);
  const Floats n = shifted - magic;
  const Floats r = fused(n, all(2.12194440e-4f), fused(n, all(-0.693359375f), x));
  Floats p = all(1.0f / 5040);
  p = fused(p, r, all(1.0f / 720));
  p = fused(p, r, all(1.0f / 120));
  p = fused(p, r, all(1.0f / 24));
  p = fused(p, r, all(1.0f / 6));
  p = fused(p, r, all(0.5f));
  return {fused(p * r, r, r), (Floats)(((Words)shifted << 23) + 0x3F800000u)};
}
/// NaN stays NaN in both.
LOCKSTEP_INLINE Floats sigmoid_of(Floats x) {
  const Floats limit = all(87.0f);
  const Exponent e = exponent_of(at_most(-at_most(x, limit), limit));
  const Floats one = all(1.0f);
  return one / (one + fused(e.series, e.power, e.power));
}
LOCKSTEP_INLINE Floats tanh_of(Floats x) {
  const Words sign = (Words)x & 0x80000000u;
  const Exponent e = exponent_of(-at_most(all(2.0f) * (Floats)((Words)x & 0x7FFFFFFFu), all(87.0f)));
  const Floats below = fused(e.series, e.power, e.power - all(1.0f));  // exp(-2|x|) - 1
  return (Floats)((Words)(-below / (all(2.0f) + below)) | sign);
}

/// sums += of_row · columns, for one row of a tile.
LOCKSTEP_INLINE void add_row(Floats (&sums)[kVectors], float of_row, const Floats (&columns)[kVectors]) {
  const Floats spread = all(of_row);
#pragma GCC unroll 16
  for (int v = 0; v < kVectors; ++v) sums[v] = fused(spread, columns[v], sums[v]);
}
LOCKSTEP_INLINE void load_row(Floats (&row)[kVectors], const float* from) {
#pragma GCC unroll 16
  for (int v = 0; v < kVectors; ++v) row[v] = load(from + v * kWidth);
}
template <int kRows>
LOCKSTEP_INLINE void put_rows(float* const* c, const Floats (&sums)[kRows][kVectors]) {
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r)
#pragma GCC unroll 16
    for (int v = 0; v < kVectors; ++v) put(c[r] + v * kWidth, sums[r][v]);
}

template <int kRows>
void multiply_tile(const float* const* a, const float* b, int64_t k, float* const* c,
                   PanelProduct::Start start, const float* bias) {
  Floats sums[kRows][kVectors] = {};
  if (start != PanelProduct::Start::kZero)
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) load_row(sums[r], start == PanelProduct::Start::kAdd ? c[r] : bias);
  const float* rows[kRows];
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r) rows[r] = a[r];
#pragma GCC unroll 2
  for (int64_t i = 0; i < k; ++i, b += kPanelColumns) {
    Floats columns[kVectors];
    load_row(columns, b);
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) add_row(sums[r], rows[r][i], columns);
  }
  put_rows(c, sums);
}

using MultiplyTile = void (*)(const float* const*, const float*, int64_t, float* const*, PanelProduct::Start,
                              const float*);

template <int kRows = 1>
MultiplyTile tile_of(int64_t rows) {
  if (rows == kRows) return multiply_tile<kRows>;
  if constexpr (kRows < kTileRows) return tile_of<kRows + 1>(rows);
  return nullptr;
}

LOCKSTEP_INLINE float* row_of_c(const PanelProduct& p, int64_t row) {
  return p.c + (p.c_rows ? p.c_rows[row] : row * p.c_row);
}

void multiply_panels(const PanelProduct& p, int64_t row_begin, int64_t row_end, int64_t panel_begin,
                     int64_t panel_end) {
  constexpr int64_t kBlock = 256;  // of k; its packed columns stay in the first cache level
  const int64_t n_rows = row_end - row_begin, n_tiles = (n_rows + kTileRows - 1) / kTileRows;
  if (n_tiles == 0) return;
  const int64_t small = n_rows / n_tiles, n_large = n_rows % n_tiles;
  const MultiplyTile tiles[2] = {tile_of(small), n_large ? tile_of(small + 1) : nullptr};
  alignas(64) float part[kMostBlockRows * kPanelColumns];  // of a panel that is wider than c

  for (int64_t panel = panel_begin; panel < panel_end; ++panel) {
    const int64_t column = panel * kPanelColumns, valid = p.columns - column;
    const bool is_part = valid < kPanelColumns;
    const float* b = p.b + column * p.k;
    int64_t done = 0;
    do {
      const int64_t n = p.k - done < kBlock ? p.k - done : kBlock;
      int64_t row = row_begin;
      for (int64_t tile = 0; tile < n_tiles; ++tile) {
        const int64_t rows = small + (tile < n_large ? 1 : 0);
        const float* a[kTileRows];
        float* c[kTileRows];
        bool takes_part = p.lengths == nullptr;
        for (int64_t r = 0; r < rows; ++r, ++row) {
          a[r] = p.a + row * p.a_row + done;
          c[r] = is_part ? part + (row - row_begin) * kPanelColumns : row_of_c(p, row) + column;
          takes_part = takes_part || p.lengths[row] > p.t;
        }
        if (!takes_part) continue;
        tiles[tile < n_large ? 1 : 0](a, b + done * kPanelColumns, n, c,
                                      done == 0 ? p.start : PanelProduct::Start::kAdd,
                                      p.bias ? p.bias + column : nullptr);
      }
      done += n;
    } while (done < p.k);
    if (is_part)
      for (int64_t row = row_begin; row < row_end; ++row)
        std::memcpy(row_of_c(p, row) + column, part + (row - row_begin) * kPanelColumns,
                    static_cast<size_t>(valid) * sizeof(float));
  }
}

/// c (kTileRows, kPanelColumns) += a (k, kTileRows), transposed, · b (k, kPanelColumns)
void add_outer_products(const float* a, const float* b, int64_t k, float* const* c) {
  Floats sums[kTileRows][kVectors];
#pragma GCC unroll 16
  for (int r = 0; r < kTileRows; ++r) load_row(sums[r], c[r]);
#pragma GCC unroll 2
  for (int64_t i = 0; i < k; ++i, a += kTileRows, b += kPanelColumns) {
    Floats columns[kVectors];
    load_row(columns, b);
#pragma GCC unroll 16
    for (int r = 0; r < kTileRows; ++r) add_row(sums[r], a[r], columns);
  }
  put_rows(c, sums);
}

/// to (tiles of rows, kTransposedBlock, kWide) = from (n, rows), zeros behind its rows.
template <int64_t kWide>
void pack_tiles(const float* from, int64_t from_row, int64_t n, int64_t rows, float* to) {
  for (int64_t i = 0; i < n; ++i, from += from_row)
    for (int64_t row = 0; row < rows; row += kWide) {
      float* at = to + row * kTransposedBlock + i * kWide;
      if (rows - row >= kWide)
        std::memcpy(at, from + row, kWide * sizeof(float));
      else
        for (int64_t r = 0; r < kWide; ++r) at[r] = row + r < rows ? from[row + r] : 0.0f;
    }
}

/// In blocks of k: a's part of one stays in the second cache level, a panel of b in the first. While one is
/// multiplied, the next panel and the next block are fetched: their rows lie in pages of their own, which the
/// machine does not foresee.
void multiply_transposed(const TransposedProduct& p, int64_t row_begin, int64_t row_end) {
  static_assert(kMostTransposedRows % kTileRows == 0);
  alignas(64) float a[kTransposedBlock * kMostTransposedRows], b[kTransposedBlock * kPanelColumns];
  alignas(64) float parts[kTileRows][kPanelColumns];  // of panels wider than c, and of rows that c lacks
  const int64_t rows = row_end - row_begin, n_tiles = (rows + kTileRows - 1) / kTileRows;
  const int64_t n_panels = (p.columns + kPanelColumns - 1) / kPanelColumns;
  const int64_t lines = (rows + 15) / 16;  // of a row of a

  for (int64_t done = 0; done < p.k; done += kTransposedBlock) {
    const int64_t n = p.k - done < kTransposedBlock ? p.k - done : kTransposedBlock;
    pack_tiles<kTileRows>(p.a + done * p.a_row + row_begin, p.a_row, n, rows, a);
    const int64_t behind = done + n;
    const int64_t n_fetched = (p.k - behind < kTransposedBlock ? p.k - behind : kTransposedBlock) * lines;
    for (int64_t panel = 0, column = 0; panel < n_panels; ++panel, column += kPanelColumns) {
      const int64_t valid = p.columns - column < kPanelColumns ? p.columns - column : kPanelColumns;
      pack_tiles<kPanelColumns>(p.b + done * p.b_row + column, p.b_row, n, valid, b);
      for (int64_t tile = 0; tile < n_tiles; ++tile) {
        const int64_t turn = panel * n_tiles + tile, turns = n_panels * n_tiles;
        for (int64_t i = n_fetched * turn / turns; i < n_fetched * (turn + 1) / turns; ++i)
          __builtin_prefetch(p.a + (behind + i / lines) * p.a_row + row_begin + i % lines * 16, 0, 2);
        if (panel + 1 < n_panels)
          for (int64_t i = n * tile / n_tiles; i < n * (tile + 1) / n_tiles; ++i)
            __builtin_prefetch(p.b + (done + i) * p.b_row + column + kPanelColumns, 0, 2);
        float *c[kTileRows], *at[kTileRows];
        for (int r = 0; r < kTileRows; ++r) {
          const int64_t row = row_begin + tile * kTileRows + r;
          float* of_c = row < row_end ? p.c_rows[row] : nullptr;
          at[r] = of_c ? of_c + column : nullptr;
          const bool is_whole = at[r] && valid == kPanelColumns;
          c[r] = is_whole ? at[r] : parts[r];
          if (!is_whole || done == 0) std::memset(c[r], 0, sizeof(parts[r]));
          if (!is_whole && at[r] && done > 0)
            std::memcpy(c[r], at[r], static_cast<size_t>(valid) * sizeof(float));
        }
        add_outer_products(a + tile * kTransposedBlock * kTileRows, b, n, c);
        for (int r = 0; r < kTileRows; ++r)
          if (at[r] && c[r] != at[r]) std::memcpy(at[r], c[r], static_cast<size_t>(valid) * sizeof(float));
      }
    }
  }
}

/// The state stays.
void pass_by(const CellStep& s, int64_t row, int64_t begin, int64_t end, bool has_c) {
  const int64_t at = row * s.state_row;
  for (int64_t u = begin; u < end; u += kWidth) {
    put(s.h + at + u, load(s.h_before + at + u));
    if (has_c) put(s.c + at + u, load(s.c_before + at + u));
  }
}

constexpr bool has_cell_state(CellKind kind) {
  return kind == CellKind::kLstm || kind == CellKind::kPeephole || kind == CellKind::kCoupled;
}

/// h between h_before and n.
LOCKSTEP_INLINE Floats updated(const CellStep& s, Floats z, Floats n, Floats h_before) {
  const Floats rest = all(1.0f) - z;
  return s.update_keeps ? fused(z, h_before, rest * n) : fused(rest, h_before, z * n);
}

template <CellKind kKind>
void forward_cell(const CellStep& s, int64_t begin, int64_t end) {
  const Floats one = all(1.0f);
  const int64_t units = s.units;
  for (int64_t row = 0; row < s.rows; ++row) {
    const int64_t at = row * s.state_row;
    if (s.t >= s.lengths[row]) {
      if constexpr (kKind == CellKind::kGruBefore)
        for (int64_t u = begin; u < end; u += kWidth) put(s.reset + at + u, Floats{});
      else
        pass_by(s, row, begin, end, has_cell_state(kKind));
      continue;
    }
    for (int64_t u = begin; u < end; u += kWidth) {
      float* gate = s.gates + row * s.gates_row + u;
      Floats h{};
      if constexpr (kKind == CellKind::kRnnTanh || kKind == CellKind::kRnnRelu) {
        const Floats a = load(gate);
        h = kKind == CellKind::kRnnTanh ? tanh_of(a) : (a < Floats{} ? Floats{} : a);
        put(gate, h);
      } else if constexpr (has_cell_state(kKind)) {
        const Floats c_before = load(s.c_before + at + u);
        constexpr bool kCoupled = kKind == CellKind::kCoupled, kPeeps = kKind == CellKind::kPeephole;
        Floats i{}, f = load(gate + (kCoupled ? 0 : units));
        float *at_g = gate + (kCoupled ? 1 : 2) * units, *at_o = at_g + units;
        if constexpr (kPeeps) f = fused(load(s.peephole + units + u), c_before, f);
        f = sigmoid_of(f);
        const Floats g = tanh_of(load(at_g));
        if constexpr (kCoupled) {
          i = one - f;
          put(gate, f);
        } else {
          i = load(gate);
          if constexpr (kPeeps) i = fused(load(s.peephole + u), c_before, i);
          i = sigmoid_of(i);
          put(gate, i);
          put(gate + units, f);
        }
        const Floats c = fused(f, c_before, i * g);
        Floats o = load(at_o);
        if constexpr (kPeeps) o = fused(load(s.peephole + 2 * units + u), c, o);
        o = sigmoid_of(o);
        put(at_g, g);
        put(at_o, o);
        put(s.c + at + u, c);
        h = o * tanh_of(c);
      } else if constexpr (kKind == CellKind::kGruAfter) {
        const Floats r = sigmoid_of(load(gate + units)), z = sigmoid_of(load(gate + 2 * units));
        const Floats n = tanh_of(fused(r, load(gate), load(gate + 3 * units)));
        put(gate + units, r);
        put(gate + 2 * units, z);
        put(gate + 3 * units, n);
        h = updated(s, z, n, load(s.h_before + at + u));
      } else {
        const Floats r = sigmoid_of(load(gate));
        put(gate, r);
        put(gate + units, sigmoid_of(load(gate + units)));
        put(s.reset + at + u, r * load(s.h_before + at + u));
        continue;
      }
      put(s.h + at + u, h);
    }
  }
}

void forward_finish_gru(const CellStep& s, int64_t begin, int64_t end) {
  for (int64_t row = 0; row < s.rows; ++row) {
    if (s.t >= s.lengths[row]) {
      pass_by(s, row, begin, end, false);
      continue;
    }
    const int64_t at = row * s.state_row;
    for (int64_t u = begin; u < end; u += kWidth) {
      float* gate = s.gates + row * s.gates_row + u;
      const Floats n = tanh_of(load(gate + 2 * s.units));
      put(gate + 2 * s.units, n);
      const Floats h = updated(s, load(gate + s.units), n, load(s.h_before + at + u));
      put(s.h + at + u, h);
    }
  }
}

constexpr int slots_of(CellKind kind) {
  switch (kind) {
    case CellKind::kRnnTanh:
    case CellKind::kRnnRelu: return 1;
    case CellKind::kCoupled:
    case CellKind::kGruBefore: return 3;
    default: return 4;
  }
}

LOCKSTEP_INLINE void add_to(float* sum, const Floats& value) { put(sum, load(sum) + value); }

template <CellKind kKind>
void backward_cell(const CellStep& s, int64_t begin, int64_t end) {
  constexpr int kSlots = slots_of(kKind);
  const Floats one = all(1.0f);
  const int64_t units = s.units;
  for (int64_t u = begin; u < end; u += kWidth) {
    Floats bias[kSlots] = {}, peephole[3] = {};
    for (int64_t row = 0; row < s.rows; ++row) {
      const int64_t at = row * s.state_row + u;
      float* gate = s.gates + row * s.gates_row + u;
      if (s.t >= s.lengths[row]) {  // diff_h and diff_c stay
        for (int slot = 0; slot < kSlots; ++slot) put(gate + slot * units, Floats{});
        if constexpr (kKind == CellKind::kGruBefore) put(s.diff_reset + at, Floats{});
        continue;
      }
      Floats diff_h = load(s.diff_h + at);
      if (s.diff_y) diff_h += load(s.diff_y + at);
      Floats diff[kSlots] = {}, passes{};
      if constexpr (kKind == CellKind::kRnnTanh) {
        const Floats h = load(gate);
        diff[0] = diff_h * (one - h * h);
      } else if constexpr (kKind == CellKind::kRnnRelu) {
        diff[0] = load(gate) > Floats{} ? diff_h : Floats{};
      } else if constexpr (has_cell_state(kKind)) {
        constexpr bool kCoupled = kKind == CellKind::kCoupled, kPeeps = kKind == CellKind::kPeephole;
        constexpr int kF = kCoupled ? 0 : 1, kG = kF + 1, kO = kF + 2;
        const Floats f = load(gate + kF * units), g = load(gate + kG * units), o = load(gate + kO * units);
        const Floats c = load(s.c + at), c_before = load(s.c_before + at), tanh_c = tanh_of(c);
        diff[kO] = diff_h * tanh_c * (o * (one - o));
        Floats diff_c = fused(diff_h * o, one - tanh_c * tanh_c, load(s.diff_c + at));
        if constexpr (kPeeps) diff_c = fused(diff[kO], load(s.peephole + 2 * units + u), diff_c);
        const Floats slope = f * (one - f);
        Floats diff_before = diff_c * f;
        if constexpr (kCoupled) {
          diff[kF] = diff_c * (c_before - g) * slope;
          diff[kG] = diff_c * (one - f) * (one - g * g);
        } else {
          const Floats i = load(gate);
          diff[0] = diff_c * g * (i * (one - i));
          diff[kF] = diff_c * c_before * slope;
          diff[kG] = diff_c * i * (one - g * g);
          if constexpr (kPeeps) {
            diff_before = fused(diff[0], load(s.peephole + u), diff_before);
            diff_before = fused(diff[kF], load(s.peephole + units + u), diff_before);
            peephole[0] = fused(diff[0], c_before, peephole[0]);
            peephole[1] = fused(diff[kF], c_before, peephole[1]);
            peephole[2] = fused(diff[kO], c, peephole[2]);
          }
        }
        put(s.diff_c + at, diff_before);
      } else {
        constexpr bool kAfter = kKind == CellKind::kGruAfter;
        constexpr int kZ = kAfter ? 2 : 1, kN = kAfter ? 3 : 2;
        const Floats z = load(gate + kZ * units), n = load(gate + kN * units);
        const Floats h_before = load(s.h_before + at), rest = one - z;
        const Floats keeps = s.update_keeps ? z : rest, takes = s.update_keeps ? rest : z;
        const Floats moves = s.update_keeps ? h_before - n : n - h_before;
        diff[kZ] = diff_h * moves * (z * rest);
        diff[kN] = diff_h * takes * (one - n * n);
        passes = diff_h * keeps;
        if constexpr (kAfter) {
          const Floats r = load(gate + units);
          diff[1] = diff[kN] * load(gate) * (r * (one - r));
          diff[0] = diff[kN] * r;
        } else {
          diff[0] = load(gate);  // r, until backward_finish_gru
        }
      }
      put(s.diff_h + at, passes);
      if constexpr (kKind == CellKind::kGruBefore) put(s.diff_reset + at, Floats{});
      for (int slot = 0; slot < kSlots; ++slot) {
        put(gate + slot * units, diff[slot]);
        bias[slot] += diff[slot];
      }
    }
    if (s.diff_bias)
      for (int slot = kKind == CellKind::kGruBefore ? 1 : 0; slot < kSlots; ++slot)
        add_to(s.diff_bias + slot * units + u, bias[slot]);
    if constexpr (kKind == CellKind::kPeephole)
      for (int i = 0; i < 3; ++i) add_to(s.diff_peephole + i * units + u, peephole[i]);
  }
}

void backward_finish_gru(const CellStep& s, int64_t begin, int64_t end) {
  const Floats one = all(1.0f);
  for (int64_t u = begin; u < end; u += kWidth) {
    Floats bias{};
    for (int64_t row = 0; row < s.rows; ++row) {
      if (s.t >= s.lengths[row]) continue;
      const int64_t at = row * s.state_row + u;
      float* gate = s.gates + row * s.gates_row + u;
      const Floats r = load(gate), diff_reset = load(s.diff_reset + at);
      const Floats diff = diff_reset * load(s.h_before + at) * (r * (one - r));
      put(s.diff_h + at, fused(diff_reset, r, load(s.diff_h + at)));
      put(gate, diff);
      bias += diff;
    }
    if (s.diff_bias) add_to(s.diff_bias + u, bias);
  }
}

/// body.operator()<kind>()
template <typename Body>
void with_kind(CellKind kind, const Body& body) {
  switch (kind) {
    case CellKind::kRnnTanh: return body.template operator()<CellKind::kRnnTanh>();
    case CellKind::kRnnRelu: return body.template operator()<CellKind::kRnnRelu>();
    case CellKind::kLstm: return body.template operator()<CellKind::kLstm>();
    case CellKind::kPeephole: return body.template operator()<CellKind::kPeephole>();
    case CellKind::kCoupled: return body.template operator()<CellKind::kCoupled>();
    case CellKind::kGruAfter: return body.template operator()<CellKind::kGruAfter>();
    case CellKind::kGruBefore: return body.template operator()<CellKind::kGruBefore>();
  }
}
void forward_kind(CellKind kind, const CellStep& s, int64_t begin, int64_t end) {
  with_kind(kind, [&]<CellKind kKind>() { forward_cell<kKind>(s, begin, end); });
}
void backward_kind(CellKind kind, const CellStep& s, int64_t begin, int64_t end) {
  with_kind(kind, [&]<CellKind kKind>() { backward_cell<kKind>(s, begin, end); });
}

constexpr RecurrentTiles tiles_named(const char* name) {
  return {name,          multiply_panels,    multiply_transposed, forward_kind, forward_finish_gru,
          backward_kind, backward_finish_gru};
}

}  // namespace

}  // namespace lockstep::cpu
