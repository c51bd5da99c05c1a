// Mixed samples: mixup (Zhang et al. 2018, "mixup: Beyond empirical risk minimization") and CutMix (Yun et
// al. 2019). Each sample of a micro-batch is mixed with a partner of the same micro-batch, and its loss is
// the same mixture of the losses with both labels. What is drawn is a function of the seed, the step and the
// first sample of the micro-batch, and of nothing else: a micro-batch is the same on any number of ranks.
#pragma once

#include <memory>

#include "kernels/op.h"

namespace lockstep {

struct MixOptions {
  double mixup_p = 0, mixup_alpha = 0.2;  // how often, and Beta(alpha, alpha) that the share is drawn from
  double cutmix_p = 0, cutmix_alpha = 1;  // likewise; mixup_p + cutmix_p <= 1
  bool is_on() const { return mixup_p > 0 || cutmix_p > 0; }
};

/// What was drawn for a micro-batch. Valid row i has the partner (i + shift) mod n_valid.
struct Mixture {
  enum class Kind { kNone, kMixup, kCutmix } kind = Kind::kNone;
  double share = 1;   // of the sample itself, lambda; 1 - share is its partner's
  int64_t shift = 0;  // 1 … n_valid - 1
  /// kCutmix: rows [top, bottom) and columns [left, right) come from the partner, and `share` is the part of
  /// the area that does not.
  int64_t top = 0, bottom = 0, left = 0, right = 0;
};

/// The mixture of a micro-batch of images of height x width (of mixup alone: any). kNone by chance, and where
/// less than two rows are valid. mixup's share is a number of float32.
Mixture draw_mixture(const MixOptions& options, const BatchContext& batch, int64_t height, int64_t width);

/// One number of Beta(alpha, alpha), alpha > 0, of the stream that `key` names (tests, draw_mixture()).
double draw_beta(double alpha, uint64_t key);

/// dst = src (N, …) mixed, dense float32; padding stays. mixup: share x + (1 - share) y. CutMix wants
/// (N, C, H, W). No gradient. Throws Error on a GPU, and for shapes that CutMix cannot cut.
std::unique_ptr<Op> make_mix(const OpConfig& config, const MixOptions& options, const TensorDesc& src);

/// The loss op `loss` of kernels/loss.h on mixed samples: share times its values and gradients for the
/// targets plus (1 - share) times those for the partners' targets. src, dst and gradient as of `loss`, a
/// float32 prediction; height, width: of the images that were mixed.
std::unique_ptr<Op> make_mixed_loss(const MixOptions& options, std::unique_ptr<Op> loss, int64_t height,
                                    int64_t width);

}  // namespace lockstep
