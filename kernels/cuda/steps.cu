// Steps of sequences on GPUs: a thread per element; elements are moved as words of their size, except by the
// mean.
#include "kernels/steps.h"

#include "kernels/backend.h"
#include "kernels/cuda/element.h"
#include "kernels/cuda/valid_lengths.h"

namespace lockstep::cuda {

namespace {

TensorDesc elements_of(const OpConfig& config, const TensorDesc& desc) {
  return {desc.shape, desc.dtype == DType::kInt32 ? DType::kInt32 : config.compute, nullptr};
}

/// (N, T, …) -> (N, …)
TensorDesc one_step(const TensorDesc& sequence) {
  Shape shape = sequence.shape.without_front();
  shape[0] = sequence.shape[0];
  return {shape, sequence.dtype, nullptr};
}

/// (N, …) -> (N, T, …)
TensorDesc sequence_of(const TensorDesc& step, int64_t n_steps) {
  Shape shape = step.shape.with_front(step.shape[0]);
  shape[1] = n_steps;
  return {shape, step.dtype, nullptr};
}

/// N, T, elements of a step of one row, and what says how long rows are.
struct Sequence {
  int64_t n, steps, run;
  const BatchContext* batch;
  const int32_t* lengths;

  __device__ __forceinline__ int64_t length(int64_t row) const {
    return valid_length(batch, lengths, steps, row);
  }
};

/// to (rows, run; row_to apart) = from, or 0 where it is null.
template <typename T>
__global__ void __launch_bounds__(kThreads)
    move_rows(int64_t rows, int64_t run, const T* from, int64_t row_from, T* to, int64_t row_to) {
  const int64_t i = global_thread();
  if (i >= rows * run) return;
  const int64_t row = i / run, e = i % run;
  to[row * row_to + e] = from ? from[row * row_from + e] : T(0);
}

/// kForward: dst (N, run) from src (N, T, run); else the other way round, zeros elsewhere.
template <typename T, bool kForward>
__global__ void __launch_bounds__(kThreads) pick_step_kernel(Sequence s, bool first, const T* from, T* to) {
  const int64_t i = global_thread();
  if (i >= s.n * s.run * (kForward ? 1 : s.steps)) return;
  const int64_t row = i / (s.run * (kForward ? 1 : s.steps)), e = i % s.run, n = s.length(row);
  const int64_t picked = first && n > 0 ? 0 : n - 1;
  if constexpr (kForward)
    to[i] = picked < 0 ? T(0) : from[(row * s.steps + picked) * s.run + e];
  else
    to[i] = from && i / s.run % s.steps == picked ? from[row * s.run + e] : T(0);
}

template <typename T>
__global__ void __launch_bounds__(kThreads)
    select_rows_kernel(Sequence s, int64_t step, const T* updated, const T* old, T* to) {
  const int64_t i = global_thread();
  if (i >= s.n * s.run) return;
  const int64_t row = i / s.run;
  const T* from = row < s.batch->n_valid && step < s.lengths[row] ? updated : old;
  to[i] = from ? from[i] : T(0);
}

template <typename T>
__global__ void __launch_bounds__(kThreads) reverse_steps_kernel(Sequence s, const T* from, T* to) {
  const int64_t i = global_thread();
  if (i >= s.n * s.steps * s.run) return;
  const int64_t row = i / (s.steps * s.run), t = i / s.run % s.steps, n = s.length(row);
  to[i] = from && t < n ? from[(row * s.steps + n - 1 - t) * s.run + i % s.run] : T(0);
}

template <typename T>
__global__ void __launch_bounds__(kThreads) mean_steps_forward(Sequence s, const T* src, T* dst) {
  const int64_t i = global_thread();
  if (i >= s.n * s.run) return;
  const int64_t row = i / s.run, n = s.length(row);
  float sum = 0.0f;
  for (int64_t t = 0; t < n; ++t) sum += to_float(src[(row * s.steps + t) * s.run + i % s.run]);
  dst[i] = from_float<T>(n > 0 ? sum / static_cast<float>(n) : 0.0f);
}
template <typename T>
__global__ void __launch_bounds__(kThreads) mean_steps_backward(Sequence s, const T* diff_dst, T* diff_src) {
  const int64_t i = global_thread();
  if (i >= s.n * s.steps * s.run) return;
  const int64_t row = i / (s.steps * s.run), n = s.length(row);
  const bool counts = diff_dst && i / s.run % s.steps < n;
  diff_src[i] =
      from_float<T>(counts ? to_float(diff_dst[row * s.run + i % s.run]) / static_cast<float>(n) : 0.0f);
}

class StepsOp : public Op {
 public:
  explicit StepsOp(const TensorDesc& sequence)
      : n_(sequence.shape[0]),
        steps_(sequence.shape[1]),
        run_(sequence.shape.without_front().without_front().n_elements()),
        element_bytes_(size_of(sequence.dtype)) {
    info_.backward_needs_src = false;
    info_.backward_needs_dst = false;
  }

 protected:
  void add_lengths() { info_.src.push_back({Shape{n_}, DType::kInt32, nullptr}); }
  Sequence sequence(const OpArgs& args, size_t lengths) const {
    return {n_, steps_, run_, args.batch,
            lengths < args.src.size() ? args.src[lengths].as<const int32_t>() : nullptr};
  }
  template <typename Body>
  void with_word(const Body& body) const {
    if (element_bytes_ == 2) return body.template operator()<uint16_t>();
    return body.template operator()<uint32_t>();
  }
  /// One step of all rows, out of or into a sequence.
  void move(Stream& stream, const Tensor& from, int64_t first_from, int64_t row_from, const Tensor& to,
            int64_t first_to, int64_t row_to) const {
    if (to.empty()) return;
    with_word([&]<typename T>() {
      launch(stream, blocks_for(n_ * run_), kThreads, move_rows<T>, n_, run_,
             from.empty() ? nullptr : from.as<const T>() + first_from, row_from, to.as<T>() + first_to,
             row_to);
    });
  }
  void take_out(Stream& stream, const Tensor& whole, int64_t t, const Tensor& step) const {
    move(stream, whole, t * run_, steps_ * run_, step, 0, run_);
  }
  void put_in(Stream& stream, const Tensor& step, int64_t t, const Tensor& whole) const {
    move(stream, step, 0, run_, whole, t * run_, steps_ * run_);
  }

  int64_t n_, steps_, run_, element_bytes_;
};

class SplitSteps : public StepsOp {
 public:
  explicit SplitSteps(const TensorDesc& src) : StepsOp(src) {
    info_.src = {src};
    info_.dst.assign(static_cast<size_t>(steps_), one_step(src));
  }
  void forward(Stream& stream, const OpArgs& args) override {
    for (int64_t t = 0; t < steps_; ++t) take_out(stream, args.src[0], t, args.dst[static_cast<size_t>(t)]);
  }
  void backward(Stream& stream, const OpArgs& args) override {
    for (int64_t t = 0; t < steps_; ++t)
      put_in(stream, args.diff_dst[static_cast<size_t>(t)], t, args.diff_src[0]);
  }
};

class JoinSteps : public StepsOp {
 public:
  JoinSteps(const TensorDesc& step, int64_t n_steps) : StepsOp(sequence_of(step, n_steps)) {
    info_.src.assign(static_cast<size_t>(n_steps), step);
    info_.dst = {sequence_of(step, n_steps)};
  }
  void forward(Stream& stream, const OpArgs& args) override {
    for (int64_t t = 0; t < steps_; ++t) put_in(stream, args.src[static_cast<size_t>(t)], t, args.dst[0]);
  }
  void backward(Stream& stream, const OpArgs& args) override {
    for (int64_t t = 0; t < steps_; ++t)
      take_out(stream, args.diff_dst[0], t, args.diff_src[static_cast<size_t>(t)]);
  }
};

class PickStep : public StepsOp {
 public:
  PickStep(const TensorDesc& src, const PickStepDesc& desc) : StepsOp(src), first_(desc.first) {
    info_.src = {src};
    if (desc.has_lengths) add_lengths();
    info_.dst = {one_step(src)};
    info_.backward_needs_src = desc.has_lengths;
  }
  void forward(Stream& stream, const OpArgs& args) override {
    with_word([&]<typename T>() {
      launch(stream, blocks_for(n_ * run_), kThreads, pick_step_kernel<T, true>, sequence(args, 1), first_,
             args.src[0].as<const T>(), args.dst[0].as<T>());
    });
  }
  void backward(Stream& stream, const OpArgs& args) override {
    if (args.diff_src[0].empty()) return;
    with_word([&]<typename T>() {
      launch(stream, blocks_for(n_ * steps_ * run_), kThreads, pick_step_kernel<T, false>, sequence(args, 1),
             first_, args.diff_dst[0].as<const T>(), args.diff_src[0].as<T>());
    });
  }

 private:
  bool first_;
};

class SelectRows : public StepsOp {
 public:
  SelectRows(const TensorDesc& rows, int64_t step) : StepsOp(sequence_of(rows, 1)), step_(step) {
    info_.src = {rows, rows};
    add_lengths();
    info_.dst = {rows};
    info_.backward_needs_src = true;
  }
  void forward(Stream& stream, const OpArgs& args) override {
    with_word([&]<typename T>() {
      run<T>(stream, args, args.src[0].as<const T>(), args.src[1].as<const T>(), args.dst[0]);
    });
  }
  void backward(Stream& stream, const OpArgs& args) override {
    with_word([&]<typename T>() {
      const auto* diff_dst = args.diff_dst[0].as<const T>();
      run<T>(stream, args, diff_dst, nullptr, args.diff_src[0]);
      run<T>(stream, args, nullptr, diff_dst, args.diff_src[1]);
    });
  }

 private:
  template <typename T>
  void run(Stream& stream, const OpArgs& args, const T* updated, const T* old, const Tensor& to) const {
    if (to.empty()) return;
    launch(stream, blocks_for(n_ * run_), kThreads, select_rows_kernel<T>, sequence(args, 2), step_, updated,
           old, to.as<T>());
  }

  int64_t step_;
};

class ReverseSteps : public StepsOp {
 public:
  ReverseSteps(const TensorDesc& src, const ReverseStepsDesc& desc) : StepsOp(src) {
    info_.src = {src};
    if (desc.has_lengths) add_lengths();
    info_.dst = {src};
    info_.backward_needs_src = desc.has_lengths;
  }
  void forward(Stream& stream, const OpArgs& args) override { run(stream, args, args.src[0], args.dst[0]); }
  void backward(Stream& stream, const OpArgs& args) override {
    if (!args.diff_src[0].empty()) run(stream, args, args.diff_dst[0], args.diff_src[0]);
  }

 private:
  void run(Stream& stream, const OpArgs& args, const Tensor& from, const Tensor& to) const {
    with_word([&]<typename T>() {
      launch(stream, blocks_for(n_ * steps_ * run_), kThreads, reverse_steps_kernel<T>, sequence(args, 1),
             from.as<const T>(), to.as<T>());
    });
  }
};

class MeanSteps : public StepsOp {
 public:
  MeanSteps(const TensorDesc& src, const MeanStepsDesc& desc) : StepsOp(src) {
    info_.src = {src};
    if (desc.has_lengths) add_lengths();
    info_.dst = {one_step(src)};
    info_.backward_needs_src = desc.has_lengths;
  }
  void forward(Stream& stream, const OpArgs& args) override {
    with_element(info_.src[0].dtype, [&]<typename T>() {
      launch(stream, blocks_for(n_ * run_), kThreads, mean_steps_forward<T>, sequence(args, 1),
             args.src[0].as<const T>(), args.dst[0].as<T>());
    });
  }
  void backward(Stream& stream, const OpArgs& args) override {
    if (args.diff_src[0].empty()) return;
    with_element(info_.src[0].dtype, [&]<typename T>() {
      launch(stream, blocks_for(n_ * steps_ * run_), kThreads, mean_steps_backward<T>, sequence(args, 1),
             args.diff_dst[0].as<const T>(), args.diff_src[0].as<T>());
    });
  }
};

}  // namespace

std::unique_ptr<Op> make_split_steps(const OpConfig& config, const TensorDesc& src) {
  return std::make_unique<SplitSteps>(elements_of(config, src));
}
std::unique_ptr<Op> make_join_steps(const OpConfig& config, const TensorDesc& step, int64_t n_steps) {
  return std::make_unique<JoinSteps>(elements_of(config, step), n_steps);
}
std::unique_ptr<Op> make_pick_step(const OpConfig& config, const PickStepDesc& desc) {
  return std::make_unique<PickStep>(elements_of(config, desc.src), desc);
}
std::unique_ptr<Op> make_select_rows(const OpConfig& config, const SelectRowsDesc& desc) {
  return std::make_unique<SelectRows>(elements_of(config, desc.rows), desc.step);
}
std::unique_ptr<Op> make_reverse_steps(const OpConfig& config, const ReverseStepsDesc& desc) {
  return std::make_unique<ReverseSteps>(elements_of(config, desc.src), desc);
}
std::unique_ptr<Op> make_mean_steps(const OpConfig& config, const MeanStepsDesc& desc) {
  return std::make_unique<MeanSteps>(elements_of(config, desc.src), desc);
}

}  // namespace lockstep::cuda
