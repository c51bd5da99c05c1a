#include "src/run/predict/predictor.h"

#include <fmt/format.h>

#include <algorithm>

#include "io/dataset/row_converter.h"
#include "src/plan/plan.h"
#include "src/run/predict/prediction.h"
#include "src/run/trained_model.h"

namespace lockstep {

Predictor::Predictor(const std::string& checkpoint)
    : model_(std::make_unique<TrainedModel>(load_model(checkpoint))) {
  const Job& job = model_->job;
  if (model_->graph.inputs().size() != 1)
    throw Error(checkpoint, fmt::format("its network has {} inputs", model_->graph.inputs().size()),
                "a Predictor is for networks of one; use `lockstep predict` with a dataset");
  set_compute_threads(job.threads);
  PlanOptions options;
  options.config = job.op_config(false);
  options.micro_batch = job.micro_batch;
  plan_ = std::make_unique<Plan>(model_->graph, *model_->arena, job.losses(), options);
  plan_->refresh_weights();
  output_ = plan_->output_shape().without_front();
  rows_.resize(static_cast<size_t>(job.micro_batch * model_->graph.vertex(0).shape.n_elements()));
}

Predictor::~Predictor() = default;
Predictor::Predictor(Predictor&&) noexcept = default;

const Shape& Predictor::input() const { return model_->contract.input; }
const Shape& Predictor::output() const { return output_; }
const std::vector<std::string>& Predictor::class_names() const { return model_->contract.class_names; }

std::vector<float> Predictor::predict(std::span<const float> inputs, int64_t n) {
  const Shape& stored = input();
  const int64_t stored_elements = stored.n_elements(), m = model_->job.micro_batch;
  if (n < 0 || static_cast<int64_t>(inputs.size()) != n * stored_elements)
    throw Error("predict",
                fmt::format("{} values are not {} samples of shape {}", inputs.size(), n, stored.str()),
                fmt::format("give {} values for each sample", stored_elements));
  const Shape read = model_->job.augment.empty() ? stored : model_->job.augment.output(stored);
  const Normalization& normalization = model_->contract.normalization;
  const RowConverter converter({"input", DType::kFloat32, stored}, DType::kFloat32, normalization.mean,
                               normalization.stddev, 0, "predict", read == stored ? Shape{} : read);
  const int64_t n_elements = converter.dst_bytes() / int64_t{sizeof(float)};
  std::vector<float> outputs(static_cast<size_t>(n * output_.n_elements()));
  std::vector<int64_t> ids(static_cast<size_t>(m));
  for (int64_t first = 0; first < n; first += m) {
    const int64_t n_valid = std::min(m, n - first);
    std::fill(rows_.begin(), rows_.end(), 0.0F);
    std::fill(ids.begin(), ids.end(), -1);
    for (int64_t i = 0; i < n_valid; ++i) {
      ids[i] = first + i;
      converter.convert(reinterpret_cast<const std::byte*>(inputs.data() + ids[i] * stored_elements),
                        reinterpret_cast<std::byte*>(rows_.data() + i * n_elements), ids[i], "predict");
    }
    const MicroBatch batch{.n_valid = n_valid, .sample_ids = ids, .data = {rows_.data()}};
    plan_->stage(batch, {});
    plan_->forward();
    std::copy_n(plan_->output(), n_valid * output_.n_elements(),
                outputs.data() + first * output_.n_elements());
  }
  restore_units(output_units(*model_), n, output_.n_elements(), outputs.data());
  return outputs;
}

}  // namespace lockstep
