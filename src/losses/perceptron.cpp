// Rosenblatt's rule as a loss: what one score costs where its sign is wrong (course text 004).
#include <algorithm>

#include "src/losses/loss.h"

namespace lockstep {

namespace {

class PerceptronLoss : public LossRule {
 public:
  PerceptronLoss(bool zero_is_positive, bool signs) : zero_is_positive_(zero_is_positive), signs_(signs) {}

  bool is_classification() const override { return !signs_; }
  bool has_accuracy() const override { return true; }
  Shape target_shape(const Shape&) const override { return {}; }
  int64_t n_classes(const Shape& prediction) const override {
    return signs_ ? 0 : std::max<int64_t>(2, prediction.n_elements());
  }
  std::unique_ptr<Op> make_op(const OpConfig& config, const TensorDesc& prediction,
                              double weight) const override {
    if (prediction.shape.without_front().n_elements() != 1)
      throw output_misfit("perceptron", "one score", prediction, "end the network with 'affine: 1'");
    return make_perceptron_loss(config, {prediction, zero_is_positive_, signs_, weight});
  }
  std::string options() const override { return LossOptionsText{}.str(); }

 private:
  bool zero_is_positive_, signs_;
};

const bool perceptron_loss_registered = losses().add(
    "perceptron",
    [](Config& options) {
      const bool zero_is_positive = options.get_bool("zero_is_positive", false);
      const bool signs = options.get_choice("labels", "classes", {"classes", "signs"}) == "signs";
      return std::make_shared<PerceptronLoss>(zero_is_positive, signs);
    },
    6);

}  // namespace

}  // namespace lockstep
