// The distance of outputs and targets, summed or averaged over a sample's elements.
#include "src/losses/loss.h"

namespace lockstep {

namespace {

class L1Loss : public LossRule {
 public:
  explicit L1Loss(bool mean) : mean_(mean) {}

  bool compares_numbers() const override { return true; }
  std::unique_ptr<Op> make_op(const OpConfig& config, const TensorDesc& prediction,
                              double weight) const override {
    return make_l1_loss(config, {prediction, mean_, weight});
  }
  std::string options() const override { return LossOptionsText{.mean = mean_}.str(); }

 private:
  bool mean_;
};

const bool l1_loss_registered = losses().add(
    "l1", [](Config& options) { return std::make_shared<L1Loss>(options.get_bool("mean", false)); }, 3);

}  // namespace

}  // namespace lockstep
