// Recurrent cells over a whole sequence: one op is one direction of one layer.
#pragma once

#include <memory>

#include "kernels/op.h"

namespace lockstep {

/// With a_g = W_g x_t + b_g + U_g h_{t-1} + d_g for each gate g (W of weight_ih, U of weight_hh, b of
/// bias_ih, d of bias_hh), s the sigmoid and · by element:
///   kRnnTanh, kRnnRelu  h_t = f(a), Elman 1990                                        rows: one gate
///   kLstm               i, f, o = s(a), g = tanh(a), c_t = f · c_{t-1} + i · g, h_t = o · tanh(c_t)
///                       (Hochreiter and Schmidhuber 1997, Gers et al. 2000)           rows: i, f, g, o
///   kLstmPeephole       a_i += p_i · c_{t-1}, a_f += p_f · c_{t-1}, a_o += p_o · c_t
///                       (Gers and Schmidhuber 2000)                                   rows: i, f, g, o
///   kLstmCoupled        i = 1 - f (Greff et al. 2017)                                 rows: f, g, o
///   kGru                r, z = s(a), n = tanh(a) of which the hidden part is reset by r, h_t a mean of
///                       h_{t-1} and n weighted by z (Cho et al. 2014)                 rows: r, z, n
enum class RecurrentCell : uint8_t { kRnnTanh, kRnnRelu, kLstm, kLstmPeephole, kLstmCoupled, kGru };

/// Gates whose rows are stacked in the weights: 1, 3 or 4.
int64_t gates_of(RecurrentCell cell);
/// Whether the cell carries c besides h.
bool is_lstm(RecurrentCell cell);

struct RecurrentDesc {
  TensorDesc src;  // (N, T, D)
  RecurrentCell cell = RecurrentCell::kLstm;
  int64_t hidden = 0;        // H
  bool reversed = false;     // from the last valid step to the first; outputs stay in the order of the input
  bool has_bias = true;      // both of them
  bool has_lengths = false;  // src holds lengths
  bool has_state = false;    // src holds the initial state; else it is 0
  bool wants_diff_src = true;  // false for the first layer: no gradient of x
  /// GRU: n = tanh(W_n x + b_n + r · (U_n h + d_n)) (PyTorch), or false: U_n (r · h) + d_n (Cho et al., the
  /// course, Keras's reset_after=False, ONNX's linear_before_reset=0).
  bool reset_after = true;
  /// GRU: h_t = z · h_{t-1} + (1 - z) · n (PyTorch, Keras, course text 000), or false: h_t = (1 - z) ·
  /// h_{t-1} + z · n (Cho et al. with z for 1 - z, course text 004).
  bool update_keeps = true;
};

/// With G = gates_of(cell):
/// src = {x (N, T, D), lengths (N) int32 if has_lengths, h0 (N, H) and for LSTMs c0 (N, H) if has_state}
/// dst = {y (N, T, H), h_n (N, H), and for LSTMs c_n (N, H)}
/// params = {weight_ih (G H, D), weight_hh (G H, H), bias_ih (G H) and bias_hh (G H) if has_bias,
///           peephole (3 H) of i, f, o for kLstmPeephole}
/// All dense, in config.compute but for the lengths and params.
///
/// h_n and c_n are the state behind each row's last step in the order of time that the op follows. A row
/// with a length takes its first `length` steps only, those of PyTorch's packed sequences: behind them
/// y is 0 and the state stays; length 0 gives h_n = h0. Lengths beyond T count as T, negative ones as 0. Rows
/// from BatchContext::n_valid on have length 0, and all their gradients are 0.
/// Any diff_dst may be empty (zero), and so may diff_src of x, h0 and c0 (not wanted).
///
/// A row's y, state and gradients do not depend on other rows nor on N on the CPU, and T steps in one call
/// give the bits of T calls of one step with the state handed on. Gradients of params are sums over steps
/// and rows in one order for given shapes.
std::unique_ptr<Op> make_recurrent(const OpConfig& config, const RecurrentDesc& desc);

}  // namespace lockstep
