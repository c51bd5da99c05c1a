// Softmax and the cross-entropy with class ids, per sample, pixel or step; of tokens, each step's next one.
#include <fmt/format.h>

#include "src/losses/loss.h"

namespace lockstep {

namespace {

class SoftmaxCrossEntropyLoss : public LossRule {
 public:
  explicit SoftmaxCrossEntropyLoss(SoftmaxCrossEntropyDesc desc, bool of_tokens = false)
      : desc_(std::move(desc)), of_tokens_(of_tokens) {}

  bool is_classification() const override { return true; }
  bool has_accuracy() const override { return true; }
  Probability probability() const override { return Probability::kSoftmax; }
  Shape target_shape(const Shape& prediction) const override {
    std::vector<int64_t> extents(prediction.begin(), prediction.end());
    if (!extents.empty()) extents.erase(extents.begin() + class_axis(prediction));
    return Shape(std::span<const int64_t>(extents));
  }
  int64_t n_classes(const Shape& prediction) const override {
    return prediction.rank() == 0 ? 1 : prediction[class_axis(prediction)];
  }
  std::optional<int64_t> ignored() const override { return desc_.ignore; }
  bool has_classes_last() const override { return desc_.classes_last; }
  bool is_of_tokens() const override { return of_tokens_; }
  bool is_plain_log_likelihood() const override {
    return desc_.class_weights.empty() && desc_.label_smoothing == 0;
  }

  std::unique_ptr<Op> make_op(const OpConfig& config, const TensorDesc& prediction,
                              double weight) const override {
    if (of_tokens_ && prediction.shape.rank() != 3)
      throw output_misfit("token_cross_entropy", "a sequence of scores per token (T, vocabulary)", prediction,
                          "end the network with {affine: {features: VOCABULARY, each_step: true}}");
    if (prediction.shape.rank() < 2)
      throw output_misfit("softmax_cross_entropy", "one score per class", prediction,
                          "end the network with 'flatten' and 'affine: CLASSES'");
    SoftmaxCrossEntropyDesc desc = desc_;
    desc.prediction = prediction;
    desc.weight = weight;
    return make_softmax_cross_entropy(config, desc);
  }
  std::string options() const override {
    return LossOptionsText{
        .smoothing = desc_.label_smoothing, .ignore = desc_.ignore, .weights = desc_.class_weights}
        .str();
  }

 private:
  int class_axis(const Shape& prediction) const { return desc_.classes_last ? prediction.rank() - 1 : 0; }

  SoftmaxCrossEntropyDesc desc_;
  bool of_tokens_;
};

SoftmaxCrossEntropyDesc read_softmax_cross_entropy(const Config& options) {
  SoftmaxCrossEntropyDesc desc;
  for (const double weight : options.get_doubles("class_weights", {})) {
    if (weight < 0)
      throw options.error_at("class_weights", fmt::format("must not be negative, found {}", weight),
                             "give one weight of 0 or more per class");
    desc.class_weights.push_back(static_cast<float>(weight));
  }
  desc.label_smoothing = options.get_double("label_smoothing", 0);
  if (desc.label_smoothing < 0 || desc.label_smoothing >= 1)
    throw options.error_at("label_smoothing",
                           fmt::format("must lie in [0, 1), found {}", desc.label_smoothing),
                           "the usual one is 0.1");
  if (options.has("ignore")) desc.ignore = options.get_int("ignore");
  return desc;
}

const bool token_cross_entropy_loss_registered = losses().add(
    "token_cross_entropy",
    [](Config& options) {
      SoftmaxCrossEntropyDesc desc = read_softmax_cross_entropy(options);
      // Steps behind the end of a row have a target that is no token.
      if (!desc.ignore) desc.ignore = -1;
      desc.classes_last = true;
      return std::make_shared<SoftmaxCrossEntropyLoss>(desc, true);
    },
    7);

const bool softmax_cross_entropy_loss_registered = losses().add(
    "softmax_cross_entropy",
    [](Config& options) {
      SoftmaxCrossEntropyDesc desc = read_softmax_cross_entropy(options);
      desc.classes_last = options.get_choice("class_axis", "first", {"first", "last"}) == "last";
      return std::make_shared<SoftmaxCrossEntropyLoss>(desc);
    },
    1);

}  // namespace

}  // namespace lockstep
