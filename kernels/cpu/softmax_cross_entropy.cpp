// Softmax cross-entropy on the CPU. Threads share rows, or blocks of pixels; their sums are added in
// order, so that bits depend on the shape alone. The loops are in cross_entropy.cpp.
#include <algorithm>

#include "kernels/backend.h"
#include "kernels/cpu/cross_entropy.h"
#include "kernels/cpu/softmax_rows.h"

namespace lockstep::cpu {

namespace {

class SoftmaxCrossEntropy : public Op {
 public:
  SoftmaxCrossEntropy(const OpConfig& config, const SoftmaxCrossEntropyDesc& desc)
      : class_weights_(desc.class_weights), training_(config.training) {
    const ClassView view = class_view(desc);
    n_ = view.samples;
    places_ = view.places;
    rule_.k = view.classes;
    in_rows_ = desc.classes_last || places_ == 1;
    blocks_ = in_rows_ ? places_ : (places_ + kPixelBlock - 1) / kPixelBlock;

    rule_.class_weights = class_weights_.empty() ? nullptr : class_weights_.data();
    rule_.ignore = desc.ignore;
    rule_.target_factor = (1.0 - desc.label_smoothing) * desc.weight;
    rule_.smoothing_factor = desc.label_smoothing / static_cast<double>(rule_.k) * desc.weight;
    for (int64_t c = 0; c < rule_.k; ++c) rule_.weights_total += rule_.class_weight(c);

    info_.src = {desc.prediction.dense(), {view.target, DType::kInt64, nullptr}};
    info_.dst = {loss_desc()};
    // The workspace keeps diff_src, so that backward needs no source.
    info_.workspace_bytes = training_ ? n_ * row_bytes() : 0;
    info_.scratchpad_bytes = n_ * blocks_ * static_cast<int64_t>(sizeof(LossSums));
    info_.backward_needs_src = false;
    info_.backward_needs_dst = false;
  }

  void forward(Stream&, const OpArgs& args) override {
    const int64_t n_valid = args.batch->n_valid, n_blocks = n_valid * blocks_;
    LossSums* sums = reinterpret_cast<LossSums*>(args.scratchpad);
#pragma omp parallel for schedule(static) if (n_valid * places_ * rule_.k >= kParallelElements)
    for (int64_t block = 0; block < n_blocks; ++block) sums[block] = run_block(args, block);

    LossSums total;
    for (int64_t block = 0; block < n_blocks; ++block) total += sums[block];
    write_loss(args, total);
  }

  void backward(Stream&, const OpArgs& args) override {
    if (!wants(args, 0)) return;
    float* diff = args.diff_src[0].as<float>();
    const float* kept = reinterpret_cast<const float*>(args.workspace);
    const float scale = args.batch->loss_scale;
    const int64_t n_valid = args.batch->n_valid;
    for (int64_t i = 0; i < n_valid * places_ * rule_.k; ++i) diff[i] = scale * kept[i];
    clear_padding(n_, places_ * rule_.k, n_valid, diff);
  }

 private:
  int64_t row_bytes() const { return places_ * rule_.k * static_cast<int64_t>(sizeof(float)); }

  LossSums run_block(const OpArgs& args, int64_t block) const {
    const float* x = args.src[0].as<const float>();
    const int64_t* target = args.src[1].as<const int64_t>();
    float* diff = training_ ? reinterpret_cast<float*>(args.workspace) : nullptr;
    if (in_rows_) {
      const int64_t at = block * rule_.k;
      return row_cross_entropy(rule_, x + at, target[block], diff ? diff + at : nullptr);
    }
    const int64_t sample = block / blocks_, first = block % blocks_ * kPixelBlock;
    const int64_t at = sample * places_ * rule_.k + first;
    return pixel_cross_entropy(rule_, std::min<int64_t>(kPixelBlock, places_ - first), places_, x + at,
                               target + sample * places_ + first, diff ? diff + at : nullptr);
  }

  std::vector<float> class_weights_;
  CrossEntropyRule rule_;
  bool training_;
  int64_t n_ = 0, places_ = 0;  // samples; rows, pixels or steps of a sample
  bool in_rows_ = true;         // the classes of a place lie side by side
  int64_t blocks_ = 0;          // of a sample: rows, or blocks of pixels
};

}  // namespace

std::unique_ptr<Op> make_softmax_cross_entropy(const OpConfig& config, const SoftmaxCrossEntropyDesc& desc) {
  return std::make_unique<SoftmaxCrossEntropy>(config, desc);
}

}  // namespace lockstep::cpu
