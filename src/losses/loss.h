// Losses of a job: which op ends the network, what the target must look like, and how what the network
// gives is read as classes or numbers. One file per loss.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "kernels/loss.h"
#include "src/config/family.h"

namespace lockstep {

/// One kind of loss with its options. A prediction's shape is that of one sample, unless it says (N, …).
class LossRule {
 public:
  virtual ~LossRule() = default;

  /// Whether targets are class ids (int64); else they are float32.
  virtual bool is_classification() const { return false; }
  /// Whether the op counts what is right: kNCorrect of kNCounted.
  virtual bool has_accuracy() const { return false; }
  /// Whether outputs and targets are the same quantity, so that their distance means something.
  virtual bool compares_numbers() const { return false; }
  /// What makes probabilities of the network's outputs.
  enum class Probability { kNone, kSoftmax, kSigmoid };
  virtual Probability probability() const { return Probability::kNone; }
  /// Shape of one target sample.
  virtual Shape target_shape(const Shape& prediction) const { return prediction; }
  /// Number of classes; 0 where targets are not class ids.
  virtual int64_t n_classes(const Shape& /*prediction*/) const { return 0; }
  /// Of class ids: the one that counts nothing.
  virtual std::optional<int64_t> ignored() const { return std::nullopt; }
  /// Scores of a sample as (…, K) instead of (K, …).
  virtual bool has_classes_last() const { return false; }
  /// Whether what it judges are tokens of sequences.
  virtual bool is_of_tokens() const { return false; }
  /// Whether its mean is -log of the target's probability and nothing else, so that exp of it is the
  /// perplexity.
  virtual bool is_plain_log_likelihood() const { return false; }

  /// prediction: (N, …); weight: a factor on loss and gradient. Throws Error if the loss cannot follow such
  /// an output.
  virtual std::unique_ptr<Op> make_op(const OpConfig& config, const TensorDesc& prediction,
                                      double weight) const = 0;
  /// Whether its options follow from how often each class comes in the training data.
  virtual bool wants_class_counts() const { return false; }
  /// Then the rule for data with counts[c] samples (pixels, steps) of class c. Without them, where no data
  /// are there to be counted, all classes weigh the same.
  virtual std::shared_ptr<const LossRule> with_class_counts(std::span<const int64_t> /*counts*/) const {
    return nullptr;
  }
  /// Its options as one line: checkpoints keep it, and losses of runs are compared only where it is equal.
  virtual std::string options() const = 0;
};

using LossMaker = std::function<std::shared_ptr<const LossRule>(Config& options)>;

/// The losses by name. A new one is a file src/losses/NAME.cpp with
///   const bool NAME_loss_registered = losses().add("NAME", [](Config& options) { … });
Family<LossMaker>& losses();

/// A loss where it stands in a job.
struct LossSpec {
  std::string name = "softmax_cross_entropy";
  std::shared_ptr<const LossRule> rule;
  std::string of;      // the layer it judges; empty: the network's output
  std::string target;  // a graph input or a field of the dataset; empty: the data's target
  double weight = 1;   // of this loss; scales loss and gradient

  LossSpec();  // softmax cross-entropy without options

  bool is_classification() const { return rule->is_classification(); }
  bool has_accuracy() const { return rule->has_accuracy(); }
  DType target_dtype() const { return is_classification() ? DType::kInt64 : DType::kFloat32; }
  Shape target_shape(const Shape& prediction) const { return rule->target_shape(prediction); }
  int64_t n_classes(const Shape& prediction) const { return rule->n_classes(prediction); }
};

/// From "softmax_cross_entropy", "l2" or {l2: {half: false, mean: true}}.
LossSpec read_loss(const Config& description);

/// prediction: (N, …). Throws Error if the loss cannot follow such an output.
std::unique_ptr<Op> make_loss(const OpConfig& config, const LossSpec& loss, const TensorDesc& prediction);

/// For losses: that they need something else than the output that the network gives.
Error output_misfit(const char* loss, const char* needs, const TensorDesc& prediction, const char* remedy);

/// The options that the losses here share, as one line; see LossRule::options().
struct LossOptionsText {
  bool half = true, mean = false;
  double smoothing = 0;
  std::optional<int64_t> ignore = {};
  double margin = 1;
  std::vector<float> weights = {};
  bool balanced = false;
  std::string str() const;
};

}  // namespace lockstep
