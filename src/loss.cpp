#include "src/loss.h"

#include <fmt/format.h>

namespace lockstep {

LossSpec read_loss(const Config& description) {
  const Config::Named named = description.named();
  LossSpec loss;
  if (named.name == "softmax_cross_entropy") {
    loss.kind = LossSpec::Kind::kSoftmaxCrossEntropy;
  } else if (named.name == "l2") {
    loss.kind = LossSpec::Kind::kL2;
    loss.half = named.options->get_bool("half", true);
    loss.mean = named.options->get_bool("mean", false);
  } else {
    const std::string near = nearest_word(named.name, {"softmax_cross_entropy", "l2"});
    throw description.error(
        fmt::format("unknown loss '{}'{}", named.name, near.empty() ? "" : "; did you mean '" + near + "'?"),
        "known losses: softmax_cross_entropy, l2");
  }
  loss.of = named.options->get_string("of", "");
  loss.target = named.options->get_string("target", "");
  named.options->finish();
  return loss;
}

std::unique_ptr<Op> make_loss(const OpConfig& config, const LossSpec& loss, const TensorDesc& prediction) {
  if (!loss.is_classification()) return make_l2_loss(config, {prediction, loss.half, loss.mean});
  if (prediction.shape.rank() != 2) {
    throw Error("loss softmax_cross_entropy",
                fmt::format("needs one score per class (K), the network gives {} per sample",
                            prediction.shape.without_front().str()),
                "end the network with 'flatten' and 'affine: CLASSES'");
  }
  return make_softmax_cross_entropy(config, prediction);
}

}  // namespace lockstep
