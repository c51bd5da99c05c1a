// A training step allocates nothing: none of our code asks the heap for memory once the first
// steps are done, on any thread. What oneDNN and MPI ask for themselves is printed, and bounded.
#include <gtest/gtest.h>

#include <cmath>
#include <cstdio>
#include <map>

#include "src/data/data.h"
#include "src/network/model.h"
#include "src/run/job.h"
#include "src/step/replica.h"
#include "tests/src/count_allocations.h"
#include "tests/support/hdf5_files.h"

namespace lockstep {
namespace {

constexpr int64_t kSamples = 90;
constexpr int64_t kSteps = 24;  // counted
/// oneDNN's sgemm takes some 75 KB for a product and gives it back: 6 MB a step have been seen.
constexpr int64_t kForeignBytesPerStep = 16 << 20;

TEST(Counter, SeesOurAllocationsAndTheirOwner) {
  if (!can_count_allocations()) GTEST_SKIP() << "the sanitizer has its own allocator";
  start_counting();
  auto* volatile a = new double[100];  // volatile: the compiler may drop what nobody reads
  std::string text(1000, 'x');         // inside libstdc++, for us
  void* volatile b = std::aligned_alloc(64, 640);
  const Allocations seen = stop_counting();
  delete[] a;
  std::free(b);
  EXPECT_EQ(text.size(), 1000u);
  ASSERT_EQ(seen.n_total, 3);
  const int64_t n_bytes[] = {800, 1001, 640};
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(seen.items[i].n_bytes, n_bytes[i]);
    EXPECT_TRUE(seen.items[i].is_own) << seen.items[i].stack;
  }
  start_counting();
  char* unused = ::realpath("/", nullptr);  // the C library's own
  const Allocations none = stop_counting();
  std::free(unused);
  EXPECT_GE(none.n_total, 1);
}

struct Case {
  const char* name;
  const char* model;
  const char* optimizer;
  int64_t cache_mb;
  const char* augment = "[]";
  const char* batch = "";
};
const Case kCases[] = {
    {"lenet5", "zoo: lenet5, activation: relu, pooling: max",
     "{sgd: {lr: 0.1, momentum: 0.9, weight_decay: 0.01}}", 64},
    {"perceptron", "zoo: mlp, hidden: [256, 128]", "{adam: {lr: 0.001}}", 64},
    {"sharded", "zoo: mlp, hidden: [256, 128]", "{adam: {lr: 0.001}}", 64, "[]", ", shard_optimizer: true"},
    {"rounded", "zoo: mlp, hidden: [256, 128]", "{adam: {lr: 0.001}}", 64, "[]",
     ", wire: bfloat16, error_feedback: true"},
    {"uncached", "zoo: mlp, hidden: [32]", "{sgd: {lr: 0.1}}", 0},
    {"sequences",
     "layers: [{reshape: [2, 392]}, {lstm: {hidden: 16, layers: 2, dropout: 0.2}}, {gru: {hidden: 8, "
     "direction: "
     "bidirectional}}, {scan: {over: {x: gru1}, carry: {h: {shape: [4]}}, body: [{concat: [x, h]}, {affine: "
     "4}, "
     "tanh]}}, last_step, {affine: 10}]",
     "{adam: {lr: 0.001}}", 64},
    {"augmented", "zoo: mlp, hidden: [32]", "{sgd: {lr: 0.1}}", 64,
     "[{random_crop: 2}, {affine: 10}, {gaussian_noise: 0.1}, {vignette: 0.5}]"},
    {"mixed", "zoo: mlp, hidden: [32]", "{sgd: {lr: 0.1}}", 64,
     "[], mixup: {alpha: 0.4}, cutmix: {alpha: 1}"},
};

class SteadyStep : public testing::TestWithParam<Case> {};

TEST_P(SteadyStep, AllocatesNothing) {
  if (!can_count_allocations()) GTEST_SKIP() << "the sanitizer has its own allocator";
  Communicator world = Communicator::world();
  TemporaryFolder folder;  // of each rank
  FixtureField image{"image", {kSamples, 1, 28, 28}, "float32", {}}, label{"label", {kSamples}, "int64", {}};
  for (int64_t i = 0; i < kSamples * 784; ++i) image.values.push_back(std::sin(0.7 * static_cast<double>(i)));
  for (int64_t i = 0; i < kSamples; ++i) label.values.push_back(static_cast<double>(i % 10));
  write_hdf5(folder.file("data.h5"), {image, label});
  const Job job = read_job(Config::from_text(
      "name: test\nclip: 1\nmodel: {" +
          std::string(std::string_view(GetParam().model).starts_with("zoo") ? "classes: 10, " : "") +
          GetParam().model + "}\ndata: {train: " + folder.file("data.h5") + ", augment: " +
          GetParam().augment + ", prefetch_mb: 0, cache_mb: " + std::to_string(GetParam().cache_mb) +
          "}\nbatch: {global: 16, micro: 4, first_bucket_mb: 0.01, bucket_mb: 0.01" + GetParam().batch +
          "}\noptimizer: " + GetParam().optimizer + "\ntrain: {epochs: 1}\n",
      "test"));
  const JobData data = open_data(job);
  const Graph graph = build_graph(job, data.contract);
  const auto augmentation =
      make_augmentation(job, *data.train, data.train_fields, graph, data.contract.normalization);
  Replica replica(job, graph, world, {.augmentation = augmentation});
  DataLoader loader(
      *data.train,
      make_loader_options(job, *data.train, data.train_fields, replica.graph(), true,
                          data.contract.normalization, world.rank(), world.size(), augmentation.get()),
      0);
  int64_t step = 0;
  while (step < 3 * loader.steps_per_epoch()) replica.step(loader, step++, 1000);  // caches fill
  world.barrier();
  start_counting();
  for (int64_t i = 0; i < kSteps; ++i) replica.step(loader, step++, 1000);
  const Allocations seen = stop_counting();

  std::map<std::string, int64_t> n_by_owner, bytes_by_owner, own_stacks;
  int64_t foreign_bytes = 0;
  for (const Allocation& allocation : seen.items) {
    ++n_by_owner[allocation.owner];
    bytes_by_owner[allocation.owner] += allocation.n_bytes;
    if (allocation.is_own) {
      ++own_stacks[allocation.stack];
    } else {
      foreign_bytes += allocation.n_bytes;
    }
  }
  for (const auto& [owner, n] : n_by_owner) {
    std::printf("%s, rank %d of %d: %s: %.1f allocations and %.0f bytes per step\n", GetParam().name,
                world.rank(), world.size(), owner.c_str(), static_cast<double>(n) / kSteps,
                static_cast<double>(bytes_by_owner[owner]) / kSteps);
  }
  for (const auto& [stack, n] : own_stacks)
    ADD_FAILURE() << n << " allocations of our code in " << kSteps << " steps:\n" << stack;
  EXPECT_LE(seen.n_total, static_cast<int64_t>(seen.items.size())) << "not all were recorded";
  EXPECT_LE(foreign_bytes / kSteps, kForeignBytesPerStep);
}

INSTANTIATE_TEST_SUITE_P(Networks, SteadyStep, testing::ValuesIn(kCases),
                         [](const auto& one) { return one.param.name; });

}  // namespace
}  // namespace lockstep
