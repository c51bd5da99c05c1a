// The squared distance of outputs and targets, half of it unless the job says otherwise (course text 000).
#include "src/losses/loss.h"

namespace lockstep {

namespace {

class L2Loss : public LossRule {
 public:
  L2Loss(bool half, bool mean) : half_(half), mean_(mean) {}

  bool compares_numbers() const override { return true; }
  std::unique_ptr<Op> make_op(const OpConfig& config, const TensorDesc& prediction,
                              double weight) const override {
    return make_l2_loss(config, {prediction, half_, mean_, weight});
  }
  std::string options() const override { return LossOptionsText{.half = half_, .mean = mean_}.str(); }

 private:
  bool half_, mean_;
};

const bool l2_loss_registered = losses().add(
    "l2",
    [](Config& options) {
      const bool half = options.get_bool("half", true);
      return std::make_shared<L2Loss>(half, options.get_bool("mean", false));
    },
    4);

}  // namespace

}  // namespace lockstep
