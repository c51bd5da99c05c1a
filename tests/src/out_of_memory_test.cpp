// A plan that does not fit says what the memory is for and which micro-batch would fit; that one fits.
#include <cuda_runtime.h>
#include <gtest/gtest.h>

#include <regex>

#include "tests/src/network.h"

namespace lockstep {
namespace {

const Device kGpu{Device::Kind::kCuda, 0};

/// Leaves so many bytes of the device free while it lives.
class FreeBytes {
 public:
  explicit FreeBytes(int64_t n_bytes) {
    size_t n_free = 0, n_total = 0;
    cudaMemGetInfo(&n_free, &n_total);
    cuda_on_host::set_memory(n_total - n_free + static_cast<size_t>(n_bytes));
  }
  ~FreeBytes() { cuda_on_host::set_memory(size_t{16} << 30); }
  FreeBytes(const FreeBytes&) = delete;
  FreeBytes& operator=(const FreeBytes&) = delete;
};

struct Trial {
  explicit Trial(const std::string& model) : graph(graph_from(model)), arena(graph, kGpu) {}
  void plan(int64_t micro_batch) const {
    PlanOptions options = plan_options(micro_batch);
    options.config.device = kGpu;
    const Plan plan(graph, arena, loss_from("softmax_cross_entropy"), options);
  }
  Graph graph;
  ParameterArena arena;
};

TEST(OutOfMemoryTest, PlanNamesTheLargestValuesAndAMicroBatchThatFits) {
  const Trial trial("{zoo: resnet20, input: [3, 32, 32], classes: 10}");
  for (const int64_t n_free : {int64_t{20} << 20, int64_t{8} << 20}) {
    const FreeBytes free(n_free);
    try {
      trial.plan(64);
      FAIL() << "the micro-batch fitted";
    } catch (const OutOfMemory& error) {
      const std::string text = error.what();
      EXPECT_NE(text.find("memory of cuda:0: a micro-batch of 64 needs"), std::string::npos) << text;
      EXPECT_NE(text.find("the largest values: bn1 (batch_norm) 4.0 MiB"), std::string::npos) << text;
      std::smatch match;
      ASSERT_TRUE(std::regex_search(text, match, std::regex("set batch.micro=(\\d+)"))) << text;
      const int64_t fitting = std::stoll(match[1]);
      trial.plan(fitting);
      EXPECT_THROW(trial.plan(2 * fitting), OutOfMemory) << "not the largest that fits: " << text;
    }
  }
}

TEST(OutOfMemoryTest, WhereNoMicroBatchFitsNoneIsNamed) {
  const Trial trial("{zoo: resnet20, input: [3, 32, 32], classes: 10}");
  const FreeBytes free(100 << 10);  // a stream takes 8 KiB
  try {
    trial.plan(2);
    FAIL() << "the micro-batch fitted";
  } catch (const OutOfMemory& error) {
    EXPECT_EQ(std::string(error.what()).find("batch.micro"), std::string::npos) << error.what();
  }
}

TEST(OutOfMemoryTest, WeightsSayThatTheyAreWeights) {
  const FreeBytes free(1 << 10);
  try {
    const Trial trial("{zoo: mlp, input: [1000], hidden: [1000], classes: 10}");
    FAIL() << "the weights fitted";
  } catch (const OutOfMemory& error) {
    EXPECT_NE(std::string(error.what()).find("weights, their gradients"), std::string::npos) << error.what();
  }
}

}  // namespace
}  // namespace lockstep
