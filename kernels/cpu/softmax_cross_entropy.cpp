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
    info_.workspace_bytes = training_ ? n_ * places_ * static_cast<int64_t>(sizeof(KeptPlace)) : 0;
    info_.scratchpad_bytes = n_ * blocks_ * static_cast<int64_t>(sizeof(LossSums));
    info_.backward_needs_dst = false;
    info_.diff_src_in_place = true;
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
    const float* x = args.src[0].as<const float>();
    const int64_t* target = args.src[1].as<const int64_t>();
    const auto* kept = reinterpret_cast<const KeptPlace*>(args.workspace);
    float* diff = args.diff_src[0].as<float>();
    const float scale = args.batch->loss_scale;
    const int64_t n_valid = args.batch->n_valid;
#pragma omp parallel for schedule(static) if (n_valid * places_ * rule_.k >= kParallelElements)
    for (int64_t block = 0; block < n_valid * blocks_; ++block) {
      const Block b = block_at(block);
      if (in_rows_)
        row_gradient(rule_, x + b.element, target[b.place], kept[b.place], scale, diff + b.element);
      else
        pixel_gradients(rule_, b.n, places_, x + b.element, target + b.place, kept + b.place, scale,
                        diff + b.element);
    }
    clear_padding(n_, places_ * rule_.k, n_valid, diff);
  }

 private:
  /// A row, or some pixels of a sample: the first one, how many, and the first element of the prediction.
  struct Block {
    int64_t place, n, element;
  };
  Block block_at(int64_t block) const {
    if (in_rows_) return {block, 1, block * rule_.k};
    const int64_t sample = block / blocks_, first = block % blocks_ * kPixelBlock;
    return {sample * places_ + first, std::min<int64_t>(kPixelBlock, places_ - first),
            sample * places_ * rule_.k + first};
  }

  LossSums run_block(const OpArgs& args, int64_t block) const {
    const float* x = args.src[0].as<const float>();
    const int64_t* target = args.src[1].as<const int64_t>();
    auto* kept = training_ ? reinterpret_cast<KeptPlace*>(args.workspace) : nullptr;
    const Block b = block_at(block);
    KeptPlace* of_block = kept ? kept + b.place : nullptr;
    if (in_rows_) return row_cross_entropy(rule_, x + b.element, target[b.place], of_block);
    return pixel_cross_entropy(rule_, b.n, places_, x + b.element, target + b.place, of_block);
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
