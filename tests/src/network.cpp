#include "tests/src/network.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "kernels/random.h"
#include "src/network/init.h"

namespace lockstep {

Graph graph_from(const std::string& model) { return build_model(Config::from_text(model, "model"), {}); }

LossSpec loss_from(const std::string& loss) {
  return read_loss(Config::from_text("loss: " + loss, "loss").at("loss"));
}

std::unique_ptr<ParameterArena> random_arena(const Graph& graph, uint64_t seed) {
  auto arena = std::make_unique<ParameterArena>(graph, network_device());
  initialize(*arena, default_init("he_normal"), seed);
  for (const Segment& segment : arena->segments()) {
    if (segment.spec.role != ParameterSpec::Role::kBias) continue;
    const RandomStream random(seed, RandomPurpose::kSynthetic, 1, static_cast<uint64_t>(segment.offset));
    for (int64_t i = 0; i < segment.n_elements(); ++i)
      arena->host().as<float>()[segment.offset + i] = 0.3f * random.normal(i);
  }
  arena->host().upload(*make_stream(network_device()));
  return arena;
}

BatchContext Batch::context() const {
  BatchContext context;
  context.seed = 1;
  context.n_valid = n_valid;
  context.sample_ids = sample_ids.data();
  return context;
}

Batch random_batch(const Graph& graph, const LossSpec& loss, int64_t n, int64_t n_valid, uint64_t seed,
                   Padding padding) {
  const int64_t sample = graph.vertex(0).shape.n_elements();
  const Shape output = graph.vertex(graph.output()).shape;
  const int64_t target = loss.target_shape(output).n_elements();
  Batch batch;
  batch.n = n;
  batch.n_valid = n_valid;
  batch.input = Memory(Device{}, n * sample * 4);
  batch.target = Memory(Device{}, n * target * size_of(loss.target_dtype()));
  for (int64_t row = 0; row < n; ++row) {
    const bool is_padding = row >= n_valid;
    batch.sample_ids.push_back(is_padding ? -1 : 100 + row);
    if (is_padding && padding == Padding::kZeros) continue;
    const RandomStream random(seed, RandomPurpose::kSynthetic, is_padding ? 3 : 2,
                              static_cast<uint64_t>(row));
    const float scale = is_padding ? 50.0f : 1.0f;
    for (int64_t i = 0; i < sample; ++i) batch.input.as<float>()[row * sample + i] = scale * random.normal(i);
    for (int64_t i = 0; i < target; ++i) {
      if (loss.is_classification()) {
        batch.target.as<int64_t>()[row * target + i] =
            static_cast<int64_t>(random.bits(sample + i)) % loss.n_classes(output);
      } else {
        batch.target.as<float>()[row * target + i] = scale * random.normal(sample + i);
      }
    }
  }
  return batch;
}

PlanOptions plan_options(int64_t n) {
  PlanOptions options;
  options.config.device = network_device();
  options.micro_batch = n;
  return options;
}

Outcome run(Plan& plan, const ParameterArena& arena, const Batch& batch) {
  const Memory gradients = arena.make_parallel();
  HostMirror host(gradients);
  const std::unique_ptr<Stream> stream = make_stream(arena.device());
  for (const Segment& segment : arena.segments()) {
    std::fill_n(host.as<float>() + segment.offset, segment.n_elements(),
                std::numeric_limits<float>::quiet_NaN());
  }
  host.upload(*stream);
  Outcome outcome;
  plan.refresh_weights();
  plan.forward({batch.input.data()}, {batch.target.data()}, batch.context());
  outcome.loss_values.assign(plan.loss_values(), plan.loss_values() + kLossValues);
  outcome.output.assign(plan.output(), plan.output() + plan.output_shape().n_elements());
  plan.backward(gradients.as<float>(), [&](int64_t final_below) { outcome.marks.push_back(final_below); });
  plan.loss_values();  // waits for the plan's stream
  host.download(*stream);
  outcome.gradients.assign(host.as<float>(), host.as<float>() + arena.n_elements());
  return outcome;
}

Outcome run(const Graph& graph, const ParameterArena& arena, const LossSpec& loss, const Batch& batch,
            const PlanOptions& options) {
  Plan plan(graph, arena, loss, options);
  return run(plan, arena, batch);
}

int64_t expect_near(const std::vector<float>& a, const std::vector<float>& b, double relative,
                    const std::string& what) {
  EXPECT_EQ(a.size(), b.size()) << what;
  EXPECT_FALSE(b.empty()) << what;
  if (a.size() != b.size() || b.empty()) return 0;
  double squares = 0;
  for (float x : b) squares += static_cast<double>(x) * x;
  const double rms = std::sqrt(squares / static_cast<double>(b.size()));
  EXPECT_GT(rms, 0) << what << ": nothing but zeros";
  int64_t n_wrong = 0, n_different = 0;
  for (size_t i = 0; i < b.size(); ++i) {
    n_different += std::memcmp(&a[i], &b[i], sizeof(float)) != 0;
    if (std::abs(a[i] - b[i]) <= relative * std::max<double>(std::abs(b[i]), rms)) continue;  // false for NaN
    if (++n_wrong <= 5) ADD_FAILURE() << what << "[" << i << "] = " << a[i] << ", expected " << b[i];
  }
  EXPECT_EQ(n_wrong, 0) << what << ": wrong elements of " << b.size();
  return n_different;
}

void expect_same_bits(const std::vector<float>& a, const std::vector<float>& b, const std::string& what) {
  EXPECT_EQ(expect_near(a, b, 0, what), 0) << what << ": elements with other bits";
}

}  // namespace lockstep
