// The hinge loss of one score, or of one score per class.
#include <fmt/format.h>

#include <algorithm>

#include "src/losses/loss.h"

namespace lockstep {

namespace {

class HingeLoss : public LossRule {
 public:
  HingeLoss(double margin, bool mean, bool signs) : margin_(margin), mean_(mean), signs_(signs) {}

  bool is_classification() const override { return !signs_; }
  bool has_accuracy() const override { return true; }
  Shape target_shape(const Shape&) const override { return {}; }
  int64_t n_classes(const Shape& prediction) const override {
    return signs_ ? 0 : std::max<int64_t>(2, prediction.n_elements());
  }
  std::unique_ptr<Op> make_op(const OpConfig& config, const TensorDesc& prediction,
                              double weight) const override {
    if (prediction.shape.rank() > 2)
      throw output_misfit("hinge", "one score, or one per class", prediction,
                          "end the network with 'flatten' and 'affine: CLASSES'");
    return make_hinge_loss(config, {prediction, margin_, mean_, signs_, weight});
  }
  std::string options() const override { return LossOptionsText{.mean = mean_, .margin = margin_}.str(); }

 private:
  double margin_;
  bool mean_, signs_;
};

const bool hinge_loss_registered = losses().add(
    "hinge",
    [](Config& options) {
      const bool mean = options.get_bool("mean", false);
      const double margin = options.get_double("margin", 1);
      if (margin <= 0)
        throw options.error_at("margin", fmt::format("must be positive, found {}", margin),
                               "the usual one is 1");
      const bool signs = options.get_choice("labels", "classes", {"classes", "signs"}) == "signs";
      return std::make_shared<HingeLoss>(margin, mean, signs);
    },
    5);

}  // namespace

}  // namespace lockstep
