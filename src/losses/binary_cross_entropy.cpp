// The cross-entropy of logits with probabilities (Bernoulli loss), element by element.
#include "src/losses/loss.h"

namespace lockstep {

namespace {

class BinaryCrossEntropyLoss : public LossRule {
 public:
  explicit BinaryCrossEntropyLoss(bool mean) : mean_(mean) {}

  bool has_accuracy() const override { return true; }
  Probability probability() const override { return Probability::kSigmoid; }
  std::unique_ptr<Op> make_op(const OpConfig& config, const TensorDesc& prediction,
                              double weight) const override {
    return make_binary_cross_entropy(config, {prediction, mean_, weight});
  }
  std::string options() const override { return LossOptionsText{.mean = mean_}.str(); }

 private:
  bool mean_;
};

const bool binary_cross_entropy_loss_registered = losses().add(
    "binary_cross_entropy",
    [](Config& options) { return std::make_shared<BinaryCrossEntropyLoss>(options.get_bool("mean", false)); },
    2);

}  // namespace

}  // namespace lockstep
