// Recurrent cells on GPUs: one product for the sources of all steps, then per step one product with the
// hidden state and one kernel that closes the gates, a thread for each unit of each row. Backward: per step
// one kernel and one product; those of weights and sources behind the loop. Gates and c are float32, h and
// the gates' gradients, which products read, have the type of activations.
//
// Rows lie as in the source, (N, T, ·), each gate padded to a multiple of 8 so that every step and gate
// begins on 16 bytes; prepare() copies the weights into rows padded alike.
#include "kernels/recurrent.h"

#include <algorithm>
#include <vector>

#include "kernels/backend.h"
#include "kernels/cuda/column_sums.h"
#include "kernels/cuda/element.h"
#include "kernels/cuda/matmul.h"
#include "kernels/cuda/scratch.h"
#include "kernels/recurrent_kind.h"

namespace lockstep::cuda {

namespace {

/// What the kernels of one step know. Slots of gates as on the CPU: LSTMs as their weights; kGruAfter: hidden
/// part of n, r, z, n; kGruBefore: r, z, n.
struct StepArgs {
  CellKind kind;
  bool update_keeps;
  int64_t n, steps, t, hidden, units, slots;  // N, T, this step, H, H padded, of gates
  const BatchContext* batch;
  const int32_t* lengths;          // null: T each
  const float *bias_ih, *bias_hh;  // null: none
  const float* peephole;
  float* gates;           // (N, T, slots, units)
  float* hidden_sums;     // (N, hidden gates, units): products with h
  const float* c_before;  // (N, units)
  float* c;

  __device__ __forceinline__ bool takes_part(int64_t row) const {
    return row < batch->n_valid && (lengths == nullptr || t < lengths[row]);
  }
  __device__ __forceinline__ int64_t at_step(int64_t row) const { return row * steps + t; }
};

__device__ __forceinline__ float sigmoid_of(float x) { return 1.0f / (1.0f + expf(-x)); }

template <typename T>
struct ForwardArgs {
  const T* h_before;  // (N, T, units): before each step
  T* h_next;          // (N, …, row_next): before the next step, or h_n
  int64_t row_next;
  T* y;      // (N, T, H)
  T* c_n;    // (N, H) at the last step, else null
  T* reset;  // kGruBefore: (N, T, units)
};

/// kFinish: the second half of kGruBefore.
template <typename T, bool kFinish>
__global__ void __launch_bounds__(kThreads) cell_forward(StepArgs s, ForwardArgs<T> f) {
  const int64_t i = global_thread();
  if (i >= s.n * s.hidden) return;
  const int64_t row = i / s.hidden, u = i % s.hidden;
  const bool active = s.takes_part(row);
  const float before = to_float(f.h_before[s.at_step(row) * s.units + u]);
  float* gate = s.gates + s.at_step(row) * s.slots * s.units + u;
  const bool before_reset = s.kind == CellKind::kGruBefore && !kFinish;
  if (!active) {
    if (before_reset) {
      f.reset[s.at_step(row) * s.units + u] = from_float<T>(0.0f);
      return;
    }
    if (s.c) {
      const float c = s.c_before[row * s.units + u];
      s.c[row * s.units + u] = c;
      if (f.c_n) f.c_n[i] = from_float<T>(c);
    }
    f.h_next[row * f.row_next + u] = from_float<T>(before);
    f.y[s.at_step(row) * s.hidden + u] = from_float<T>(0.0f);
    return;
  }
  const int64_t n_gates = s.kind == CellKind::kGruAfter ? 3 : s.slots;
  const int64_t of_hidden = s.kind == CellKind::kGruBefore ? (kFinish ? 1 : 2) : n_gates;
  const float* sums = s.hidden_sums + row * of_hidden * s.units + u;
  // Gate g of the weights from its two products and biases; `slot` and `place` where they lie.
  const auto of_src = [&](int g, int slot) {
    return gate[slot * s.units] + (s.bias_ih ? s.bias_ih[g * s.hidden + u] : 0.0f);
  };
  const auto of_h = [&](int g, int place) {
    return sums[place * s.units] + (s.bias_hh ? s.bias_hh[g * s.hidden + u] : 0.0f);
  };
  const auto sum = [&](int g) { return of_src(g, g) + of_h(g, g); };
  const auto mix = [&](float z, float n) {
    return s.update_keeps ? z * before + (1.0f - z) * n : (1.0f - z) * before + z * n;
  };
  float h = 0.0f;
  if (s.kind == CellKind::kRnnTanh || s.kind == CellKind::kRnnRelu) {
    const float a = sum(0);
    h = s.kind == CellKind::kRnnTanh ? tanhf(a) : (a < 0.0f ? 0.0f : a);
    gate[0] = h;
  } else if (s.kind == CellKind::kGruAfter) {
    const float of_n = of_h(2, 0), r = sigmoid_of(of_src(0, 1) + of_h(0, 1)),
                z = sigmoid_of(of_src(1, 2) + of_h(1, 2)), n = tanhf(of_src(2, 3) + r * of_n);
    gate[0] = of_n;
    gate[s.units] = r;
    gate[2 * s.units] = z;
    gate[3 * s.units] = n;
    h = mix(z, n);
  } else if (s.kind == CellKind::kGruBefore) {
    if constexpr (!kFinish) {
      const float r = sigmoid_of(sum(0));
      gate[0] = r;
      gate[s.units] = sigmoid_of(sum(1));
      f.reset[s.at_step(row) * s.units + u] = from_float<T>(r * before);
      return;
    }
    const float n = tanhf(of_src(2, 2) + of_h(2, 0));
    gate[2 * s.units] = n;
    h = mix(gate[s.units], n);
  } else {
    const bool coupled = s.kind == CellKind::kCoupled, peeps = s.kind == CellKind::kPeephole;
    const int first = coupled ? 0 : 1;
    const float c_before = s.c_before[row * s.units + u];
    const float f_gate = sigmoid_of(sum(first) + (peeps ? s.peephole[s.hidden + u] * c_before : 0.0f));
    const float g = tanhf(sum(first + 1));
    float in = 1.0f - f_gate;
    if (!coupled) {
      in = sigmoid_of(sum(0) + (peeps ? s.peephole[u] * c_before : 0.0f));
      gate[0] = in;
    }
    const float c = f_gate * c_before + in * g;
    const float o = sigmoid_of(sum(first + 2) + (peeps ? s.peephole[2 * s.hidden + u] * c : 0.0f));
    gate[first * s.units] = f_gate;
    gate[(first + 1) * s.units] = g;
    gate[(first + 2) * s.units] = o;
    s.c[row * s.units + u] = c;
    if (f.c_n) f.c_n[i] = from_float<T>(c);
    h = o * tanhf(c);
  }
  const T rounded = from_float<T>(h);
  f.h_next[row * f.row_next + u] = rounded;
  f.y[s.at_step(row) * s.hidden + u] = rounded;
}

template <typename T>
struct BackwardArgs {
  const T* h_before;         // (N, T, units)
  const T* diff_y;           // (N, T, H); null: 0
  const float* product;      // (N, units), of the step behind; null: none
  float* carried;            // (N, units): in: gradient of h by other ways; out: of h_before
  float* diff_c;             // (N, units): of c, then of c_before
  T* diff;                   // (N, T, slots, units): of the gates
  float* peephole_products;  // (N, T, 3, units)
};

/// kFinish: kGruBefore's r, where `product` is the gradient of r · h_before.
template <typename T, bool kFinish>
__global__ void __launch_bounds__(kThreads) cell_backward(StepArgs s, BackwardArgs<T> b) {
  const int64_t i = global_thread();
  if (i >= s.n * s.units) return;
  const int64_t row = i / s.units, u = i % s.units;
  const float* gate = s.gates + s.at_step(row) * s.slots * s.units + u;
  T* diff = b.diff + s.at_step(row) * s.slots * s.units + u;
  const bool active = u < s.hidden && s.takes_part(row);
  if constexpr (kFinish) {
    const float before = active ? to_float(b.h_before[s.at_step(row) * s.units + u]) : 0.0f;
    const float r = active ? gate[0] : 0.0f, of_reset = active ? b.product[i] : 0.0f;
    diff[0] = from_float<T>(of_reset * before * r * (1.0f - r));
    if (active) b.carried[i] += of_reset * r;
    return;
  }
  float diff_h = u < s.hidden ? b.carried[i] : 0.0f;
  if (b.product && u < s.hidden) diff_h += b.product[i];
  if (!active) {
    for (int64_t slot = 0; slot < s.slots; ++slot) diff[slot * s.units] = from_float<T>(0.0f);
    if (s.kind == CellKind::kPeephole)
      for (int64_t k = 0; k < 3; ++k) b.peephole_products[(s.at_step(row) * 3 + k) * s.units + u] = 0.0f;
    b.carried[i] = diff_h;
    return;
  }
  if (b.diff_y) diff_h += to_float(b.diff_y[s.at_step(row) * s.hidden + u]);
  float passes = 0.0f;
  if (s.kind == CellKind::kRnnTanh || s.kind == CellKind::kRnnRelu) {
    const float h = gate[0];
    diff[0] =
        from_float<T>(s.kind == CellKind::kRnnTanh ? diff_h * (1.0f - h * h) : (h > 0.0f ? diff_h : 0.0f));
  } else if (s.kind == CellKind::kGruAfter || s.kind == CellKind::kGruBefore) {
    const bool after = s.kind == CellKind::kGruAfter;
    const int of_z = after ? 2 : 1, of_n = of_z + 1;
    const float before = to_float(b.h_before[s.at_step(row) * s.units + u]);
    const float z = gate[of_z * s.units], n = gate[of_n * s.units];
    const float keeps = s.update_keeps ? z : 1.0f - z;
    const float moves = s.update_keeps ? before - n : n - before;
    const float diff_n = diff_h * (1.0f - keeps) * (1.0f - n * n);
    diff[of_z * s.units] = from_float<T>(diff_h * moves * z * (1.0f - z));
    diff[of_n * s.units] = from_float<T>(diff_n);
    if (after) {
      const float r = gate[s.units];
      diff[s.units] = from_float<T>(diff_n * gate[0] * r * (1.0f - r));
      diff[0] = from_float<T>(diff_n * r);
    }
    passes = diff_h * keeps;
  } else {
    const bool coupled = s.kind == CellKind::kCoupled, peeps = s.kind == CellKind::kPeephole;
    const int first = coupled ? 0 : 1;
    const float f = gate[first * s.units], g = gate[(first + 1) * s.units], o = gate[(first + 2) * s.units];
    const float c = s.c[i], c_before = s.c_before[i], tanh_c = tanhf(c);
    const float diff_o = diff_h * tanh_c * o * (1.0f - o);
    float diff_c = b.diff_c[i] + diff_h * o * (1.0f - tanh_c * tanh_c);
    if (peeps) diff_c += diff_o * s.peephole[2 * s.hidden + u];
    const float in = coupled ? 1.0f - f : gate[0];
    const float diff_f = diff_c * (coupled ? c_before - g : c_before) * f * (1.0f - f);
    const float diff_i = diff_c * g * in * (1.0f - in);
    if (!coupled) diff[0] = from_float<T>(diff_i);
    diff[first * s.units] = from_float<T>(diff_f);
    diff[(first + 1) * s.units] = from_float<T>(diff_c * in * (1.0f - g * g));
    diff[(first + 2) * s.units] = from_float<T>(diff_o);
    float of_before = diff_c * f;
    if (peeps) {
      of_before += diff_i * s.peephole[u] + diff_f * s.peephole[s.hidden + u];
      float* products = b.peephole_products + s.at_step(row) * 3 * s.units + u;
      products[0] = diff_i * c_before;
      products[s.units] = diff_f * c_before;
      products[2 * s.units] = diff_o * c;
    }
    b.diff_c[i] = of_before;
  }
  b.carried[i] = passes;
}

/// to (n, row_to) = from (n, columns), the first `columns` of a row; from null, and rows from n_valid on if
/// there is a batch: 0. `pad` columns behind them are 0.
template <typename From, typename To>
__global__ void __launch_bounds__(kThreads)
    copy_rows(int64_t n, int64_t columns, int64_t pad, const From* from, int64_t row_from, To* to,
              int64_t row_to, const BatchContext* batch) {
  const int64_t i = global_thread();
  if (i >= n * (columns + pad)) return;
  const int64_t row = i / (columns + pad), j = i % (columns + pad);
  const bool has = from != nullptr && j < columns && (batch == nullptr || row < batch->n_valid);
  to[row * row_to + j] = from_float<To>(has ? to_float(from[row * row_from + j]) : 0.0f);
}

/// diff_h0 = carried + product
template <typename T>
__global__ void __launch_bounds__(kThreads)
    add_rows(int64_t n, int64_t hidden, int64_t units, const float* carried, const float* product, T* to) {
  const int64_t i = global_thread();
  if (i >= n * hidden) return;
  const int64_t at = i / hidden * units + i % hidden;
  to[i] = from_float<T>(carried[at] + product[at]);
}

/// src of rows that take no part must not meet their zero gradients as NaN: (N, T, D), zeros there.
template <typename T>
__global__ void __launch_bounds__(kThreads)
    valid_rows(int64_t n, int64_t steps, int64_t in, const T* src, const int32_t* lengths,
               const BatchContext* batch, T* to) {
  const int64_t i = global_thread();
  if (i >= n * steps * in) return;
  const int64_t row = i / (steps * in), t = i / in % steps;
  const bool takes_part = row < batch->n_valid && (lengths == nullptr || t < lengths[row]);
  to[i] = takes_part ? src[i] : from_float<T>(0.0f);
}

class Recurrent : public Op {
 public:
  Recurrent(const OpConfig& config, const RecurrentDesc& desc)
      : desc_(desc),
        kind_(kind_of(desc)),
        dtype_(config.compute),
        training_(config.training),
        n_(desc.src.shape[0]),
        steps_(desc.src.shape[1]),
        in_(desc.src.shape[2]),
        hidden_(desc.hidden),
        units_((desc.hidden + 7) / 8 * 8),
        n_gates_(gates_of(desc.cell)) {
    const bool after = kind_ == CellKind::kGruAfter, before = is_before();
    slots_ = after ? 4 : n_gates_;
    src_slot_ = after ? 1 : 0;
    if (after)
      hidden_gates_ = {2, 0, 1};
    else
      for (int64_t gate = 0; gate < (before ? 2 : n_gates_); ++gate) hidden_gates_.push_back(gate);
    describe();
    const int64_t size = size_of(dtype_), of_hidden = hidden_columns();
    ih_ = Memory(config.device, n_gates_ * units_ * in_ * size);
    hh_ = Memory(config.device, of_hidden * hidden_ * size);
    if (before) reset_weights_ = Memory(config.device, units_ * hidden_ * size);

    MatmulDesc of_src{.m = n_ * steps_, .n = n_gates_ * units_, .k = in_, .transpose_b = true, .src = dtype_};
    of_src.tf32 = config.tf32;
    of_src.row_d = slots_ * units_;
    src_product_ = Matmul(config.device, of_src);
    MatmulDesc of_h{.m = n_, .n = of_hidden, .k = hidden_, .transpose_b = true, .src = dtype_};
    of_h.tf32 = config.tf32;
    of_h.row_a = steps_ * units_;
    hidden_product_ = Matmul(config.device, of_h);
    int64_t workspace = std::max(src_product_.workspace_bytes(), hidden_product_.workspace_bytes());
    if (before) {
      of_h.n = units_;
      reset_product_ = Matmul(config.device, of_h);
      workspace = std::max(workspace, reset_product_.workspace_bytes());
    }
    if (training_) workspace = std::max(workspace, make_backward(config));
    lay_out(workspace);
  }

  void prepare(Stream& stream, std::span<const Tensor> params) override {
    const auto *weight_ih = params[0].as<const float>(), *weight_hh = params[1].as<const float>();
    with_element(dtype_, [&]<typename T>() {
      for (int64_t gate = 0; gate < n_gates_; ++gate)
        pad_gate(stream, weight_ih, gate, in_, ih_.as<T>() + gate * units_ * in_);
      for (size_t i = 0; i < hidden_gates_.size(); ++i)
        pad_gate(stream, weight_hh, hidden_gates_[i], hidden_,
                 hh_.as<T>() + static_cast<int64_t>(i) * units_ * hidden_);
      if (is_before()) pad_gate(stream, weight_hh, 2, hidden_, reset_weights_.as<T>());
    });
  }

  void forward(Stream& stream, const OpArgs& args) override {
    with_element(dtype_, [&]<typename T>() { forward_as<T>(stream, args); });
  }
  void backward(Stream& stream, const OpArgs& args) override {
    with_element(dtype_, [&]<typename T>() { backward_as<T>(stream, args); });
  }

 private:
  bool is_before() const { return kind_ == CellKind::kGruBefore; }
  bool has_c() const { return is_lstm(desc_.cell); }
  int64_t hidden_columns() const { return static_cast<int64_t>(hidden_gates_.size()) * units_; }
  int64_t step_of(int64_t step) const { return desc_.reversed ? steps_ - 1 - step : step; }
  static bool wants(const OpArgs& args, size_t i) {
    return i < args.diff_src.size() && !args.diff_src[i].empty();
  }

  void describe() {
    const auto activation = [&](const Shape& shape) { return TensorDesc{shape, dtype_, nullptr}; };
    info_.src = {activation(desc_.src.shape)};
    if (desc_.has_lengths) info_.src.push_back({Shape{n_}, DType::kInt32, nullptr});
    const TensorDesc state = activation(Shape{n_, hidden_});
    info_.dst = {activation(Shape{n_, steps_, hidden_}), state};
    if (has_c()) info_.dst.push_back(state);
    for (int i = 0; desc_.has_state && i < (has_c() ? 2 : 1); ++i) info_.src.push_back(state);
    info_.backward_needs_dst = false;
  }

  /// Bytes of workspace that the products of the backward pass want.
  int64_t make_backward(const OpConfig& config) {
    const int64_t gates_row = slots_ * units_;
    const auto make = [&](MatmulDesc desc) {
      desc.tf32 = config.tf32;
      desc.src = dtype_;
      return Matmul(config.device, desc);
    };
    diff_hidden_ =
        make({.m = n_, .n = hidden_, .k = hidden_columns(), .row_a = steps_ * gates_row, .row_d = units_});
    diff_ih_ =
        make({.m = n_gates_ * units_, .n = in_, .k = n_ * steps_, .transpose_a = true, .row_a = gates_row});
    diff_hh_ = make({.m = hidden_columns(),
                     .n = hidden_,
                     .k = n_ * steps_,
                     .transpose_a = true,
                     .row_a = gates_row,
                     .row_b = units_});
    int64_t workspace =
        std::max({diff_hidden_.workspace_bytes(), diff_ih_.workspace_bytes(), diff_hh_.workspace_bytes()});
    if (is_before()) {
      diff_reset_ = make({.m = n_, .n = hidden_, .k = units_, .row_a = steps_ * gates_row, .row_d = units_});
      diff_reset_weights_ = make({.m = units_,
                                  .n = hidden_,
                                  .k = n_ * steps_,
                                  .transpose_a = true,
                                  .row_a = gates_row,
                                  .row_b = units_});
      workspace = std::max({workspace, diff_reset_.workspace_bytes(), diff_reset_weights_.workspace_bytes()});
    }
    if (desc_.wants_diff_src) {
      diff_src_ =
          make({.m = n_ * steps_, .n = in_, .k = n_gates_ * units_, .dst = dtype_, .row_a = gates_row});
      workspace = std::max(workspace, diff_src_.workspace_bytes());
    }
    return std::max(
        {workspace, column_sums_bytes(n_ * steps_, gates_row), column_sums_bytes(n_ * steps_, 3 * units_)});
  }

  void lay_out(int64_t workspace) {
    const int64_t size = size_of(dtype_), rows = n_ * steps_;
    Scratch kept, scratch;
    Scratch& of_steps = training_ ? kept : scratch;
    gates_ = of_steps.take(rows * slots_ * units_ * 4);
    h_ = of_steps.take(rows * units_ * size);
    c_ = of_steps.take(has_c() ? (steps_ + 1) * n_ * units_ * 4 : 0);
    resets_ = of_steps.take(is_before() ? rows * units_ * size : 0);
    sums_ = scratch.take(n_ * n_gates_ * units_ * 4);
    workspace_ = scratch.take(workspace);
    if (training_) {
      diff_ = scratch.take(rows * slots_ * units_ * size);
      carried_ = scratch.take(n_ * units_ * 4);
      diff_c_ = scratch.take(n_ * units_ * 4);
      peephole_products_ = scratch.take(kind_ == CellKind::kPeephole ? rows * 3 * units_ * 4 : 0);
      valid_src_ = scratch.take(rows * in_ * size);
      weights_ = scratch.take(std::max(n_gates_ * std::max(in_, hidden_), slots_) * units_ * 4);
    }
    info_.workspace_bytes = kept.n_bytes();
    info_.scratchpad_bytes = scratch.n_bytes();
  }

  template <typename T>
  void pad_gate(Stream& stream, const float* weights, int64_t gate, int64_t columns, T* to) const {
    const int64_t n = hidden_ * columns;
    launch(stream, blocks_for(units_ * columns), kThreads, copy_rows<float, T>, int64_t{1}, n,
           (units_ - hidden_) * columns, weights + gate * n, n, to, units_ * columns,
           static_cast<const BatchContext*>(nullptr));
  }

  StepArgs step_args(const OpArgs& args, std::byte* of_steps, int64_t step) const {
    StepArgs s{kind_, desc_.update_keeps, n_, steps_, step_of(step), hidden_, units_, slots_, args.batch};
    s.lengths = desc_.has_lengths ? args.src[1].as<const int32_t>() : nullptr;
    s.bias_ih = desc_.has_bias ? args.params[2].as<const float>() : nullptr;
    s.bias_hh = desc_.has_bias ? args.params[3].as<const float>() : nullptr;
    s.peephole =
        kind_ == CellKind::kPeephole ? args.params[desc_.has_bias ? 4 : 2].as<const float>() : nullptr;
    s.gates = reinterpret_cast<float*>(of_steps + gates_);
    s.hidden_sums = reinterpret_cast<float*>(args.scratchpad + sums_);
    float* c = reinterpret_cast<float*>(of_steps + c_);
    s.c_before = has_c() ? c + step * n_ * units_ : nullptr;
    s.c = has_c() ? c + (step + 1) * n_ * units_ : nullptr;
    return s;
  }

  template <typename From, typename To>
  void copy_state(Stream& stream, const From* from, To* to, int64_t row_to,
                  const BatchContext* batch = nullptr) const {
    launch(stream, blocks_for(n_ * hidden_), kThreads, copy_rows<From, To>, n_, hidden_, int64_t{0}, from,
           hidden_, to, row_to, batch);
  }

  template <typename T>
  void forward_as(Stream& stream, const OpArgs& args) {
    std::byte* of_steps = training_ ? args.workspace : args.scratchpad;
    std::byte* workspace = args.scratchpad + workspace_;
    T* h = reinterpret_cast<T*>(of_steps + h_);
    T* resets = reinterpret_cast<T*>(of_steps + resets_);
    const size_t state = desc_.has_lengths ? 2 : 1;
    const auto initial = [&](size_t i) { return desc_.has_state ? args.src[i].as<const T>() : nullptr; };
    copy_state(stream, initial(state), h + step_of(0) * units_, steps_ * units_);
    if (has_c()) copy_state(stream, initial(state + 1), reinterpret_cast<float*>(of_steps + c_), units_);
    src_product_.run(stream, args.src[0].data, ih_.data(), nullptr,
                     reinterpret_cast<float*>(of_steps + gates_) + src_slot_ * units_, workspace);
    for (int64_t step = 0; step < steps_; ++step) {
      const bool is_last = step == steps_ - 1;
      const StepArgs s = step_args(args, of_steps, step);
      ForwardArgs<T> f{.h_before = h, .y = args.dst[0].as<T>(), .c_n = nullptr, .reset = resets};
      f.h_next = is_last ? args.dst[1].as<T>() : h + step_of(step + 1) * units_;
      f.row_next = is_last ? hidden_ : steps_ * units_;
      if (is_last && has_c()) f.c_n = args.dst[2].as<T>();
      hidden_product_.run(stream, h + s.t * units_, hh_.data(), nullptr, s.hidden_sums, workspace);
      launch(stream, blocks_for(n_ * hidden_), kThreads, cell_forward<T, false>, s, f);
      if (!is_before()) continue;
      reset_product_.run(stream, resets + s.t * units_, reset_weights_.data(), nullptr, s.hidden_sums,
                         workspace);
      launch(stream, blocks_for(n_ * hidden_), kThreads, cell_forward<T, true>, s, f);
    }
  }

  template <typename T>
  void backward_as(Stream& stream, const OpArgs& args) {
    std::byte *of_steps = args.workspace, *workspace = args.scratchpad + workspace_;
    const auto floats = [&](int64_t offset) { return reinterpret_cast<float*>(args.scratchpad + offset); };
    const T* h = reinterpret_cast<const T*>(of_steps + h_);
    T* diff = reinterpret_cast<T*>(args.scratchpad + diff_);
    float *carried = floats(carried_), *diff_c = floats(diff_c_), *product = floats(sums_);
    copy_state(stream, args.diff_dst[1].as<const T>(), carried, units_, args.batch);
    if (has_c()) copy_state(stream, args.diff_dst[2].as<const T>(), diff_c, units_, args.batch);
    const auto of_step = [&](int64_t step) { return diff + step_of(step) * slots_ * units_; };
    for (int64_t step = steps_ - 1; step >= 0; --step) {
      const StepArgs s = step_args(args, of_steps, step);
      BackwardArgs<T> b{h,    args.diff_dst[0].as<const T>(), nullptr, carried, diff_c,
                        diff, floats(peephole_products_)};
      if (step < steps_ - 1) {
        diff_hidden_.run(stream, of_step(step + 1), hh_.data(), nullptr, product, workspace);
        b.product = product;
      }
      launch(stream, blocks_for(n_ * units_), kThreads, cell_backward<T, false>, s, b);
      if (!is_before()) continue;
      diff_reset_.run(stream, of_step(step) + 2 * units_, reset_weights_.data(), nullptr, product, workspace);
      b.product = product;
      launch(stream, blocks_for(n_ * units_), kThreads, cell_backward<T, true>, s, b);
    }
    const size_t state = desc_.has_lengths ? 2 : 1;
    if (desc_.has_state && wants(args, state)) {
      diff_hidden_.run(stream, of_step(0), hh_.data(), nullptr, product, workspace);
      launch(stream, blocks_for(n_ * hidden_), kThreads, add_rows<T>, n_, hidden_, units_, carried, product,
             args.diff_src[state].as<T>());
    }
    if (desc_.has_state && has_c() && wants(args, state + 1))
      launch(stream, blocks_for(n_ * hidden_), kThreads, copy_rows<float, T>, n_, hidden_, int64_t{0}, diff_c,
             units_, args.diff_src[state + 1].as<T>(), hidden_, static_cast<const BatchContext*>(nullptr));
    if (desc_.wants_diff_src && wants(args, 0))
      diff_src_.run(stream, diff + src_slot_ * units_, ih_.data(), nullptr, args.diff_src[0].data, workspace);
    weight_gradients(stream, args, diff, h, reinterpret_cast<const T*>(of_steps + resets_));
    vector_gradients(stream, args, diff);
  }

  template <typename T>
  void weight_gradients(Stream& stream, const OpArgs& args, const T* diff, const T* h, const T* resets) {
    std::byte* workspace = args.scratchpad + workspace_;
    float* padded = reinterpret_cast<float*>(args.scratchpad + weights_);
    T* src = reinterpret_cast<T*>(args.scratchpad + valid_src_);
    launch(stream, blocks_for(n_ * steps_ * in_), kThreads, valid_rows<T>, n_, steps_, in_,
           args.src[0].as<const T>(), desc_.has_lengths ? args.src[1].as<const int32_t>() : nullptr,
           args.batch, src);
    diff_ih_.run(stream, diff + src_slot_ * units_, src, nullptr, padded, workspace);
    for (int64_t gate = 0; gate < n_gates_; ++gate)
      write_gate(stream, padded, gate, in_, args.diff_params[0], gate);
    diff_hh_.run(stream, diff, h, nullptr, padded, workspace);
    for (size_t i = 0; i < hidden_gates_.size(); ++i)
      write_gate(stream, padded, static_cast<int64_t>(i), hidden_, args.diff_params[1], hidden_gates_[i]);
    if (!is_before()) return;
    diff_reset_weights_.run(stream, diff + 2 * units_, resets, nullptr, padded, workspace);
    write_gate(stream, padded, 0, hidden_, args.diff_params[1], 2);
  }

  /// Gate `gate` of a canonical tensor (gates of H, columns) = slot of padded (slots of units, columns).
  void write_gate(Stream& stream, const float* padded, int64_t slot, int64_t columns, const Tensor& to,
                  int64_t gate) const {
    const int64_t n = hidden_ * columns;
    launch(stream, blocks_for(n), kThreads, copy_rows<float, float>, int64_t{1}, n, int64_t{0},
           padded + slot * units_ * columns, n, to.as<float>() + gate * n, n,
           static_cast<const BatchContext*>(nullptr));
  }

  template <typename T>
  void vector_gradients(Stream& stream, const OpArgs& args, const T* diff) const {
    std::byte* partials = args.scratchpad + workspace_;
    float* sums = reinterpret_cast<float*>(args.scratchpad + sums_);
    size_t next = 2;
    float* of_slots = reinterpret_cast<float*>(args.scratchpad + weights_);
    if (desc_.has_bias) {
      column_sums(stream, dtype_, n_ * steps_, slots_ * units_, diff, of_slots, partials);
      for (int64_t gate = 0; gate < n_gates_; ++gate) {
        const int64_t hidden_slot = kind_ == CellKind::kGruAfter ? (gate + 1) % 3 : gate;
        write_gate(stream, of_slots, src_slot_ + gate, 1, args.diff_params[2], gate);
        write_gate(stream, of_slots, hidden_slot, 1, args.diff_params[3], gate);
      }
      next = 4;
    }
    if (kind_ != CellKind::kPeephole) return;
    column_sums(stream, DType::kFloat32, n_ * steps_, 3 * units_, args.scratchpad + peephole_products_, sums,
                partials);
    for (int64_t i = 0; i < 3; ++i) write_gate(stream, sums, i, 1, args.diff_params[next], i);
  }

  RecurrentDesc desc_;
  CellKind kind_;
  DType dtype_;
  bool training_;
  int64_t n_, steps_, in_, hidden_, units_, n_gates_;  // N, T, D, H, H padded, G
  int64_t slots_ = 0, src_slot_ = 0;                   // of gates; where those of the source begin
  std::vector<int64_t> hidden_gates_;                  // which gate the first slots belong to
  Memory ih_, hh_, reset_weights_;                     // (gates, units, columns) in dtype_
  Matmul src_product_, hidden_product_, reset_product_;
  Matmul diff_src_, diff_hidden_, diff_reset_, diff_ih_, diff_hh_, diff_reset_weights_;
  int64_t gates_ = 0, h_ = 0, c_ = 0, resets_ = 0;  // in the workspace; without training in the scratchpad
  int64_t sums_ = 0, workspace_ = 0, diff_ = 0, carried_ = 0, diff_c_ = 0, peephole_products_ = 0,
          valid_src_ = 0,
          weights_ = 0;  // in the scratchpad
};

}  // namespace

std::unique_ptr<Op> make_recurrent(const OpConfig& config, const RecurrentDesc& desc) {
  return std::make_unique<Recurrent>(config, desc);
}

}  // namespace lockstep::cuda
