// The loss is half the squared distance between the layer's values and those values less 1 at each of the
// unit's positions: its gradient is that of the unit's sum.
#include "src/run/explain/unit_gradient.h"

#include <algorithm>

#include "src/losses/loss.h"

namespace lockstep {

namespace {

LossSpec distance_to(const std::string& layer) {
  LossSpec loss = read_loss(Config::from_text("loss: l2", "a unit").at("loss"));
  loss.of = layer;
  return loss;
}

Graph showing(Graph graph, const std::string& layer) {
  graph.show(layer.empty() ? graph.output() : graph.find(layer));
  return graph;
}

}  // namespace

UnitGradient::UnitGradient(const TrainedModel& model, const std::string& layer)
    : graph_(showing(model.graph, layer)) {
  PlanOptions options;
  options.config = model.job.op_config(false);
  options.config.compute = DType::kFloat32;
  options.keeps_shown = true;
  values_ = std::make_unique<Plan>(graph_, *model.arena, std::vector<LossSpec>{}, options);
  values_->refresh_weights();
  options.keeps_shown = false;
  options.config.training = true;
  options.input_gradients = true;
  plan_ = std::make_unique<Plan>(graph_, *model.arena, distance_to(layer), options);
  plan_->refresh_weights();
  shape_ = values_->shown_shape(graph_.shown().size() - 1).without_front();
  target_.resize(static_cast<size_t>(shape_.n_elements()));
  rubbish_.resize(static_cast<size_t>(model.arena->n_elements()));
}

UnitGradient::~UnitGradient() = default;

double UnitGradient::at(const std::vector<float>& input, int64_t channel, std::vector<float>& gradient) {
  const int64_t id = 0;
  BatchContext one;
  one.n_valid = 1;
  one.sample_ids = &id;
  values_->forward({input.data()}, {}, one);
  const float* const values = values_->shown(graph_.shown().size() - 1);
  const int64_t n_positions = shape_.n_elements() / shape_[0];
  std::copy_n(values, shape_.n_elements(), target_.data());
  double sum = 0;
  for (int64_t i = channel * n_positions; i < (channel + 1) * n_positions; ++i) {
    sum += values[i];
    target_[static_cast<size_t>(i)] -= 1;
  }
  plan_->forward({input.data()}, {target_.data()}, one);
  plan_->backward(rubbish_.data(), nullptr);
  const float* const of_input = plan_->input_gradient(0);
  gradient.assign(of_input, of_input + input.size());
  for (float& g : gradient) g /= static_cast<float>(n_positions);
  return sum / static_cast<double>(n_positions);
}

}  // namespace lockstep
