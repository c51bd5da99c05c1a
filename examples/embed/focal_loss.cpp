// A loss of one's own: the focal loss of Lin et al. 2017, -(1 - p)^gamma log p, with p the softmax of the
// true class's score. Samples that the network is sure of count less.
#include <algorithm>
#include <cmath>

#include "src/losses/loss.h"

namespace {

using namespace lockstep;

/// prediction (N, K) scores, target (N) class ids; on the CPU. Sums in float64, in the order of the samples.
class FocalOp : public Op {
 public:
  FocalOp(const TensorDesc& prediction, double gamma, double weight) : gamma_(gamma), weight_(weight) {
    const Shape rows{prediction.shape[0]};
    info_.src = {prediction.dense(), {rows, DType::kInt64, nullptr}};
    info_.dst = {{Shape{kLossValues}, DType::kFloat64, nullptr}};
    info_.backward_needs_dst = false;
  }

  void forward(Stream&, const OpArgs& args) override {
    double* sums = args.dst[0].as<double>();
    std::fill(sums, sums + kLossValues, 0.0);
    for (int64_t i = 0; i < args.batch->n_valid; ++i) {
      const Row row(args, i);
      const double p = row.probability(row.target);
      sums[kLossSum] -= weight_ * std::pow(1 - p, gamma_) * std::log(p);
      sums[kNCorrect] += std::max_element(row.scores, row.scores + row.k) - row.scores == row.target;
      sums[kNCounted] += 1;
      sums[kWeightSum] += 1;
    }
  }

  void backward(Stream&, const OpArgs& args) override {
    const int64_t n = args.src[0].desc.shape[0], k = args.src[0].desc.shape[1];
    float* diff = args.diff_src[0].as<float>();
    if (diff == nullptr) return;
    std::fill(diff, diff + n * k, 0.0f);  // rows of padding have no gradient
    for (int64_t i = 0; i < args.batch->n_valid; ++i) {
      const Row row(args, i);
      const double p = row.probability(row.target), rest = 1 - p;
      // d loss / d p times p; dp / dx_c = p ((c = target) - p_c).
      const double bend = rest > 0 ? gamma_ * std::pow(rest, gamma_ - 1) * p * std::log(p) : 0;
      const double slope = weight_ * args.batch->loss_scale * (bend - std::pow(rest, gamma_));
      for (int64_t c = 0; c < k; ++c)
        diff[i * k + c] = static_cast<float>(slope * ((c == row.target) - row.probability(c)));
    }
  }

 private:
  struct Row {
    Row(const OpArgs& args, int64_t i)
        : k(args.src[0].desc.shape[1]),
          scores(args.src[0].as<const float>() + i * k),
          target(args.src[1].as<const int64_t>()[i]),
          largest(*std::max_element(scores, scores + k)) {
      for (int64_t c = 0; c < k; ++c) sum += std::exp(scores[c] - largest);
    }
    double probability(int64_t c) const { return std::exp(scores[c] - largest) / sum; }
    int64_t k;
    const float* scores;
    int64_t target;
    double largest, sum = 0;
  };
  double gamma_, weight_;
};

class FocalLoss : public LossRule {
 public:
  explicit FocalLoss(double gamma) : gamma_(gamma) {}
  bool is_classification() const override { return true; }
  bool has_accuracy() const override { return true; }
  Probability probability() const override { return Probability::kSoftmax; }
  Shape target_shape(const Shape&) const override { return {}; }
  int64_t n_classes(const Shape& prediction) const override { return prediction.n_elements(); }
  std::unique_ptr<Op> make_op(const OpConfig& config, const TensorDesc& prediction,
                              double weight) const override {
    if (config.device.kind != Device::Kind::kCpu)
      throw Error("loss focal", "it is computed on the CPU only", "set device: cpu");
    if (prediction.shape.rank() != 2)
      throw output_misfit("focal", "one score per class", prediction,
                          "end the network with 'affine: CLASSES'");
    return std::make_unique<FocalOp>(prediction, gamma_, weight);
  }
  std::string options() const override { return "gamma " + std::to_string(gamma_); }

 private:
  double gamma_;
};

const bool registered = losses().add("focal", [](Config& options) {
  options.positional("gamma");  // {focal: 2} for {focal: {gamma: 2}}
  const double gamma = options.get_double("gamma", 2);
  if (gamma < 1) throw options.error_at("gamma", "must be at least 1", "the paper's is 2");
  return std::make_shared<FocalLoss>(gamma);
});

}  // namespace
