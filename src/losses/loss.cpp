#include "src/losses/loss.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace lockstep {

Family<LossMaker>& losses() {
  static Family<LossMaker> family("loss", "losses");
  return family;
}

LossSpec::LossSpec() {
  Config options = Config::from_text("{}", name);
  rule = losses().at(name, options)(options);
}

LossSpec read_loss(const Config& description) {
  const Config::Named named = description.named();
  Config& options = *named.options;
  LossSpec loss;
  loss.name = named.name;
  loss.rule = losses().at(named.name, description)(options);
  loss.weight = options.get_double("weight", 1);
  loss.of = options.get_string("of", "");
  loss.target = options.get_string("target", "");
  options.finish();
  return loss;
}

std::unique_ptr<Op> make_loss(const OpConfig& config, const LossSpec& loss, const TensorDesc& prediction) {
  return loss.rule->make_op(config, prediction, loss.weight);
}

Error output_misfit(const char* loss, const char* needs, const TensorDesc& prediction, const char* remedy) {
  return Error(
      fmt::format("loss {}", loss),
      fmt::format("needs {}, the network gives {} per sample", needs, prediction.shape.without_front().str()),
      remedy);
}

std::string LossOptionsText::str() const {
  return fmt::format("half: {}, mean: {}, smoothing: {}, ignore: {}, margin: {}, weights: [{}]", half, mean,
                     smoothing, ignore ? std::to_string(*ignore) : "none", margin,
                     balanced ? "balanced" : fmt::format("{}", fmt::join(weights, ",")));
}

}  // namespace lockstep
