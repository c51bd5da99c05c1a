#include "src/losses/loss.h"

#include <fmt/format.h>

#include <algorithm>

namespace lockstep {

namespace {

using Kind = LossSpec::Kind;

const std::vector<std::pair<std::string, Kind>> kKinds = {
    {"softmax_cross_entropy", Kind::kSoftmaxCrossEntropy},
    {"binary_cross_entropy", Kind::kBinaryCrossEntropy},
    {"l1", Kind::kL1},
    {"l2", Kind::kL2},
    {"hinge", Kind::kHinge},
    {"perceptron", Kind::kPerceptron}};

void read_cross_entropy(const Config& options, LossSpec& loss) {
  for (const double weight : options.get_doubles("class_weights", {})) {
    if (weight < 0)
      throw options.error_at("class_weights", fmt::format("must not be negative, found {}", weight),
                             "give one weight of 0 or more per class");
    loss.class_weights.push_back(static_cast<float>(weight));
  }
  loss.label_smoothing = options.get_double("label_smoothing", 0);
  if (loss.label_smoothing < 0 || loss.label_smoothing >= 1)
    throw options.error_at("label_smoothing",
                           fmt::format("must lie in [0, 1), found {}", loss.label_smoothing),
                           "the usual one is 0.1");
  if (options.has("ignore")) loss.ignore = options.get_int("ignore");
  loss.classes_last = options.get_choice("class_axis", "first", {"first", "last"}) == "last";
}

int class_axis(const LossSpec& loss, const Shape& prediction) {
  return loss.classes_last ? prediction.rank() - 1 : 0;
}

Error misfit(const char* loss, const char* needs, const TensorDesc& prediction, const char* remedy) {
  return Error(
      fmt::format("loss {}", loss),
      fmt::format("needs {}, the network gives {} per sample", needs, prediction.shape.without_front().str()),
      remedy);
}

}  // namespace

bool LossSpec::is_classification() const {
  switch (kind) {
    case Kind::kSoftmaxCrossEntropy: return true;
    case Kind::kHinge:
    case Kind::kPerceptron: return !signs;
    case Kind::kL1:
    case Kind::kL2:
    case Kind::kBinaryCrossEntropy: break;
  }
  return false;
}

Shape LossSpec::target_shape(const Shape& prediction) const {
  switch (kind) {
    case Kind::kSoftmaxCrossEntropy: {
      std::vector<int64_t> extents(prediction.begin(), prediction.end());
      if (!extents.empty()) extents.erase(extents.begin() + class_axis(*this, prediction));
      return Shape(std::span<const int64_t>(extents));
    }
    case Kind::kHinge:
    case Kind::kPerceptron: return {};
    case Kind::kL1:
    case Kind::kL2:
    case Kind::kBinaryCrossEntropy: break;
  }
  return prediction;
}

int64_t LossSpec::n_classes(const Shape& prediction) const {
  if (!is_classification()) return 0;
  if (kind == Kind::kSoftmaxCrossEntropy)
    return prediction.rank() == 0 ? 1 : prediction[class_axis(*this, prediction)];
  return std::max<int64_t>(2, prediction.n_elements());
}

LossSpec read_loss(const Config& description) {
  const Config::Named named = description.named();
  const Config& options = *named.options;
  LossSpec loss;
  std::vector<std::string> names;
  bool known = false;
  for (const auto& [name, kind] : kKinds) {
    names.push_back(name);
    if (name == named.name) loss.kind = kind, known = true;
  }
  if (!known) throw description.unknown_name("loss", "losses", named.name, names);

  const bool one_score = loss.kind == Kind::kHinge || loss.kind == Kind::kPerceptron;
  if (loss.kind == Kind::kSoftmaxCrossEntropy) read_cross_entropy(options, loss);
  if (loss.kind == Kind::kL2) loss.half = options.get_bool("half", true);
  if (loss.kind != Kind::kSoftmaxCrossEntropy && loss.kind != Kind::kPerceptron)
    loss.mean = options.get_bool("mean", false);
  if (loss.kind == Kind::kHinge) {
    loss.margin = options.get_double("margin", 1);
    if (loss.margin <= 0)
      throw options.error_at("margin", fmt::format("must be positive, found {}", loss.margin),
                             "the usual one is 1");
  }
  if (loss.kind == Kind::kPerceptron) loss.zero_is_positive = options.get_bool("zero_is_positive", false);
  if (one_score) loss.signs = options.get_choice("labels", "classes", {"classes", "signs"}) == "signs";
  loss.weight = options.get_double("weight", 1);
  loss.of = options.get_string("of", "");
  loss.target = options.get_string("target", "");
  options.finish();
  return loss;
}

std::unique_ptr<Op> make_loss(const OpConfig& config, const LossSpec& loss, const TensorDesc& prediction) {
  switch (loss.kind) {
    case Kind::kSoftmaxCrossEntropy:
      if (prediction.shape.rank() < 2)
        throw misfit("softmax_cross_entropy", "one score per class", prediction,
                     "end the network with 'flatten' and 'affine: CLASSES'");
      return make_softmax_cross_entropy(config, {prediction, loss.class_weights, loss.label_smoothing,
                                                 loss.ignore, loss.classes_last, loss.weight});
    case Kind::kL2: return make_l2_loss(config, {prediction, loss.half, loss.mean, loss.weight});
    case Kind::kL1: return make_l1_loss(config, {prediction, loss.mean, loss.weight});
    case Kind::kBinaryCrossEntropy:
      return make_binary_cross_entropy(config, {prediction, loss.mean, loss.weight});
    case Kind::kHinge:
      if (prediction.shape.rank() > 2)
        throw misfit("hinge", "one score, or one per class", prediction,
                     "end the network with 'flatten' and 'affine: CLASSES'");
      return make_hinge_loss(config, {prediction, loss.margin, loss.mean, loss.signs, loss.weight});
    case Kind::kPerceptron:
      if (prediction.shape.without_front().n_elements() != 1)
        throw misfit("perceptron", "one score", prediction, "end the network with 'affine: 1'");
      return make_perceptron_loss(config, {prediction, loss.zero_is_positive, loss.signs, loss.weight});
  }
  throw Error("loss", "unknown kind", "use one of LossSpec::Kind");
}

}  // namespace lockstep
