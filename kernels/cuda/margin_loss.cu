// Losses by margins: hinge of one score or of several, and the perceptron's. A thread takes a sample with one
// score, a warp one with several; sums in float64 (loss_sums.h).
#include "kernels/backend.h"
#include "kernels/cuda/loss_sums.h"
#include "kernels/cuda/rows.h"

namespace lockstep::cuda {

namespace {

/// max(0, margin - t x) of one score; the perceptron's is that with margin 0 where 0 counts too.
struct OneScore {
  double margin = 0;
  bool at_zero_plus = false, at_zero_minus = false;  // is margin = t x a mistake, for t = 1 and t = -1
  bool signs = false;
  double weight = 1;
  bool counts_mistakes = false;  // right is what is no mistake; else what has the sign of t

  /// 1, -1, or NaN for what is no class.
  __device__ __forceinline__ double target(const void* targets, int64_t row) const {
    if (signs) {
      const float sign = static_cast<const float*>(targets)[row];
      return sign > 0.0f ? 1.0 : sign <= 0.0f ? -1.0 : not_a_number();
    }
    const int64_t id = static_cast<const int64_t*>(targets)[row];
    return id == 1 ? 1.0 : id == 0 || id == -1 ? -1.0 : not_a_number();
  }
  /// NaN is one, so that it shows in the loss.
  __device__ __forceinline__ bool is_mistake(double t, double product) const {
    if (product == margin) return t > 0 ? at_zero_plus : at_zero_minus;
    return !(product > margin);
  }
};

__global__ void __launch_bounds__(kThreads)
    one_score_forward(OneScore rule, const float* x, const void* targets, const BatchContext* batch,
                      LossSums* partials) {
  LossSums sums;
  for (int64_t row = global_thread(); row < batch->n_valid;
       row += static_cast<int64_t>(gridDim.x) * kThreads) {
    const double t = rule.target(targets, row), product = t * x[row];
    const bool mistake = rule.is_mistake(t, product);
    const bool right = rule.counts_mistakes ? !mistake : (x[row] > 0.0f) == (t > 0.0);
    sums += LossSums{rule.weight * (mistake ? rule.margin - product : 0.0), right ? 1.0 : 0.0, 1.0, 1.0};
  }
  leave_sums(sums, partials);
}

__global__ void __launch_bounds__(kThreads)
    one_score_backward(OneScore rule, int64_t n, const float* x, const void* targets,
                       const BatchContext* batch, float* diff) {
  const int64_t row = global_thread();
  if (row >= n) return;
  if (row >= batch->n_valid) {
    diff[row] = 0.0f;
    return;
  }
  const double t = rule.target(targets, row);
  diff[row] =
      rule.is_mistake(t, t * x[row]) ? static_cast<float>(-rule.weight * batch->loss_scale * t) : 0.0f;
}

class OneScoreLoss : public Op {
 public:
  OneScoreLoss(const TensorDesc& prediction, const OneScore& rule) : rule_(rule), n_(prediction.shape[0]) {
    info_.src = {prediction.dense(), {Shape{n_}, rule.signs ? DType::kFloat32 : DType::kInt64, nullptr}};
    info_.dst = {loss_desc()};
    info_.scratchpad_bytes = kLossScratchpad;
    info_.backward_needs_dst = false;
  }

  void forward(Stream& stream, const OpArgs& args) override {
    const int64_t blocks = loss_blocks(n_, kThreads);
    launch(stream, blocks, kThreads, one_score_forward, rule_, args.src[0].as<const float>(),
           args.src[1].data, args.batch, reinterpret_cast<LossSums*>(args.scratchpad));
    add_loss_sums(stream, blocks, args);
  }
  void backward(Stream& stream, const OpArgs& args) override {
    if (!wants(args, 0)) return;
    launch(stream, blocks_for(n_), kThreads, one_score_backward, rule_, n_, args.src[0].as<const float>(),
           args.src[1].data, args.batch, args.diff_src[0].as<float>());
  }

 private:
  OneScore rule_;
  int64_t n_;
};

constexpr int kWarpsPerBlock = kThreads / kWarp;

/// sum over j != target of max(0, margin + x_j - x_target)
struct MultiClass {
  int64_t k = 0;
  double margin = 1, factor = 1;
};

__global__ void __launch_bounds__(kThreads)
    multi_class_forward(MultiClass rule, const float* x, const int64_t* targets, const BatchContext* batch,
                        LossSums* partials) {
  const GroupPlace<kWarp> at;
  LossSums sums;
  for (int64_t row = at.group; row < batch->n_valid; row += at.n_groups) {
    const float* scores = x + row * rule.k;
    const int64_t target = targets[row];
    const bool is_class = target >= 0 && target < rule.k;
    const float of_target = is_class ? scores[target] : not_a_number();
    double loss = 0;
    int larger = 0;  // scores because of which the target is not the first maximum
    for_row<kWarp, 1>(rule.k, at.lane, scores, [&](int64_t j, float v) {
      const double excess = rule.margin + (static_cast<double>(v) - of_target);
      if (j != target && !(excess <= 0)) loss += excess;  // NaN shows
      larger += v > of_target || (j < target && v == of_target);
    });
    loss = warp_reduce(loss, Sum{});
    larger = warp_reduce(larger, Sum{});
    if (at.lane == 0)
      sums += LossSums{rule.factor * loss, is_class && larger == 0 && of_target == of_target ? 1.0 : 0.0, 1.0,
                       1.0};
  }
  leave_sums(sums, partials);
}

__global__ void __launch_bounds__(kThreads)
    multi_class_backward(MultiClass rule, int64_t n, const float* x, const int64_t* targets,
                         const BatchContext* batch, float* diff) {
  const GroupPlace<kWarp> at;
  const int64_t row = at.group;
  if (row >= n) return;
  const float* scores = x + row * rule.k;
  diff += row * rule.k;
  const int64_t target = row < batch->n_valid ? targets[row] : -1;
  const bool is_class = target >= 0 && target < rule.k;
  const float of_target = is_class ? scores[target] : 0.0f;
  const double factor = rule.factor * batch->loss_scale;
  int n_exceeding = 0;
  for_row<kWarp, 1>(rule.k, at.lane, scores, [&](int64_t j, float v) {
    const bool exceeds = is_class && j != target && rule.margin + (static_cast<double>(v) - of_target) > 0;
    n_exceeding += exceeds;
    if (!is_class || j != target) diff[j] = exceeds ? static_cast<float>(factor) : 0.0f;
  });
  n_exceeding = warp_reduce(n_exceeding, Sum{});
  if (is_class && at.lane == 0) diff[target] = static_cast<float>(-factor * n_exceeding);
}

class MultiClassHinge : public Op {
 public:
  explicit MultiClassHinge(const HingeLossDesc& desc) : n_(desc.prediction.shape[0]) {
    rule_ = {desc.prediction.shape[1], desc.margin, desc.weight};
    if (desc.mean) rule_.factor /= static_cast<double>(rule_.k);
    info_.src = {desc.prediction.dense(), {Shape{n_}, DType::kInt64, nullptr}};
    info_.dst = {loss_desc()};
    info_.scratchpad_bytes = kLossScratchpad;
    info_.backward_needs_dst = false;
  }

  void forward(Stream& stream, const OpArgs& args) override {
    const int64_t blocks = loss_blocks(n_, kWarpsPerBlock);
    launch(stream, blocks, kThreads, multi_class_forward, rule_, args.src[0].as<const float>(),
           args.src[1].as<const int64_t>(), args.batch, reinterpret_cast<LossSums*>(args.scratchpad));
    add_loss_sums(stream, blocks, args);
  }
  void backward(Stream& stream, const OpArgs& args) override {
    if (!wants(args, 0)) return;
    launch(stream, blocks_for(n_, kWarpsPerBlock), kThreads, multi_class_backward, rule_, n_,
           args.src[0].as<const float>(), args.src[1].as<const int64_t>(), args.batch,
           args.diff_src[0].as<float>());
  }

 private:
  MultiClass rule_;
  int64_t n_;
};

}  // namespace

std::unique_ptr<Op> make_hinge_loss(const OpConfig&, const HingeLossDesc& desc) {
  if (desc.prediction.shape.without_front().n_elements() > 1) return std::make_unique<MultiClassHinge>(desc);
  return std::make_unique<OneScoreLoss>(desc.prediction,
                                        OneScore{desc.margin, false, false, desc.signs, desc.weight});
}

std::unique_ptr<Op> make_perceptron_loss(const OpConfig&, const PerceptronLossDesc& desc) {
  return std::make_unique<OneScoreLoss>(
      desc.prediction, OneScore{0.0, !desc.zero_is_positive, true, desc.signs, desc.weight, true});
}

}  // namespace lockstep::cuda
