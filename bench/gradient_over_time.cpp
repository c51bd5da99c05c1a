// How far back a recurrent layer's gradient reaches: |dL/dx_t| against T - t for a loss of the last step, for
// networks as they begin. Prints CSV (network, steps back, norm relative to that of the last step);
// scripts/gradient-over-time draws it.
//
// Each step reads an id of its own, 0 to T - 1, so that the gradient of row t of the embedding is dL/dx_t.
#include <fmt/format.h>

#include <cmath>
#include <memory>
#include <string>
#include <vector>

#include "kernels/random.h"
#include "src/network/init.h"
#include "src/network/model.h"
#include "src/plan/plan.h"

namespace {

using namespace lockstep;

constexpr int64_t kSteps = 100, kWidth = 16, kHidden = 64;
constexpr uint64_t kSeed = 1;

/// Rows of length 1, each at right angles to the others (Gram and Schmidt), times `scale`: every singular
/// value is `scale`.
void fill_orthogonal(float* weight, double scale) {
  const RandomStream random(kSeed, RandomPurpose::kSynthetic, 1, 0);
  std::vector<std::vector<double>> rows;
  for (int64_t r = 0; r < kHidden; ++r) {
    std::vector<double> row(kHidden);
    for (int64_t c = 0; c < kHidden; ++c)
      row[static_cast<size_t>(c)] = random.normal(static_cast<uint64_t>(r * kHidden + c));
    for (const std::vector<double>& before : rows) {
      double dot = 0;
      for (size_t c = 0; c < row.size(); ++c) dot += row[c] * before[c];
      for (size_t c = 0; c < row.size(); ++c) row[c] -= dot * before[c];
    }
    double squares = 0;
    for (const double value : row) squares += value * value;
    for (double& value : row) value /= std::sqrt(squares);
    for (int64_t c = 0; c < kHidden; ++c)
      weight[r * kHidden + c] = static_cast<float>(scale * row[static_cast<size_t>(c)]);
    rows.push_back(std::move(row));
  }
}

struct Case {
  std::string name, layer;
  double recurrent_scale = 0;  // 0: as drawn
  double forget_bias = 0;
};

void measure(const Case& c) {
  const Graph graph =
      build_model(Config::from_text(
                      fmt::format("{{input: [{0}], layers: [{{embedding: {{width: {1}, vocabulary: {0}}}}}, "
                                  "{{{2}: {{hidden: {3}, name: rnn}}}}, last_step]}}",
                                  kSteps, kWidth, c.layer, kHidden),
                      "model"),
                  {});
  ParameterArena arena(graph, {});
  initialize(arena, default_init("lecun_uniform"), kSeed);
  const Segment* rows = nullptr;
  for (const Segment& segment : arena.segments()) {
    float* const weights = arena.host().as<float>() + segment.offset;
    if (segment.vertex == 1) {
      rows = &segment;
      for (int64_t i = 0; i < segment.n_elements(); ++i)
        weights[i] *= 0.1f;  // tanh stays close to its middle
    }
    if (segment.name.find("weight_hh") != std::string::npos && c.recurrent_scale > 0)
      fill_orthogonal(weights, c.recurrent_scale);
    if (segment.name.find("bias_hh") != std::string::npos && c.layer == "lstm")
      for (int64_t i = kHidden; i < 2 * kHidden; ++i) weights[i] = static_cast<float>(c.forget_bias);
    if (segment.name.find("bias") != std::string::npos && c.layer == "rnn")
      std::fill_n(weights, segment.n_elements(), 0.0f);
  }
  arena.host().upload(*make_stream({}));

  PlanOptions options;
  options.micro_batch = 1;
  Plan plan(graph, arena, read_loss(Config::from_text("loss: l2", "loss").at("loss")), options);
  std::vector<int32_t> ids;
  for (int64_t t = 0; t < kSteps; ++t) ids.push_back(static_cast<int32_t>(t));
  const std::vector<float> target(kHidden, 1);
  const int64_t sample = 0;
  BatchContext batch;
  batch.n_valid = 1;
  batch.sample_ids = &sample;
  plan.refresh_weights();
  plan.forward({ids.data()}, {target.data()}, batch);
  const Memory gradients = arena.make_parallel();
  plan.backward(gradients.as<float>(), nullptr);
  std::vector<double> norms;
  for (int64_t t = 0; t < kSteps; ++t) {
    double squares = 0;
    for (int64_t i = 0; i < kWidth; ++i)
      squares += std::pow(double{gradients.as<float>()[rows->offset + t * kWidth + i]}, 2);
    norms.push_back(std::sqrt(squares));
  }
  for (int64_t back = 0; back < kSteps; ++back)
    fmt::print("{},{},{:.6g}\n", c.name, back, norms[static_cast<size_t>(kSteps - 1 - back)] / norms.back());
}

}  // namespace

int main() {
  fmt::print("network,steps_back,relative_norm\n");
  measure({"RNN with recurrent weights of norm 0.8", "rnn", 0.8});
  measure({"RNN with recurrent weights of norm 1", "rnn", 1});
  measure({"RNN with recurrent weights of norm 1.25", "rnn", 1.25});
  measure({"LSTM with a forget bias of 1", "lstm", 0, 1});
  measure({"LSTM with a forget bias of 4", "lstm", 0, 4});
}
