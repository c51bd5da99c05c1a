// Steps of sequences on the CPU: copies of runs, a run being one step of one sample; and their mean.
#include "kernels/steps.h"

#include <cstring>

#include "kernels/backend.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/through_float32.h"
#include "kernels/cpu/valid_lengths.h"
#include "kernels/vectorize.h"

namespace lockstep::cpu {

namespace {

constexpr int64_t kParallelStepBytes = 1 << 17;  // below, a second thread costs more than it brings

/// Dense, in the type of activations unless it holds integers.
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

TensorDesc lengths_desc(int64_t n) { return {Shape{n}, DType::kInt32, nullptr}; }

/// Copies n bytes, or writes zeros where there is nothing to copy.
void copy_or_clear(const std::byte* from, int64_t n, std::byte* to) {
  if (from)
    std::memcpy(to, from, static_cast<size_t>(n));
  else
    std::memset(to, 0, static_cast<size_t>(n));
}

/// What all ops of this file know: N, T and the bytes of a run.
class StepsOp : public Op {
 public:
  explicit StepsOp(const TensorDesc& sequence)
      : n_(sequence.shape[0]),
        steps_(sequence.shape[1]),
        run_(sequence.n_bytes() / std::max<int64_t>(1, n_ * steps_)) {
    info_.backward_needs_src = false;
    info_.backward_needs_dst = false;
  }

 protected:
  /// f(row, step) for all of them.
  template <typename F>
  void for_runs(const F& f) const {
#pragma omp parallel for schedule(static) if (n_ * steps_ * run_ >= kParallelStepBytes)
    for (int64_t row = 0; row < n_; ++row)
      for (int64_t t = 0; t < steps_; ++t) f(row, t);
  }
  /// Where step t of a row lies in (N, T, …); null in an empty tensor.
  std::byte* at(const Tensor& sequence, int64_t row, int64_t t) const {
    return sequence.empty() ? nullptr : sequence.as<std::byte>() + (row * steps_ + t) * run_;
  }
  /// A row of (N, …).
  std::byte* at(const Tensor& step, int64_t row) const {
    return step.empty() ? nullptr : step.as<std::byte>() + row * run_;
  }
  int64_t length(const OpArgs& args, size_t lengths, int64_t row) const {
    const bool has = lengths < args.src.size();
    return valid_length(*args.batch, has ? args.src[lengths].as<const int32_t>() : nullptr, steps_, row);
  }

  int64_t n_, steps_, run_;
};

class SplitSteps : public StepsOp {
 public:
  explicit SplitSteps(const TensorDesc& src) : StepsOp(src) {
    info_.src = {src};
    info_.dst.assign(static_cast<size_t>(steps_), one_step(src));
  }
  void forward(Stream&, const OpArgs& args) override {
    for_runs([&](int64_t row, int64_t t) {
      std::memcpy(at(args.dst[static_cast<size_t>(t)], row), at(args.src[0], row, t),
                  static_cast<size_t>(run_));
    });
  }
  void backward(Stream&, const OpArgs& args) override {
    if (args.diff_src[0].empty()) return;
    for_runs([&](int64_t row, int64_t t) {
      copy_or_clear(at(args.diff_dst[static_cast<size_t>(t)], row), run_, at(args.diff_src[0], row, t));
    });
  }
};

class JoinSteps : public StepsOp {
 public:
  JoinSteps(const TensorDesc& step, int64_t n_steps) : StepsOp(sequence_of(step, n_steps)) {
    info_.src.assign(static_cast<size_t>(n_steps), step);
    info_.dst = {sequence_of(step, n_steps)};
  }
  void forward(Stream&, const OpArgs& args) override {
    for_runs([&](int64_t row, int64_t t) {
      std::memcpy(at(args.dst[0], row, t), at(args.src[static_cast<size_t>(t)], row),
                  static_cast<size_t>(run_));
    });
  }
  void backward(Stream&, const OpArgs& args) override {
    for_runs([&](int64_t row, int64_t t) {
      std::byte* to = at(args.diff_src[static_cast<size_t>(t)], row);
      if (to) copy_or_clear(at(args.diff_dst[0], row, t), run_, to);
    });
  }
};

class PickStep : public StepsOp {
 public:
  PickStep(const TensorDesc& src, const PickStepDesc& desc) : StepsOp(src), first_(desc.first) {
    info_.src = {src};
    if (desc.has_lengths) info_.src.push_back(lengths_desc(n_));
    info_.dst = {one_step(src)};
    info_.backward_needs_src = desc.has_lengths;
  }
  void forward(Stream&, const OpArgs& args) override {
    for (int64_t row = 0; row < n_; ++row) {
      const int64_t t = picked(args, row);
      copy_or_clear(t < 0 ? nullptr : at(args.src[0], row, t), run_, at(args.dst[0], row));
    }
  }
  void backward(Stream&, const OpArgs& args) override {
    if (args.diff_src[0].empty()) return;
    for_runs([&](int64_t row, int64_t t) {
      copy_or_clear(t == picked(args, row) ? at(args.diff_dst[0], row) : nullptr, run_,
                    at(args.diff_src[0], row, t));
    });
  }

 private:
  /// -1: none.
  int64_t picked(const OpArgs& args, int64_t row) const {
    const int64_t n = length(args, 1, row);
    return first_ && n > 0 ? 0 : n - 1;
  }

  bool first_;
};

class SelectRows : public StepsOp {
 public:
  SelectRows(const TensorDesc& rows, int64_t step) : StepsOp(sequence_of(rows, 1)), step_(step) {
    info_.src = {rows, rows, lengths_desc(n_)};
    info_.dst = {rows};
    info_.backward_needs_src = true;
  }
  void forward(Stream&, const OpArgs& args) override {
    for_runs([&](int64_t row, int64_t) {
      std::memcpy(at(args.dst[0], row), at(args.src[is_updated(args, row) ? 0 : 1], row),
                  static_cast<size_t>(run_));
    });
  }
  void backward(Stream&, const OpArgs& args) override {
    for_runs([&](int64_t row, int64_t) {
      for (size_t i = 0; i < 2; ++i) {
        std::byte* to = at(args.diff_src[i], row);
        if (to)
          copy_or_clear(is_updated(args, row) == (i == 0) ? at(args.diff_dst[0], row) : nullptr, run_, to);
      }
    });
  }

 private:
  bool is_updated(const OpArgs& args, int64_t row) const {
    return row < args.batch->n_valid && step_ < args.src[2].as<const int32_t>()[row];
  }

  int64_t step_;
};

class ReverseSteps : public StepsOp {
 public:
  ReverseSteps(const TensorDesc& src, const ReverseStepsDesc& desc) : StepsOp(src) {
    info_.src = {src};
    if (desc.has_lengths) info_.src.push_back(lengths_desc(n_));
    info_.dst = {src};
    info_.backward_needs_src = desc.has_lengths;
  }
  void forward(Stream&, const OpArgs& args) override { run(args, args.src[0], args.dst[0]); }
  void backward(Stream&, const OpArgs& args) override {
    if (!args.diff_src[0].empty()) run(args, args.diff_dst[0], args.diff_src[0]);
  }

 private:
  void run(const OpArgs& args, const Tensor& from, const Tensor& to) const {
    for_runs([&](int64_t row, int64_t t) {
      const int64_t n = length(args, 1, row);
      copy_or_clear(t < n ? at(from, row, n - 1 - t) : nullptr, run_, at(to, row, t));
    });
  }
};

LOCKSTEP_VECTORIZE void mean_of_runs(int64_t n_runs, int64_t run, const float* src, float* dst) {
  for (int64_t i = 0; i < run; ++i) dst[i] = 0;
  for (int64_t t = 0; t < n_runs; ++t)
    for (int64_t i = 0; i < run; ++i) dst[i] += src[t * run + i];
  const float n = static_cast<float>(n_runs > 0 ? n_runs : 1);
  for (int64_t i = 0; i < run; ++i) dst[i] /= n;
}
LOCKSTEP_VECTORIZE void divided_run(int64_t run, float n, const float* src, float* dst) {
  for (int64_t i = 0; i < run; ++i) dst[i] = src[i] / n;
}

/// float32.
class MeanSteps : public StepsOp {
 public:
  MeanSteps(const TensorDesc& src, const MeanStepsDesc& desc) : StepsOp(src), elements_(run_ / 4) {
    info_.src = {src};
    if (desc.has_lengths) info_.src.push_back(lengths_desc(n_));
    info_.dst = {one_step(src)};
    info_.backward_needs_src = desc.has_lengths;
  }
  void forward(Stream&, const OpArgs& args) override {
    const auto* src = args.src[0].as<const float>();
    float* dst = args.dst[0].as<float>();
#pragma omp parallel for schedule(static) if (n_ * steps_ * elements_ >= kParallelElements)
    for (int64_t row = 0; row < n_; ++row)
      mean_of_runs(length(args, 1, row), elements_, src + row * steps_ * elements_, dst + row * elements_);
  }
  void backward(Stream&, const OpArgs& args) override {
    if (args.diff_src[0].empty()) return;
    for_runs([&](int64_t row, int64_t t) {
      const int64_t n = length(args, 1, row);
      std::byte* to = at(args.diff_src[0], row, t);
      if (t >= n || args.diff_dst[0].empty()) return copy_or_clear(nullptr, run_, to);
      divided_run(elements_, static_cast<float>(n), args.diff_dst[0].as<const float>() + row * elements_,
                  reinterpret_cast<float*>(to));
    });
  }

 private:
  int64_t elements_;  // of a run
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
  auto op = std::make_unique<MeanSteps>(elements_of(as_float32(config), desc.src), desc);
  if (config.compute == DType::kBFloat16) return through_float32(std::move(op));
  return op;
}

}  // namespace lockstep::cpu
