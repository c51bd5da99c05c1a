// Softmax cross-entropy on GPUs: rows, whose classes lie side by side, by a warp or block each; pixels, whose
// classes are planes, by a thread each. Forward keeps each row's maximum and the factor of its
// exponentials, from which backward computes the gradient of loss.h anew.
#include "kernels/backend.h"
#include "kernels/cuda/layouts.h"
#include "kernels/cuda/loss_sums.h"
#include "kernels/cuda/rows.h"

namespace lockstep::cuda {

namespace {

/// What kernels need of SoftmaxCrossEntropyDesc. "Place": a row or pixel; they lie in the order of the
/// targets.
struct Rule {
  int64_t k = 0, places = 0;             // classes; places of a sample
  const float* class_weights = nullptr;  // (k) on the device, or null: 1 each
  bool ignores = false;
  int64_t ignore = 0;
  double target_factor = 1;     // (1 - label smoothing) * weight
  double smoothing_factor = 0;  // label smoothing / k * weight
  double weights_total = 0;     // sum of the class weights

  __device__ __forceinline__ float class_weight(int64_t c) const {
    return class_weights ? class_weights[c] : 1.0f;
  }
  __device__ __forceinline__ bool is_ignored(int64_t target) const { return ignores && target == ignore; }
};

/// Of a place, for backward: exp(x - maximum) * factor is its part of the gradient; factor 0: there is none.
struct alignas(8) Kept {
  float maximum, factor;
};

/// A row's part of the loss. sum: of exp(x_c - maximum); distances: of w_c (x_c - maximum), where labels are
/// smoothed. A target that is no class gives NaN.
__device__ __forceinline__ LossSums place_loss(const Rule& rule, int64_t target, float x_target,
                                               float maximum, double sum, double distances, bool is_first,
                                               Kept* kept) {
  if (target < 0 || target >= rule.k) {
    if (kept) *kept = {0.0f, 0.0f};
    return {not_a_number(), 0, 1, 1};
  }
  const double weight = rule.class_weight(target), factor = rule.target_factor * weight;
  if (kept)
    *kept = {maximum, static_cast<float>((factor + rule.smoothing_factor * rule.weights_total) / sum)};
  double loss = factor * (log(sum) - (static_cast<double>(x_target) - maximum));
  if (rule.smoothing_factor > 0) loss += rule.smoothing_factor * (rule.weights_total * log(sum) - distances);
  return {loss, is_first ? 1.0 : 0.0, 1.0, weight};
}

/// Gradient of class c of a place whose target is a class.
struct PlaceGradient {
  const Rule& rule;
  Kept kept;
  int64_t target;
  float scale;
  float smoothing = static_cast<float>(rule.smoothing_factor);
  float of_target = static_cast<float>(rule.target_factor * static_cast<double>(rule.class_weight(target)));

  __device__ __forceinline__ float operator()(int64_t c, float x) const {
    float g = expf(x - kept.maximum) * kept.factor;
    if (smoothing > 0.0f) g -= smoothing * rule.class_weight(c);
    return scale * (c == target ? g - of_target : g);
  }
};

// 4 blocks at once leave 64 registers: ptxas aims at 48 by itself, and spills one for sm_80.
template <int kGroup, int W>
__global__ void __launch_bounds__(kThreads, 4)
    rows_forward(Rule rule, const float* x, const int64_t* targets, const BatchContext* batch, Kept* kept,
                 LossSums* partials) {
  const GroupPlace<kGroup> at;
  const int64_t n = batch->n_valid * rule.places;
  LossSums sums;
  for (int64_t p = at.group; p < n; p += at.n_groups) {
    const int64_t target = targets[p];
    if (rule.is_ignored(target)) {
      if (kept && at.lane == 0) kept[p] = {0.0f, 0.0f};
      continue;
    }
    const float* row = x + p * rule.k;
    float maximum = Maximum::none<float>();
    for_row<kGroup, W>(rule.k, at.lane, row, [&](int64_t, float v) { maximum = Maximum{}(maximum, v); });
    maximum = group_reduce<kGroup>(maximum, Maximum{});
    double sum = 0, distances = 0;
    int earlier = 0;  // elements before the target that are as large as the maximum
    for_row<kGroup, W>(rule.k, at.lane, row, [&](int64_t c, float v) {
      sum += expf(v - maximum);
      if (rule.smoothing_factor > 0) distances += rule.class_weight(c) * (static_cast<double>(v) - maximum);
      earlier += c < target && v == maximum;
    });
    sum = group_reduce<kGroup>(sum, Sum{});
    if (rule.smoothing_factor > 0) distances = group_reduce<kGroup>(distances, Sum{});
    earlier = group_reduce<kGroup>(earlier, Sum{});
    if (at.lane != 0) continue;
    const float x_target = target >= 0 && target < rule.k ? row[target] : 0.0f;
    sums += place_loss(rule, target, x_target, maximum, sum, distances, x_target == maximum && earlier == 0,
                       kept ? kept + p : nullptr);
  }
  leave_sums(sums, partials);
}

template <int kGroup, int W>
__global__ void __launch_bounds__(kThreads)
    rows_backward(Rule rule, int64_t n_samples, const float* x, const int64_t* targets,
                  const BatchContext* batch, const Kept* kept, float* diff) {
  const GroupPlace<kGroup> at;
  const int64_t n_valid = batch->n_valid * rule.places;
  for (int64_t p = at.group; p < n_samples * rule.places; p += at.n_groups) {
    const bool counts = p < n_valid && kept[p].factor != 0.0f;
    const PlaceGradient gradient{rule, counts ? kept[p] : Kept{}, counts ? targets[p] : 0, batch->loss_scale};
    for (int64_t c = static_cast<int64_t>(at.lane) * W; c < rule.k; c += kGroup * W) {
      Pack<float, W> g{};
      if (counts) {
        const Pack<float, W> v = load<W>(x + p * rule.k + c);
#pragma unroll
        for (int i = 0; i < W; ++i) g.at[i] = gradient(c + i, v.at[i]);
      }
      store<W>(diff + p * rule.k + c, g);
    }
  }
}

__global__ void __launch_bounds__(kThreads)
    pixels_forward(Rule rule, const float* x, const int64_t* targets, const BatchContext* batch, Kept* kept,
                   LossSums* partials) {
  const int64_t n = batch->n_valid * rule.places, step = static_cast<int64_t>(gridDim.x) * kThreads;
  LossSums sums;
  for (int64_t p = global_thread(); p < n; p += step) {
    const int64_t target = targets[p];
    if (rule.is_ignored(target)) {
      if (kept) kept[p] = {0.0f, 0.0f};
      continue;
    }
    const float* pixel = x + p / rule.places * rule.k * rule.places + p % rule.places;
    float maximum = pixel[0];
    int64_t first = 0;
    for (int64_t c = 1; c < rule.k; ++c) {
      const float v = pixel[c * rule.places];
      first = v > maximum ? c : first;
      maximum = Maximum{}(maximum, v);
    }
    double sum = 0, distances = 0;
    for (int64_t c = 0; c < rule.k; ++c) {
      const float v = pixel[c * rule.places];
      sum += expf(v - maximum);
      if (rule.smoothing_factor > 0) distances += rule.class_weight(c) * (static_cast<double>(v) - maximum);
    }
    const float x_target = target >= 0 && target < rule.k ? pixel[target * rule.places] : 0.0f;
    sums += place_loss(rule, target, x_target, maximum, sum, distances, first == target,
                       kept ? kept + p : nullptr);
  }
  leave_sums(sums, partials);
}

__global__ void __launch_bounds__(kThreads)
    pixels_backward(Rule rule, int64_t n_samples, const float* x, const int64_t* targets,
                    const BatchContext* batch, const Kept* kept, float* diff) {
  const int64_t p = global_thread();
  if (p >= n_samples * rule.places) return;
  const bool counts = p < batch->n_valid * rule.places && kept[p].factor != 0.0f;
  const PlaceGradient gradient{rule, counts ? kept[p] : Kept{}, counts ? targets[p] : 0, batch->loss_scale};
  int64_t at = p / rule.places * rule.k * rule.places + p % rule.places;
  for (int64_t c = 0; c < rule.k; ++c, at += rule.places) diff[at] = counts ? gradient(c, x[at]) : 0.0f;
}

class SoftmaxCrossEntropy : public Op {
 public:
  SoftmaxCrossEntropy(const OpConfig& config, const SoftmaxCrossEntropyDesc& desc)
      : training_(config.training) {
    const ClassView view = class_view(desc);
    n_ = view.samples;
    rule_.k = view.classes;
    rule_.places = view.places;
    rule_.ignores = desc.ignore.has_value();
    rule_.ignore = desc.ignore.value_or(0);
    rule_.target_factor = (1.0 - desc.label_smoothing) * desc.weight;
    rule_.smoothing_factor = desc.label_smoothing / static_cast<double>(rule_.k) * desc.weight;
    rule_.weights_total = static_cast<double>(rule_.k);
    if (!desc.class_weights.empty()) put_class_weights(config.device, desc.class_weights);

    // Channels-last, the classes of a pixel lie side by side as in a row.
    const bool keeps = is_channels_last(desc.prediction) && !desc.classes_last;
    in_rows_ = desc.classes_last || keeps || rule_.places == 1;
    info_.src = {keeps ? desc.prediction : desc.prediction.dense(), {view.target, DType::kInt64, nullptr}};
    info_.dst = {loss_desc()};
    info_.workspace_bytes = training_ ? n_places() * static_cast<int64_t>(sizeof(Kept)) : 0;
    info_.scratchpad_bytes = kLossScratchpad;
    info_.backward_needs_dst = false;
    info_.diff_src_in_place = true;
  }

  void forward(Stream& stream, const OpArgs& args) override {
    const auto* x = args.src[0].as<const float>();
    const auto* targets = args.src[1].as<const int64_t>();
    auto* kept = training_ ? reinterpret_cast<Kept*>(args.workspace) : nullptr;
    auto* partials = reinterpret_cast<LossSums*>(args.scratchpad);
    int64_t blocks = 0;
    if (in_rows_) {
      with_group<float>(rule_.k, [&]<int kGroup, int W>() {
        blocks = loss_blocks(n_places(), kThreads / kGroup);
        launch(stream, blocks, kThreads, rows_forward<kGroup, W>, rule_, x, targets, args.batch, kept,
               partials);
      });
    } else {
      blocks = loss_blocks(n_places(), kThreads);
      launch(stream, blocks, kThreads, pixels_forward, rule_, x, targets, args.batch, kept, partials);
    }
    add_loss_sums(stream, blocks, args);
  }

  void backward(Stream& stream, const OpArgs& args) override {
    if (!wants(args, 0)) return;
    const auto* x = args.src[0].as<const float>();
    const auto* targets = args.src[1].as<const int64_t>();
    const auto* kept = reinterpret_cast<const Kept*>(args.workspace);
    auto* diff = args.diff_src[0].as<float>();
    if (in_rows_) {
      with_group<float>(rule_.k, [&]<int kGroup, int W>() {
        launch(stream, blocks_for(n_places(), kThreads / kGroup), kThreads, rows_backward<kGroup, W>, rule_,
               n_, x, targets, args.batch, kept, diff);
      });
    } else {
      launch(stream, blocks_for(n_places()), kThreads, pixels_backward, rule_, n_, x, targets, args.batch,
             kept, diff);
    }
  }

 private:
  int64_t n_places() const { return n_ * rule_.places; }

  void put_class_weights(Device device, const std::vector<float>& class_weights) {
    const auto n_bytes = static_cast<int64_t>(class_weights.size() * sizeof(float));
    class_weights_ = Memory(device, n_bytes);
    const std::unique_ptr<Stream> stream = lockstep::make_stream(device);
    lockstep::copy(*stream, class_weights_.data(), class_weights.data(), n_bytes);
    stream->synchronize();
    rule_.class_weights = class_weights_.as<const float>();
    rule_.weights_total = 0;
    for (const float weight : class_weights) rule_.weights_total += weight;
  }

  Memory class_weights_;
  Rule rule_;
  bool training_;
  int64_t n_ = 0;
  bool in_rows_ = true;
};

}  // namespace

std::unique_ptr<Op> make_softmax_cross_entropy(const OpConfig& config, const SoftmaxCrossEntropyDesc& desc) {
  return std::make_unique<SoftmaxCrossEntropy>(config, desc);
}

}  // namespace lockstep::cuda
