// Predictor: a trained network for programs that have arrays and no datasets.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "kernels/device.h"
#include "kernels/shape.h"

namespace lockstep {

class Plan;
struct TrainedModel;

class Predictor {
 public:
  /// Reads a checkpoint: its network, weights, and the normalisation of its inputs. Does not communicate.
  /// Throws Error naming the file, and for networks of several inputs.
  explicit Predictor(const std::string& checkpoint);
  ~Predictor();
  Predictor(Predictor&&) noexcept;

  const Shape& input() const;                           // of one sample
  const Shape& output() const;                          // of one sample: scores, not probabilities
  const std::vector<std::string>& class_names() const;  // may be empty

  /// inputs: n dense samples, as the training data hold them (not normalised); n times output() comes back.
  /// Throws Error if the span is not n samples long.
  std::vector<float> predict(std::span<const float> inputs, int64_t n);

 private:
  std::unique_ptr<TrainedModel> model_;
  std::unique_ptr<Plan> plan_;
  Shape output_;
  std::vector<float> rows_;  // a micro-batch, normalised
};

}  // namespace lockstep
