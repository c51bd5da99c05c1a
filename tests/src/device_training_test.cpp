// Training on a CUDA device beside the CPU: losses and weights agree up to rounding, recorded work gives
// the bits of plain work, and a second run those of the first. The device is a GPU or, linked with
// lockstep_kernels_on_host, the stand-in for one.
#include <gtest/gtest.h>

#include <array>

#include "src/data/augment/augment.h"
#include "src/network/init.h"
#include "src/step/micro_batch_tree.h"
#include "src/update/optimizer.h"
#include "tests/src/network.h"

namespace lockstep {
namespace {

struct Trained {
  std::vector<double> losses;
  std::vector<float> weights;
};

struct Setting {
  Device device;
  DType compute = DType::kFloat32;
  bool records = true;
};

constexpr int64_t kSteps = 4, kMicroBatches = 4, kRows = 4;
const Device kGpu{Device::Kind::kCuda, 0};

std::shared_ptr<const Augmentation> augmentation_of(const Graph& graph, const std::string& list) {
  AugmentSpec spec = read_augment(Config::from_text("augment: " + list, "test"));
  if (spec.empty()) return nullptr;
  Augmentation::Source source;
  source.shape = source.network = graph.vertex(0).shape;
  source.dtype = DType::kFloat32;
  source.mean = {0.1f};
  source.stddev = {0.8f};
  return std::make_shared<Augmentation>(std::move(spec), std::move(source));
}

/// Steps of four micro-batches, the last one with a padding row.
Trained train(const std::string& model, const std::string& loss_name, const std::string& augment,
              const Setting& setting) {
  const Graph graph = graph_from(model);
  const LossSpec loss = loss_from(loss_name);
  ParameterArena arena(graph, setting.device);
  initialize(arena, default_init("he_normal"), 3);
  const std::shared_ptr<Stream> stream = make_stream(setting.device);
  PlanOptions options = plan_options(kRows);
  options.config.device = setting.device;
  options.config.compute = setting.compute;
  options.stream = stream;
  options.times_steps = !setting.records;
  options.augmentation = augmentation_of(graph, augment);
  Plan plan(graph, arena, loss, options);
  MicroBatchTree gradients(arena, kMicroBatches);
  Optimizer optimizer(read_optimizer(Config::from_text("{sgd: {lr: 0.002, momentum: 0.9}}", "test")), arena);
  Trained result;
  for (int64_t step = 0; step < kSteps; ++step) {
    double sum = 0;
    plan.refresh_weights();
    for (int64_t m = 0; m < kMicroBatches; ++m) {
      const int64_t n_valid = m + 1 < kMicroBatches ? kRows : kRows - 1;
      const Batch batch = random_batch(graph, loss, kRows, n_valid, static_cast<uint64_t>(step * 10 + m));
      plan.stage({batch.input.data()}, {batch.target.data()}, batch.context(), step / 2);
      plan.forward();
      plan.backward(gradients.target(m), nullptr);
      gradients.merge(*stream, m, 0, arena.n_elements());
      sum += plan.loss_values()[kLossSum];
    }
    result.losses.push_back(sum);
    optimizer.update(*stream, gradients.result(), 0.002, 1.0 / (kRows * kMicroBatches - 1), step);
  }
  arena.host().download(*stream);
  result.weights.assign(arena.host().as<float>(), arena.host().as<float>() + arena.n_elements());
  return result;
}

struct Network {
  const char *model, *loss;
  double tolerance = 1e-5;  // of losses, in float32
  const char* augment = "[]";
};

class DeviceTrainingTest : public testing::TestWithParam<Network> {};

TEST_P(DeviceTrainingTest, AgreesWithTheCpu) {
  const auto [model, loss, tolerance, augment] = GetParam();
  const Trained cpu = train(model, loss, augment, {Device{}}), gpu = train(model, loss, augment, {kGpu});
  for (int64_t s = 0; s < kSteps; ++s)
    EXPECT_NEAR(gpu.losses[s], cpu.losses[s], tolerance * std::abs(cpu.losses[s])) << "step " << s;
  expect_near(gpu.weights, cpu.weights, 30 * tolerance, "weights");
}

TEST_P(DeviceTrainingTest, RepeatsItsBitsRecordedOrNot) {
  for (const DType dtype : {DType::kFloat32, DType::kBFloat16, DType::kFloat16}) {
    const Setting recorded{kGpu, dtype}, plain{kGpu, dtype, false};
    const auto [model, loss, tolerance, augment] = GetParam();
    const Trained first = train(model, loss, augment, recorded);
    for (const Setting& setting : {recorded, plain}) {
      const Trained again = train(model, loss, augment, setting);
      EXPECT_EQ(again.losses, first.losses);
      expect_same_bits(again.weights, first.weights, setting.records ? "a second run" : "plain work");
    }
  }
}

const Network kNetworks[] = {
    {"{zoo: linear, input: [6], outputs: 2}", "l2"},
    {"{zoo: mlp, input: [20], hidden: [33, 17], classes: 5}", "softmax_cross_entropy"},
    {"{zoo: lenet5, input: [1, 28, 28], classes: 10}", "softmax_cross_entropy"},
    {"{zoo: resnet20, input: [3, 16, 16], width: 0.5, classes: 10}", "softmax_cross_entropy", 2e-4},
    {"{zoo: lenet5, input: [3, 28, 28], classes: 10}", "softmax_cross_entropy", 1e-4,
     "[{random_crop: 3}, reflect, {affine: 15}, {color_jitter: {brightness: 0.3, hue: 0.1}}, "
     "{gaussian_noise: "
     "0.1}, random_erasing]"},
};
INSTANTIATE_TEST_SUITE_P(Zoo, DeviceTrainingTest, testing::ValuesIn(kNetworks));

}  // namespace
}  // namespace lockstep
