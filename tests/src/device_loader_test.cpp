// Micro-batches of a loader for a GPU: they lie in page-locked memory, and what the plan computes from
// them, each slot given back as soon as its copies are done, equals what it computes from other memory.
#include <gtest/gtest.h>

#include "io/loader/loader.h"
#include "tests/src/network.h"
#include "tests/support/hdf5_files.h"
#if __has_include(<cuda_on_host/runtime_api.h>)
#include <cuda_on_host/runtime_api.h>
#endif

namespace lockstep {
namespace {

constexpr int64_t kSamples = 61, kRows = 8, kMicroBatches = 24;

class DeviceLoaderTest : public testing::Test {
 protected:
  DeviceLoaderTest() {
    FixtureField x{"x", {kSamples, 20}, "float32", {}}, y{"y", {kSamples}, "int64", {}};
    for (int64_t i = 0; i < kSamples * 20; ++i) x.values.push_back(static_cast<double>(i * 37 % 101) / 64);
    for (int64_t i = 0; i < kSamples; ++i) y.values.push_back(static_cast<double>(i % 5));
    write_hdf5(folder_.file("data.h5"), {x, y});
  }

  LoaderOptions options(Device device) const {
    LoaderOptions options;
    options.fields = {{"x", DType::kFloat32, {20}, {}, {}, 0}, {"y", DType::kInt64, {}, {}, {}, 5}};
    options.global_batch = options.micro_batch = kRows;
    options.prefetch = 1;
    options.device = device;
    return options;
  }

  TemporaryFolder folder_;
};

TEST_F(DeviceLoaderTest, LiesInPageLockedMemory) {
  const Dataset data = Dataset::open(folder_.path());
  DataLoader loader(data, options({Device::Kind::kCuda, 0}), 0);
  for (const void* array : loader.next().data) {
    ASSERT_EQ(reinterpret_cast<uintptr_t>(array) % 64, 0u);
#if __has_include(<cuda_on_host/runtime_api.h>)
    cudaPointerAttributes attributes;
    ASSERT_EQ(cudaPointerGetAttributes(&attributes, array), cudaSuccess);
    EXPECT_EQ(attributes.type, cudaMemoryTypeHost);
#endif
  }
}

TEST_F(DeviceLoaderTest, StagedMicroBatchesArriveWhole) {
  const Dataset data = Dataset::open(folder_.path());
  const Graph graph = graph_from("{zoo: mlp, input: [20], hidden: [33], classes: 5}");
  const LossSpec loss = loss_from("softmax_cross_entropy");
  const auto arena = random_arena(graph, 1);
  std::vector<std::vector<double>> values;  // (loader, micro-batch x loss values)
  for (const Device device : {Device{}, network_device()}) {
    ParameterArena weights(graph, network_device());
    std::copy_n(arena->weights(), arena->n_elements(), weights.host().as<float>());
    const std::shared_ptr<Stream> stream = make_stream(network_device());
    weights.host().upload(*stream);
    PlanOptions planning = plan_options(kRows);
    planning.config.device = network_device();
    planning.stream = stream;
    Plan plan(graph, weights, loss, planning);
    plan.refresh_weights();
    DataLoader loader(data, options(device), 0);
    const auto stage = [&] {
      const MicroBatch& batch = loader.next();
      BatchContext context;
      context.n_valid = batch.n_valid;
      context.sample_ids = batch.sample_ids.data();
      plan.stage({batch.data[0]}, {batch.data[1]}, context);
    };
    values.emplace_back();
    stage();
    for (int64_t k = 0; k < kMicroBatches; ++k) {
      plan.forward();
      plan.wait_staged();
      stage();  // beside the computation
      values.back().insert(values.back().end(), plan.loss_values(), plan.loss_values() + kLossValues);
    }
  }
  EXPECT_EQ(values[0], values[1]);
  EXPECT_GT(values[0][kLossSum], 0);
}

}  // namespace
}  // namespace lockstep
