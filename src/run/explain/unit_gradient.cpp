// The loss is half the squared distance between the layer's values and those values less 1 at each of the
// unit's positions: its gradient is that of the unit's sum. The target is written when the values are there:
// backward reads it in place on the CPU, on a GPU the forward pass is repeated with it.
#include "src/run/explain/unit_gradient.h"

#include <algorithm>

#include "src/losses/loss.h"

namespace lockstep {

UnitGradient::UnitGradient(const TrainedModel& model, const std::string& layer)
    : shape_(model.graph.vertex(layer.empty() ? model.graph.output() : model.graph.find(layer)).shape),
      is_cuda_(model.job.device.kind == Device::Kind::kCuda),
      target_(static_cast<size_t>(shape_.n_elements())),
      ignored_(model.job.device, model.arena->n_elements() * int64_t{sizeof(float)}) {
  LossSpec distance = read_loss(Config::from_text("loss: l2", "a unit").at("loss"));
  distance.of = layer;
  PlanOptions options;
  options.config = model.job.op_config(true);
  options.config.compute = DType::kFloat32;
  options.input_gradients = true;
  plan_ = std::make_unique<Plan>(model.graph, *model.arena, distance, options);
  plan_->refresh_weights();
}

UnitGradient::~UnitGradient() = default;

double UnitGradient::at(const std::vector<float>& input, int64_t channel, std::vector<float>& gradient) {
  const int64_t id = 0, n_positions = shape_.n_elements() / shape_[0];
  BatchContext one;
  one.n_valid = 1;
  one.sample_ids = &id;
  plan_->forward({input.data()}, {target_.data()}, one);
  std::copy_n(plan_->judged(true).prediction, shape_.n_elements(), target_.data());
  double sum = 0;
  for (int64_t i = channel * n_positions; i < (channel + 1) * n_positions; ++i) {
    sum += target_[static_cast<size_t>(i)];
    target_[static_cast<size_t>(i)] -= 1;
  }
  if (is_cuda_) plan_->forward({input.data()}, {target_.data()}, one);
  plan_->backward(ignored_.as<float>(), nullptr);
  const float* const of_input = plan_->input_gradient(0);
  gradient.assign(of_input, of_input + input.size());
  for (float& g : gradient) g /= static_cast<float>(n_positions);
  return sum / static_cast<double>(n_positions);
}

}  // namespace lockstep
