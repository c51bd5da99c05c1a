// What a unit of a network gives for an input, and its gradient with respect to that input.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "src/plan/plan.h"
#include "src/run/trained_model.h"

namespace lockstep {

/// A channel of a layer of planes, (C, H, W), whose value is the mean over its positions; or a unit of a
/// layer of vectors.
struct Unit {
  std::string layer;  // "": the network's output
  int64_t channel = 0;
};

/// Of networks as they are in evaluation, one input at a time.
class UnitGradient {
 public:
  /// Of the units of one layer; "": the output. `model` must outlive it.
  UnitGradient(const TrainedModel& model, const std::string& layer);
  ~UnitGradient();

  int64_t n_channels() const { return shape_[0]; }
  /// input: one sample, as the network reads it. Writes the gradient (the input's size) and returns the
  /// unit's value.
  double at(const std::vector<float>& input, int64_t channel, std::vector<float>& gradient);

 private:
  Shape shape_;  // of the layer
  bool is_cuda_;
  std::unique_ptr<Plan> plan_;
  std::vector<float> target_;
  Memory ignored_;  // gradients of the weights
};

}  // namespace lockstep
