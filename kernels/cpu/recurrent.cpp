// Recurrent cells on the CPU. All input projections are one product; then, step after step, the product with
// the hidden state is added to them tile by tile and the tile's gates close while they are in the first cache
// level. Backward likewise: per step one product of the gates' gradients, with those of weights and sources
// as single products over all steps behind the loop.
//
// Buffers have the steps in the order in which they are taken, then rows, then gates, each padded to whole
// panels. Weights are packed in prepare(). Results do not depend on the number of threads: each element is
// summed by one of them, in an order of its own (recurrent_tiles.h).
#include "kernels/recurrent.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "kernels/backend.h"
#include "kernels/cpu/recurrent_tiles.h"
#include "kernels/cpu/through_float32.h"
#include "kernels/cpu/valid_lengths.h"

namespace lockstep::cpu {

namespace {

constexpr int64_t kParallelProducts = 1 << 19;  // multiply-adds below which a second thread costs more
constexpr int64_t kLeastRows = 48;              // of a product with sources, where there are as many

int64_t to_panels(int64_t n) { return (n + kPanelColumns - 1) / kPanelColumns * kPanelColumns; }
/// Rows that lie a multiple of 1 KiB apart would share few sets of the first cache level.
int64_t row_stride(int64_t n) { return n % 256 == 0 ? n + kPanelColumns : n; }

/// A part of memory laid out piece by piece, in floats; pieces are whole cache lines.
class FloatParts {
 public:
  int64_t take(int64_t n_floats) {
    const int64_t offset = n_;
    n_ += to_panels(n_floats);
    return offset;
  }
  int64_t n_bytes() const { return n_ * 4; }

 private:
  int64_t n_ = 0;
};

class Recurrent : public Op {
 public:
  Recurrent(const OpConfig& config, const RecurrentDesc& desc)
      : desc_(desc),
        kind_(kind_of(desc)),
        tiles_(recurrent_tiles()),
        training_(config.training),
        n_(desc.src.shape[0]),
        steps_(desc.src.shape[1]),
        in_(desc.src.shape[2]),
        hidden_(desc.hidden),
        n_gates_(gates_of(desc.cell)),
        units_(to_panels(desc.hidden)) {
    n_slots_ = kind_ == CellKind::kGruAfter ? 4 : n_gates_;
    src_slot_ = kind_ == CellKind::kGruAfter ? 1 : 0;
    if (kind_ == CellKind::kGruAfter)
      hidden_gates_ = {2, 0, 1};
    else if (kind_ == CellKind::kGruBefore)
      hidden_gates_ = {0, 1};
    else
      for (int64_t gate = 0; gate < n_gates_; ++gate) hidden_gates_.push_back(gate);
    for (int64_t gate = 0; gate < n_gates_; ++gate) all_gates_.push_back(gate);
    gates_row_ = row_stride(n_slots_ * units_);
    state_row_ = row_stride(units_);
    describe();
    lay_out(config);
    diff_rows_.resize(static_cast<size_t>(n_gates_ * units_));
    group_ = std::clamp<int64_t>((kLeastRows + n_ - 1) / std::max<int64_t>(1, n_), 1,
                                 std::max<int64_t>(1, steps_));
    for (int64_t step = 0; step < steps_; ++step)
      for (int64_t row = 0; row < n_; ++row) src_rows_.push_back((row * steps_ + step_of(step)) * in_);
  }

  void prepare(Stream&, std::span<const Tensor> params) override {
    const auto *weight_ih = params[0].as<const float>(), *weight_hh = params[1].as<const float>();
    pack_columns(weight_ih, in_, all_gates_, packed(ih_));
    pack_columns(weight_hh, hidden_, hidden_gates_, packed(hh_));
    const bool before = kind_ == CellKind::kGruBefore;
    if (before) pack_columns(weight_hh, hidden_, third_gate_, packed(reset_));
    if (training_) {
      if (desc_.wants_diff_src) pack_rows(weight_ih, in_, all_gates_, packed(ih_back_));
      pack_rows(weight_hh, hidden_, hidden_gates_, packed(hh_back_));
      if (before) pack_rows(weight_hh, hidden_, third_gate_, packed(reset_back_));
    }
    prepare_vectors(params);
  }

  void forward(Stream&, const OpArgs& args) override {
    const Buffers at = buffers(args);
    set_lengths(args, at.lengths);
    const size_t state = desc_.has_lengths ? 2 : 1;
    pad_rows(desc_.has_state ? args.src[state].as<const float>() : nullptr, at.h);
    if (has_c()) pad_rows(desc_.has_state ? args.src[state + 1].as<const float>() : nullptr, at.c);

    copy_src(at, args.src[0].as<const float>());
    float* y = args.dst[0].as<float>();
    for (int64_t step = 0; step < steps_; ++step) {
      forward_step(at, step);
      write_y(at, step, y);
    }
    unpad_rows(at.h + steps_ * n_ * state_row_, args.dst[1].as<float>());
    if (has_c()) unpad_rows(at.c + steps_ * n_ * state_row_, args.dst[2].as<float>());
  }

  void backward(Stream&, const OpArgs& args) override {
    const Buffers at = buffers(args);
    const int64_t n_valid = std::min(n_, args.batch->n_valid);
    pad_rows(args.diff_dst[1].as<const float>(), at.diff_h, n_valid);
    if (has_c()) pad_rows(args.diff_dst[2].as<const float>(), at.diff_c, n_valid);
    std::fill_n(at.diff_bias, (n_slots_ + 3) * units_, 0.0f);
    std::fill_n(at.diff_y, n_ * state_row_, 0.0f);  // behind the hidden units

    float* diff_src = desc_.wants_diff_src && wants(args, 0) ? args.diff_src[0].as<float>() : nullptr;
    for (int64_t step = steps_ - 1; step >= 0; --step) {
      backward_step(at, step, args.diff_dst[0].as<const float>());
      if (diff_src && step % group_ == 0) backward_src(at, step, diff_src);
    }
    const size_t state = desc_.has_lengths ? 2 : 1;
    if (desc_.has_state && wants(args, state)) {
      const PanelProduct p = hidden_backward(at, 0);
      for_panels(units_ / kPanelColumns, p.k * kPanelColumns * n_,
                 [&](int64_t panel) { multiply_rows(p, 0, n_, panel, panel + 1); });
      unpad_rows(at.diff_h, args.diff_src[state].as<float>());
    }
    if (has_c() && desc_.has_state && wants(args, state + 1))
      unpad_rows(at.diff_c, args.diff_src[state + 1].as<float>());
    weight_gradients(at, args);
    vector_gradients(at, args);
  }

 private:
  struct Buffers {
    float *gates, *h, *c, *reset;  // of all steps; h and c of one more, the first
    int32_t* lengths;
    float *diff_h, *diff_c, *diff_y, *diff_reset, *diff_bias, *diff_peephole;
    float* src;  // in the order of the steps
  };

  bool has_c() const { return is_lstm(desc_.cell); }
  /// Which step of the op's order of time is step t of the input, and the other way round.
  int64_t step_of(int64_t t) const { return desc_.reversed ? steps_ - 1 - t : t; }
  static bool wants(const OpArgs& args, size_t i) {
    return i < args.diff_src.size() && !args.diff_src[i].empty();
  }
  float* packed(int64_t offset) const { return weights_.as<float>() + offset; }

  void describe() {
    info_.src = {{desc_.src.shape}};
    if (desc_.has_lengths) info_.src.push_back({Shape{n_}, DType::kInt32, nullptr});
    const TensorDesc state{Shape{n_, hidden_}};
    info_.dst = {{Shape{n_, steps_, hidden_}}, state};
    if (has_c()) info_.dst.push_back(state);
    if (desc_.has_state) {
      info_.src.push_back(state);
      if (has_c()) info_.src.push_back(state);
    }
    info_.backward_needs_src = false;
    info_.backward_needs_dst = false;
  }

  void lay_out(const OpConfig& config) {
    const bool before = kind_ == CellKind::kGruBefore;
    FloatParts weights;
    const int64_t hidden_columns = static_cast<int64_t>(hidden_gates_.size()) * units_;
    ih_ = weights.take(in_ * n_gates_ * units_);
    hh_ = weights.take(hidden_ * hidden_columns);
    reset_ = weights.take(before ? hidden_ * units_ : 0);
    ih_back_ = weights.take(training_ && desc_.wants_diff_src ? n_gates_ * units_ * to_panels(in_) : 0);
    hh_back_ = weights.take(training_ ? hidden_columns * units_ : 0);
    reset_back_ = weights.take(training_ && before ? units_ * units_ : 0);
    bias_ = weights.take(n_gates_ * units_);
    hidden_bias_ = weights.take(units_);
    peephole_ = weights.take(3 * units_);
    weights_ = Memory(config.device, weights.n_bytes());

    FloatParts kept, scratch;
    FloatParts& of_steps = training_ ? kept : scratch;
    const int64_t states = n_ * state_row_;
    gates_ = of_steps.take(steps_ * n_ * gates_row_);
    h_ = of_steps.take((steps_ + 1) * states);
    c_ = of_steps.take(has_c() ? (steps_ + 1) * states : 0);
    resets_ = of_steps.take(before ? steps_ * states : 0);
    src_ = of_steps.take(steps_ * n_ * in_);
    lengths_ = of_steps.take(n_);
    if (training_) {
      diff_h_ = scratch.take(states);
      diff_c_ = scratch.take(states);
      diff_y_ = scratch.take(states);
      diff_reset_ = scratch.take(states);
      diff_bias_ = scratch.take((n_slots_ + 3) * units_);
    }
    info_.workspace_bytes = kept.n_bytes();
    info_.scratchpad_bytes = scratch.n_bytes();
  }

  Buffers buffers(const OpArgs& args) const {
    float* scratch = reinterpret_cast<float*>(args.scratchpad);
    float* steps = training_ ? reinterpret_cast<float*>(args.workspace) : scratch;
    return {steps + gates_,
            steps + h_,
            steps + c_,
            steps + resets_,
            reinterpret_cast<int32_t*>(steps + lengths_),
            scratch + diff_h_,
            scratch + diff_c_,
            scratch + diff_y_,
            scratch + diff_reset_,
            scratch + diff_bias_,
            scratch + diff_bias_ + n_slots_ * units_,
            steps + src_};
  }

  /// packed (gates, panels, in, kPanelColumns) = weights (all gates, hidden, in).
  void pack_columns(const float* weights, int64_t in, const std::vector<int64_t>& gates, float* to) const {
    constexpr int64_t kBlock = 16;  // of columns, whose lines of both sides stay in the first cache level
    const int64_t panels = units_ / kPanelColumns;
    for_panels(static_cast<int64_t>(gates.size()) * panels, in * kPanelColumns, [&](int64_t panel) {
      const int64_t gate = gates[static_cast<size_t>(panel / panels)];
      const int64_t first = panel % panels * kPanelColumns;
      const float* from = weights + (gate * hidden_ + first) * in;
      float* at = to + panel * in * kPanelColumns;
      for (int64_t begin = 0; begin < in; begin += kBlock)
        for (int64_t i = 0; i < kPanelColumns; ++i)
          for (int64_t k = begin; k < std::min(in, begin + kBlock); ++k)
            at[k * kPanelColumns + i] = first + i < hidden_ ? from[i * in + k] : 0.0f;
    });
  }

  /// packed (panels, gates, units, kPanelColumns) = weights (all gates, hidden, columns).
  void pack_rows(const float* weights, int64_t columns, const std::vector<int64_t>& gates, float* to) const {
    const int64_t rows = static_cast<int64_t>(gates.size()) * units_;
    for_panels(to_panels(columns) / kPanelColumns, rows * kPanelColumns, [&](int64_t panel) {
      float* at = to + panel * rows * kPanelColumns;
      const int64_t first = panel * kPanelColumns, n = std::min(kPanelColumns, columns - first);
      for (const int64_t gate : gates)
        for (int64_t unit = 0; unit < units_; ++unit, at += kPanelColumns) {
          const int64_t valid = unit < hidden_ ? n : 0;
          if (valid > 0)
            std::memcpy(at, weights + (gate * hidden_ + unit) * columns + first,
                        static_cast<size_t>(valid) * sizeof(float));
          std::fill(at + valid, at + kPanelColumns, 0.0f);
        }
    });
  }

  void prepare_vectors(std::span<const Tensor> params) {
    float *bias = packed(bias_), *of_hidden = packed(hidden_bias_), *peephole = packed(peephole_);
    std::fill_n(bias, n_gates_ * units_, 0.0f);
    std::fill_n(of_hidden, units_, 0.0f);
    if (desc_.has_bias) {
      const auto *b = params[2].as<const float>(), *d = params[3].as<const float>();
      for (int64_t gate = 0; gate < n_gates_; ++gate)
        for (int64_t unit = 0; unit < hidden_; ++unit) {
          const int64_t from = gate * hidden_ + unit;
          const bool apart = kind_ == CellKind::kGruAfter && gate == 2;
          bias[gate * units_ + unit] = apart ? b[from] : b[from] + d[from];
          if (apart) of_hidden[unit] = d[from];
        }
    }
    if (kind_ == CellKind::kPeephole) {
      const auto* from = params[desc_.has_bias ? 4 : 2].as<const float>();
      std::fill_n(peephole, 3 * units_, 0.0f);
      for (int64_t i = 0; i < 3; ++i) std::copy_n(from + i * hidden_, hidden_, peephole + i * units_);
    }
  }

  void set_lengths(const OpArgs& args, int32_t* lengths) const {
    const int32_t* given = desc_.has_lengths ? args.src[1].as<const int32_t>() : nullptr;
    for (int64_t row = 0; row < n_; ++row)
      lengths[row] = static_cast<int32_t>(valid_length(*args.batch, given, steps_, row));
  }

  /// (N, H) <-> rows of state_row_; null, and rows from n_valid on, are zeros.
  void pad_rows(const float* from, float* to, int64_t n_valid = INT64_MAX) const {
    for (int64_t row = 0; row < n_; ++row, to += state_row_) {
      const int64_t n = from && row < n_valid ? hidden_ : 0;
      if (n > 0) std::copy_n(from + row * hidden_, n, to);
      std::fill(to + n, to + state_row_, 0.0f);
    }
  }
  void unpad_rows(const float* from, float* to) const {
    for (int64_t row = 0; row < n_; ++row) std::copy_n(from + row * state_row_, hidden_, to + row * hidden_);
  }

  /// f(panel), a range of panels for each thread; `work`: multiply-adds of one.
  template <typename F>
  void for_panels(int64_t panels, int64_t work, const F& f) const {
#pragma omp parallel for schedule(static) if (panels * work >= kParallelProducts)
    for (int64_t panel = 0; panel < panels; ++panel) f(panel);
  }

  CellStep cell_step(const Buffers& at, int64_t step) const {
    const int64_t states = n_ * state_row_;
    CellStep s{.rows = n_, .units = units_};
    s.gates_row = gates_row_;
    s.state_row = state_row_;
    s.lengths = at.lengths;
    s.t = step_of(step);
    s.update_keeps = desc_.update_keeps;
    s.gates = at.gates + step * n_ * gates_row_;
    s.h_before = at.h + step * states;
    s.c_before = at.c + step * states;
    s.h = at.h + (step + 1) * states;
    s.c = at.c + (step + 1) * states;
    s.reset = at.reset + step * states;
    s.peephole = packed(peephole_);
    s.diff_h = at.diff_h;
    s.diff_c = at.diff_c;
    s.diff_reset = at.diff_reset;
    s.diff_bias = desc_.has_bias ? at.diff_bias : nullptr;
    s.diff_peephole = at.diff_peephole;
    return s;
  }

  /// Row by row: y has the steps of a row side by side, and pages in which panels of all rows lie are many.
  void write_y(const Buffers& at, int64_t step, float* y) const {
    const int64_t t = step_of(step);
    const float* h = at.h + (step + 1) * n_ * state_row_;
    for (int64_t row = 0; row < n_; ++row) {
      float* to = y + (row * steps_ + t) * hidden_;
      if (t < at.lengths[row])
        std::copy_n(h + row * state_row_, hidden_, to);
      else
        std::fill_n(to, hidden_, 0.0f);
    }
  }
  void read_diff_y(const Buffers& at, int64_t step, const float* diff_y) const {
    for (int64_t row = 0; row < n_; ++row)
      std::copy_n(diff_y + (row * steps_ + step_of(step)) * hidden_, hidden_, at.diff_y + row * state_row_);
  }

  /// Asks for what the cells of a panel touch, so that the product before them hides the way from memory.
  void fetch(const CellStep& s, int64_t unit, bool backward) const {
    for (int64_t row = 0; row < n_; ++row) {
      for (int64_t slot = 0; slot < n_slots_; ++slot)
        __builtin_prefetch(s.gates + row * gates_row_ + slot * units_ + unit, 1);
      const int64_t state = row * state_row_ + unit;
      if (!backward) __builtin_prefetch(s.h + state, 1);
      if (has_c()) __builtin_prefetch(backward ? s.c_before + state : s.c + state, 1);
      if (backward && desc_.cell == RecurrentCell::kGru) __builtin_prefetch(s.h_before + state);
    }
  }

  void forward_step(const Buffers& at, int64_t step) const {
    const CellStep s = cell_step(at, step);
    const auto n = static_cast<int64_t>(hidden_gates_.size());
    PanelProduct p{.k = hidden_, .columns = n * units_};
    p.a = s.h_before;
    p.a_row = state_row_;
    p.b = packed(hh_);
    p.c = s.gates;
    p.c_row = gates_row_;
    p.lengths = s.lengths;
    p.t = s.t;
    // The first step of a group takes the sources of all of its steps.
    PanelProduct of_src{.k = in_, .columns = n_gates_ * units_};
    of_src.a = at.src;
    of_src.a_row = in_;
    of_src.b = packed(ih_);
    of_src.c = at.gates + src_slot_ * units_;
    of_src.c_row = gates_row_;
    of_src.start = PanelProduct::Start::kBias;
    of_src.bias = packed(bias_);
    const int64_t first = step * n_, last = std::min(steps_, step + group_) * n_;
    const bool takes_src = step % group_ == 0;

    const int64_t panels = units_ / kPanelColumns;
    for_panels(panels, (hidden_ * n + in_ * n_gates_) * kPanelColumns * n_, [&](int64_t panel) {
      const int64_t unit = panel * kPanelColumns;
      fetch(s, unit, false);
      if (takes_src)
        for (int64_t gate = 0; gate < n_gates_; ++gate)
          multiply_rows(of_src, first, last, gate * panels + panel, gate * panels + panel + 1);
      if (kind_ == CellKind::kGruAfter)
        for (int64_t row = 0; row < n_; ++row)
          std::copy_n(packed(hidden_bias_) + unit, kPanelColumns, s.gates + row * gates_row_ + unit);
      for (int64_t slot = 0; slot < n; ++slot)
        multiply_rows(p, 0, n_, slot * panels + panel, slot * panels + panel + 1);
      tiles_.forward(kind_, s, unit, unit + kPanelColumns);
    });
    if (kind_ != CellKind::kGruBefore) return;
    p.columns = units_;
    p.a = s.reset;
    p.b = packed(reset_);
    p.c = s.gates + 2 * units_;
    for_panels(units_ / kPanelColumns, hidden_ * kPanelColumns * n_, [&](int64_t panel) {
      multiply_rows(p, 0, n_, panel, panel + 1);
      tiles_.forward_finish(s, panel * kPanelColumns, (panel + 1) * kPanelColumns);
    });
  }

  /// diff_h += the gates' gradients of `step` · weight_hh
  PanelProduct hidden_backward(const Buffers& at, int64_t step) const {
    PanelProduct p{.k = static_cast<int64_t>(hidden_gates_.size()) * units_, .columns = units_};
    p.a = at.gates + step * n_ * gates_row_;
    p.a_row = gates_row_;
    p.b = packed(hh_back_);
    p.c = at.diff_h;
    p.c_row = state_row_;
    p.lengths = at.lengths;
    p.t = step_of(step);
    return p;
  }

  void backward_step(const Buffers& at, int64_t step, const float* diff_y) const {
    CellStep s = cell_step(at, step);
    if (diff_y) {
      read_diff_y(at, step, diff_y);
      s.diff_y = at.diff_y;
    }
    const bool is_last = step == steps_ - 1;
    const PanelProduct p = hidden_backward(at, is_last ? step : step + 1);
    for_panels(units_ / kPanelColumns, p.k * kPanelColumns * n_, [&](int64_t panel) {
      fetch(s, panel * kPanelColumns, true);
      if (!is_last) multiply_rows(p, 0, n_, panel, panel + 1);
      tiles_.backward(kind_, s, panel * kPanelColumns, (panel + 1) * kPanelColumns);
    });
    if (kind_ != CellKind::kGruBefore) return;
    PanelProduct of_reset{.k = units_, .columns = units_};
    of_reset.a = s.gates + 2 * units_;
    of_reset.a_row = gates_row_;
    of_reset.b = packed(reset_back_);
    of_reset.c = at.diff_reset;
    of_reset.c_row = state_row_;
    of_reset.lengths = s.lengths;
    of_reset.t = s.t;
    for_panels(units_ / kPanelColumns, units_ * kPanelColumns * n_, [&](int64_t panel) {
      multiply_rows(of_reset, 0, n_, panel, panel + 1);
      tiles_.backward_finish(s, panel * kPanelColumns, (panel + 1) * kPanelColumns);
    });
  }

  /// The sources' gradients of the group of steps that begins with `step`.
  void backward_src(const Buffers& at, int64_t step, float* diff_src) const {
    PanelProduct p{.k = n_gates_ * units_, .columns = in_};
    p.a = at.gates + src_slot_ * units_;
    p.a_row = gates_row_;
    p.b = packed(ih_back_);
    p.c = diff_src;
    p.c_rows = src_rows_.data();
    p.start = PanelProduct::Start::kZero;
    const int64_t first = step * n_, last = std::min(steps_, step + group_) * n_;
    for_panels(to_panels(in_) / kPanelColumns, p.k * kPanelColumns * (last - first),
               [&](int64_t panel) { multiply_rows(p, first, last, panel, panel + 1); });
  }

  /// Rows in blocks that are not too large.
  void multiply_rows(const PanelProduct& p, int64_t row_begin, int64_t row_end, int64_t panel_begin,
                     int64_t panel_end) const {
    for (int64_t row = row_begin; row < row_end; row += kMostBlockRows)
      tiles_.multiply(p, row, std::min(row_end, row + kMostBlockRows), panel_begin, panel_end);
  }

  /// diff_weights (G, H, columns) = the gradients of the gates of the slots from `first` on, transposed, ·
  /// factor (steps N, columns)
  void weight_gradient(const Buffers& at, int64_t first, const std::vector<int64_t>& gates,
                       const float* factor, int64_t row, int64_t columns, float* diff_weights) {
    const int64_t rows = static_cast<int64_t>(gates.size()) * units_;
    for (int64_t i = 0; i < rows; ++i) {
      const int64_t gate = gates[static_cast<size_t>(i / units_)], unit = i % units_;
      const auto at_row = static_cast<size_t>(i);
      diff_rows_[at_row] = unit < hidden_ ? diff_weights + (gate * hidden_ + unit) * columns : nullptr;
    }
    TransposedProduct p{.k = steps_ * n_, .columns = columns};
    p.a = at.gates + first * units_;
    p.a_row = gates_row_;
    p.b = factor;
    p.b_row = row;
    p.c_rows = diff_rows_.data();
    const int64_t blocks = (rows + kMostTransposedRows - 1) / kMostTransposedRows;
    for_panels(blocks, p.k * columns * std::min(rows, kMostTransposedRows), [&](int64_t block) {
      const int64_t begin = block * kMostTransposedRows;
      tiles_.multiply_transposed(p, begin, std::min(rows, begin + kMostTransposedRows));
    });
  }

  void weight_gradients(const Buffers& at, const OpArgs& args) {
    float* diff_hh = args.diff_params[1].as<float>();
    weight_gradient(at, src_slot_, all_gates_, at.src, in_, in_, args.diff_params[0].as<float>());
    weight_gradient(at, 0, hidden_gates_, at.h, state_row_, hidden_, diff_hh);
    if (kind_ == CellKind::kGruBefore)
      weight_gradient(at, 2, third_gate_, at.reset, state_row_, hidden_, diff_hh);
  }

  /// src in the order of the steps, zeros where a row takes no part.
  void copy_src(const Buffers& at, const float* src) const {
#pragma omp parallel for schedule(static) if (n_ * steps_ * in_ >= kParallelProducts / 8)
    for (int64_t step = 0; step < steps_; ++step)
      for (int64_t row = 0; row < n_; ++row) {
        float* to = at.src + (step * n_ + row) * in_;
        if (step_of(step) < at.lengths[row])
          std::copy_n(src + (row * steps_ + step_of(step)) * in_, in_, to);
        else
          std::fill_n(to, in_, 0.0f);
      }
  }

  void vector_gradients(const Buffers& at, const OpArgs& args) const {
    size_t next = 2;
    if (desc_.has_bias) {
      float *of_src = args.diff_params[2].as<float>(), *of_hidden = args.diff_params[3].as<float>();
      for (int64_t gate = 0; gate < n_gates_; ++gate) {
        const int64_t hidden_slot = kind_ == CellKind::kGruAfter ? (gate + 1) % 3 : gate;
        std::copy_n(at.diff_bias + (src_slot_ + gate) * units_, hidden_, of_src + gate * hidden_);
        std::copy_n(at.diff_bias + hidden_slot * units_, hidden_, of_hidden + gate * hidden_);
      }
      next = 4;
    }
    if (kind_ == CellKind::kPeephole)
      for (int64_t i = 0; i < 3; ++i)
        std::copy_n(at.diff_peephole + i * units_, hidden_, args.diff_params[next].as<float>() + i * hidden_);
  }

  RecurrentDesc desc_;
  CellKind kind_;
  const RecurrentTiles& tiles_;
  bool training_;
  int64_t n_, steps_, in_, hidden_, n_gates_, units_;  // N, T, D, H, G, H in whole panels
  int64_t n_slots_ = 0, src_slot_ = 0;                 // of gates; where those of the source begin
  std::vector<int64_t> hidden_gates_;                  // which gate the first slots belong to
  std::vector<int64_t> all_gates_;
  const std::vector<int64_t> third_gate_{2};
  int64_t gates_row_ = 0, state_row_ = 0;
  int64_t group_ = 1;              // steps whose sources are multiplied at a time
  std::vector<float*> diff_rows_;  // of the gradient of weights that is being summed
  std::vector<int64_t> src_rows_;  // where the source of (step, row) lies
  Memory weights_;                 // packed, and vectors padded
  int64_t ih_ = 0, hh_ = 0, reset_ = 0, ih_back_ = 0, hh_back_ = 0, reset_back_ = 0, bias_ = 0,
          hidden_bias_ = 0, peephole_ = 0;
  int64_t gates_ = 0, h_ = 0, c_ = 0, resets_ = 0, src_ = 0,
          lengths_ = 0;  // in the workspace; without training in the scratchpad
  int64_t diff_h_ = 0, diff_c_ = 0, diff_y_ = 0, diff_reset_ = 0, diff_bias_ = 0;  // in the scratchpad
};

}  // namespace

const RecurrentTiles& recurrent_tiles() {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("fma")) return recurrent_tiles_avx512();
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return recurrent_tiles_avx2();
#endif
  return recurrent_tiles_any();
}

std::unique_ptr<Op> make_recurrent(const OpConfig& config, const RecurrentDesc& desc) {
  auto op = std::make_unique<Recurrent>(as_float32(config), desc);
  if (config.compute == DType::kBFloat16) return through_float32(std::move(op), Weights::kBFloat16);
  return op;
}

}  // namespace lockstep::cpu
