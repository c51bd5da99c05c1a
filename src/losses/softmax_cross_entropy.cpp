// Softmax and the cross-entropy with class ids, per sample, pixel or step; of tokens, each step's next one.
#include <fmt/format.h>

#include <algorithm>

#include "src/losses/loss.h"

namespace lockstep {

namespace {

class SoftmaxCrossEntropyLoss : public LossRule {
 public:
  explicit SoftmaxCrossEntropyLoss(SoftmaxCrossEntropyDesc desc, bool is_balanced, bool of_tokens = false)
      : desc_(std::move(desc)), is_balanced_(is_balanced), of_tokens_(of_tokens) {}

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
    return desc_.class_weights.empty() && !is_balanced_ && desc_.label_smoothing == 0;
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
    if (is_balanced_ && !counts_.empty())
      desc.class_weights = balanced_weights(n_classes(prediction.shape.without_front()));
    desc.weight = weight;
    return make_softmax_cross_entropy(config, desc);
  }
  bool wants_class_counts() const override { return is_balanced_; }
  std::shared_ptr<const LossRule> with_class_counts(std::span<const int64_t> counts) const override {
    auto rule = std::make_shared<SoftmaxCrossEntropyLoss>(*this);
    rule->counts_.assign(counts.begin(), counts.end());
    if (desc_.ignore && *desc_.ignore >= 0 && *desc_.ignore < static_cast<int64_t>(counts.size()))
      rule->counts_[static_cast<size_t>(*desc_.ignore)] = 0;
    return rule;
  }
  std::string options() const override {
    return LossOptionsText{.smoothing = desc_.label_smoothing,
                           .ignore = desc_.ignore,
                           .weights = desc_.class_weights,
                           .balanced = is_balanced_}
        .str();
  }

 private:
  int class_axis(const Shape& prediction) const { return desc_.classes_last ? prediction.rank() - 1 : 0; }

  /// n / (K * count) for each of the K classes that come at all, as sklearn's compute_class_weight; 0 for the
  /// others.
  std::vector<float> balanced_weights(int64_t n_outputs) const {
    double n = 0, n_present = 0;
    for (const int64_t count : counts_) {
      n += static_cast<double>(count);
      n_present += count > 0;
    }
    std::vector<float> weights(static_cast<size_t>(n_outputs), 0);
    for (size_t c = 0; c < std::min(weights.size(), counts_.size()); ++c)
      if (counts_[c] > 0) weights[c] = static_cast<float>(n / (n_present * static_cast<double>(counts_[c])));
    return weights;
  }

  SoftmaxCrossEntropyDesc desc_;
  std::vector<int64_t> counts_;  // of the training data, where they are known
  bool is_balanced_, of_tokens_;
};

SoftmaxCrossEntropyDesc read_softmax_cross_entropy(const Config& options, bool* is_balanced) {
  SoftmaxCrossEntropyDesc desc;
  const std::optional<Config> weights = options.find("class_weights");
  *is_balanced = weights && !weights->is_list() && options.get_string("class_weights") == "balanced";
  if (!*is_balanced)
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
      bool is_balanced = false;
      SoftmaxCrossEntropyDesc desc = read_softmax_cross_entropy(options, &is_balanced);
      // Steps behind the end of a row have a target that is no token.
      if (!desc.ignore) desc.ignore = -1;
      desc.classes_last = true;
      return std::make_shared<SoftmaxCrossEntropyLoss>(desc, is_balanced, true);
    },
    7);

const bool softmax_cross_entropy_loss_registered = losses().add(
    "softmax_cross_entropy",
    [](Config& options) {
      bool is_balanced = false;
      SoftmaxCrossEntropyDesc desc = read_softmax_cross_entropy(options, &is_balanced);
      desc.classes_last = options.get_choice("class_axis", "first", {"first", "last"}) == "last";
      return std::make_shared<SoftmaxCrossEntropyLoss>(desc, is_balanced);
    },
    1);

}  // namespace

}  // namespace lockstep
