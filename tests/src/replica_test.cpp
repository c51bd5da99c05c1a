// Replica on 1, 2, 4 and 8 ranks against a serial emulation of the same steps in this test: one
// plan, all micro-batches one after the other, their gradients summed by a plain recursion over
// the binary tree. Every rank count is compared with the same emulation, so they equal each other.
#include "src/step/replica.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <csignal>
#include <cstring>

#include "comm/agreement.h"
#include "src/data/data.h"
#include "src/network/model.h"
#include "src/run/job.h"
#include "tests/support/hdf5_files.h"

namespace lockstep {
namespace {

constexpr int64_t kSamples = 45;  // with batches of 16: the third step has 13, one micro-batch with none

class ReplicaTest : public testing::Test {
 protected:
  /// The dataset, made by rank 0 once for all tests of this program.
  static void SetUpTestSuite() {
    Communicator world = Communicator::world();
    std::string path;
    if (world.is_root()) {
      folder_ = new TemporaryFolder;
      path = folder_->file("data.h5");
      FixtureField image{"image", {kSamples, 1, 8, 8}, "float32", {}},
          label{"label", {kSamples}, "int64", {}};
      for (int64_t i = 0; i < kSamples * 64; ++i)
        image.values.push_back(
            std::sin(0.7 * static_cast<double>(i) + 1e-3 * static_cast<double>(i * i % 977)));
      for (int64_t i = 0; i < kSamples; ++i) label.values.push_back(static_cast<double>((3 * i + i / 5) % 4));
      write_hdf5(path, {image, label}, {"a", "b", "c", "d"});
    }
    path_ = world.broadcast_string(path);
  }
  static void TearDownTestSuite() {
    Communicator::world().barrier();
    delete folder_;
  }

  static Job make_job(const std::string& model, const std::string& optimizer, const std::string& batch = "",
                      const std::string& augment = "[]") {
    return read_job(Config::from_text("name: test\nseed: 5\nmodel: {" + model + "}\ndata: {train: " + path_ +
                                          ", augment: " + augment + "}\nbatch: {global: 16, micro: 2" +
                                          batch + "}\noptimizer: " + optimizer +
                                          "\nschedule: {cosine: {warmup_epochs: 1}}\ntrain: {epochs: 4}\n",
                                      "test"));
  }

  inline static TemporaryFolder* folder_ = nullptr;
  inline static std::string path_;
};

struct Steps {
  std::vector<float> weights;
  std::vector<double> losses, accuracies;
  std::vector<int64_t> n_samples;
  double gradient_norm = 0;
};

std::shared_ptr<const Augmentation> augmentation_of(const Job& job, const JobData& data, const Graph& graph) {
  return make_augmentation(job, *data.train, data.train_fields, graph, data.contract.normalization);
}

LoaderOptions loader_options(const Job& job, const JobData& data, const Graph& graph, int rank, int size) {
  return make_loader_options(job, *data.train, data.train_fields, graph, true, data.contract.normalization,
                             rank, size, augmentation_of(job, data, graph).get());
}

/// `n_steps` updates by all ranks together.
Steps train_on_ranks(const Job& job, int64_t n_steps) {
  Communicator world = Communicator::world();
  const JobData data = open_data(job);
  Graph graph = build_graph(job, data.contract);
  freeze_groups(job.optimizer.groups, graph);
  Replica replica(job, graph, world, {.augmentation = augmentation_of(job, data, graph)});
  DataLoader loader(*data.train, loader_options(job, data, replica.graph(), world.rank(), world.size()), 0);
  Steps result;
  for (int64_t s = 0; s < n_steps; ++s) {
    const StepResult step = replica.step(loader, s, 4 * loader.steps_per_epoch());
    EXPECT_FALSE(step.stop_requested);
    EXPECT_FALSE(step.flagged);
    result.losses.push_back(step.loss);
    result.accuracies.push_back(step.accuracy);
    result.n_samples.push_back(step.n_samples);
  }
  EXPECT_TRUE(replica.compare_weights().tensors.empty());
  result.gradient_norm = replica.gradient_norm();
  const float* weights = replica.arena().weights();
  result.weights.assign(weights, weights + replica.arena().n_elements());
  return result;
}

/// Sum of values[begin, begin + span): two halves of a power of two.
template <typename T>
T tree_sum(const std::vector<T>& values, size_t begin, size_t span) {
  return span == 1 ? values[begin]
                   : tree_sum(values, begin, span / 2) + tree_sum(values, begin + span / 2, span / 2);
}

/// The same updates in this process alone, without Replica, MicroBatchTree or reducer.
Steps train_serially(const Job& job, int64_t n_steps) {
  const JobData data = open_data(job);
  const Graph graph = build_graph(job, data.contract);
  const ParameterArena arena(graph, job.device);
  initialize(arena, job.init, job.seed);
  PlanOptions options;
  options.micro_batch = job.micro_batch;
  options.augmentation = augmentation_of(job, data, graph);
  Plan plan(graph, arena, job.loss, options);
  Optimizer optimizer(job.optimizer, arena);
  DataLoader loader(*data.train, loader_options(job, data, graph, 0, 1), 0);
  const std::unique_ptr<Stream> stream = make_stream(job.device);
  const auto n_micro = static_cast<size_t>(job.n_micro());
  Steps result;
  for (int64_t s = 0; s < n_steps; ++s) {
    plan.refresh_weights();
    std::vector<Memory> gradients;
    std::vector<double> losses, correct, counted;
    for (size_t m = 0; m < n_micro; ++m) {
      const MicroBatch& batch = loader.next();
      BatchContext context;
      context.seed = job.seed;
      context.n_valid = batch.n_valid;
      context.sample_ids = batch.sample_ids.data();
      gradients.push_back(arena.make_parallel());
      plan.stage({batch.data[0]}, {batch.data[1]}, context, s / loader.steps_per_epoch());
      plan.forward();
      plan.backward(gradients.back().as<float>(), nullptr);
      losses.push_back(plan.loss_values()[kLossSum]);
      correct.push_back(plan.loss_values()[kNCorrect]);
      counted.push_back(plan.loss_values()[kNCounted]);
    }
    const Memory sum = arena.make_parallel();
    double squares = 0;
    for (int64_t i = 0; i < arena.n_elements(); ++i) {
      std::vector<float> leaves;
      for (const Memory& gradient : gradients) leaves.push_back(gradient.as<float>()[i]);
      sum.as<float>()[i] = tree_sum(leaves, 0, n_micro);
      squares += static_cast<double>(sum.as<float>()[i]) * sum.as<float>()[i];
    }
    const double n = tree_sum(counted, 0, n_micro);
    result.losses.push_back(tree_sum(losses, 0, n_micro) / n);
    result.accuracies.push_back(tree_sum(correct, 0, n_micro) / n);
    result.n_samples.push_back(static_cast<int64_t>(n));
    for (const ElementRange& frozen : optimizer.frozen_ranges())
      for (int64_t i = frozen.begin; i < frozen.end; ++i)
        squares -= static_cast<double>(sum.as<float>()[i]) * sum.as<float>()[i];
    result.gradient_norm = std::sqrt(squares) / n;
    const double lr =
        job.optimizer.lr * job.schedule.factor(s, 4 * loader.steps_per_epoch(), loader.steps_per_epoch());
    optimizer.update(*stream, sum.as<float>(), lr, 1.0 / n, s);
  }
  result.weights.assign(arena.weights(), arena.weights() + arena.n_elements());
  return result;
}

void expect_same_bits(const Steps& actual, const Steps& expected) {
  EXPECT_EQ(expected.n_samples, (std::vector<int64_t>{16, 16, 13, 16, 16}));
  EXPECT_EQ(actual.n_samples, expected.n_samples);
  EXPECT_EQ(actual.losses, expected.losses);
  EXPECT_EQ(actual.accuracies, expected.accuracies);
  EXPECT_NEAR(actual.gradient_norm, expected.gradient_norm, 1e-9 * expected.gradient_norm);
  ASSERT_EQ(actual.weights.size(), expected.weights.size());
  int64_t n_different = 0;
  for (size_t i = 0; i < expected.weights.size(); ++i)
    n_different += std::memcmp(&actual.weights[i], &expected.weights[i], 4) != 0;
  EXPECT_EQ(n_different, 0) << "of " << expected.weights.size() << " weights";
  EXPECT_NE(actual.losses.front(), actual.losses.back());  // it has learnt something
}

TEST_F(ReplicaTest, LeNetHasTheBitsOfTheSerialEmulation) {
  const Job job = make_job("zoo: lenet5, activation: relu, pooling: max",
                           "{sgd: {lr: 0.1, momentum: 0.9, weight_decay: 0.01}}");
  expect_same_bits(train_on_ranks(job, 5), train_serially(job, 5));
}

TEST_F(ReplicaTest, PerceptronWithAdamHasTheBitsOfTheSerialEmulation) {
  const Job job = make_job("zoo: mlp, hidden: [37, 20]", "{adam: {lr: 0.01, weight_decay: 0.01}}");
  expect_same_bits(train_on_ranks(job, 5), train_serially(job, 5));
}

const char* const kOptimizer = "{sgd: {lr: 0.1, momentum: 0.9}}";
const char* const kLeNet = "zoo: lenet5, activation: relu, pooling: max";

// Five steps are one epoch and a part of the next, which draws anew.
TEST_F(ReplicaTest, AugmentationHasTheBitsOfTheSerialEmulation) {
  const char* const list =
      "[{random_crop: 2}, reflect, {affine: {degrees: 20, p: 0.5}}, {gaussian_noise: 0.1}, random_erasing]";
  const Job job = make_job(kLeNet, kOptimizer, "", list), plain = make_job(kLeNet, kOptimizer);
  const Steps with = train_on_ranks(job, 5);
  expect_same_bits(with, train_serially(job, 5));
  EXPECT_NE(with.weights, train_serially(plain, 5).weights);
}

TEST_F(ReplicaTest, AugmentationThatDoesNothingChangesNoBit) {
  const Job job = make_job(kLeNet, kOptimizer, "", "[{reflect: {horizontal: 0}}]");
  expect_same_bits(train_on_ranks(job, 5), train_serially(make_job(kLeNet, kOptimizer), 5));
}

TEST_F(ReplicaTest, BucketSizesChangeNoBit) {
  const std::string model = "zoo: mlp, hidden: [64, 64, 64]", optimizer = "{sgd: {lr: 0.1, momentum: 0.9}}";
  const Job one_bucket = make_job(model, optimizer),
            many = make_job(model, optimizer, ", first_bucket_mb: 0.001, bucket_mb: 0.001");
  const Steps expected = train_serially(one_bucket, 5);
  expect_same_bits(train_on_ranks(one_bucket, 5), expected);
  expect_same_bits(train_on_ranks(many, 5), expected);
}

TEST_F(ReplicaTest, ShardedOptimizerStateChangesNoBit) {
  Communicator world = Communicator::world();
  for (const char* optimizer :
       {"{sgd: {lr: 0.1, momentum: 0.9, weight_decay: 0.01}}", "{adam: {lr: 0.01}}"}) {
    const std::string model = "zoo: mlp, hidden: [64, 64, 64]";
    const Job plain = make_job(model, optimizer),
              one_bucket = make_job(model, optimizer, ", shard_optimizer: true"),
              many = make_job(model, optimizer,
                              ", shard_optimizer: true, first_bucket_mb: 0.001, bucket_mb: 0.001");
    const Steps expected = train_serially(plain, 5);
    expect_same_bits(train_on_ranks(one_bucket, 5), expected);
    expect_same_bits(train_on_ranks(many, 5), expected);

    Replica whole(plain, build_model(*plain.model, {{1, 8, 8}, 4}), world);
    Replica sharded(many, build_model(*many.model, {{1, 8, 8}, 4}), world);
    EXPECT_EQ(sharded.optimizer().is_sharded(), world.size() > 1);
    EXPECT_EQ(world.all_reduce_sum(sharded.optimizer().state_bytes()), whole.optimizer().state_bytes());
    EXPECT_LE(world.all_reduce_max(sharded.optimizer().state_bytes()),
              1.1 * double(whole.optimizer().state_bytes()) / world.size());
  }
}

// The emulation computes all gradients and leaves those of the trunk.
TEST_F(ReplicaTest, AFrozenTrunkHasNoGradients) {
  Communicator world = Communicator::world();
  const std::string model = "zoo: mlp, hidden: [64, 64, 64]";
  const char* const optimizer =
      "{sgd: {lr: 0.1, momentum: 0.9, groups: [{match: '^fc[12][.]', frozen: true}]}}";
  const Job job = make_job(model, optimizer, ", first_bucket_mb: 0.001, bucket_mb: 0.001");
  expect_same_bits(train_on_ranks(job, 5), train_serially(job, 5));

  Graph graph = build_model(*job.model, {{1, 8, 8}, 4});
  Replica whole(job, graph, world);
  freeze_groups(job.optimizer.groups, graph);
  Replica frozen(job, graph, world);
  EXPECT_LT(frozen.reducer().buckets().back().end, whole.reducer().buckets().back().end / 2);
  PlanOptions options;
  options.micro_batch = job.micro_batch;
  const Plan short_way(frozen.graph(), frozen.arena(), job.loss, options);
  const Plan long_way(whole.graph(), whole.arena(), job.loss, options);
  EXPECT_LT(short_way.activation_bytes(), long_way.activation_bytes());
}

// Batch norm of a trunk takes its running statistics and leaves them, also with the rest of a graph beside
// it.
TEST_F(ReplicaTest, StatisticsOfAFrozenTrunkStay) {
  const std::string model =
      "layers: [{conv: {channels: 4, kernel: 3, padding: 1, name: conv1}}, {batch_norm: {name: bn1}}, relu, "
      "{conv: {channels: 4, kernel: 3, padding: 1, name: conv2}}, {batch_norm: {name: bn2}}, relu, flatten, "
      "{affine: 4}]";
  for (const char* shard : {"", ", shard_optimizer: true"}) {
    const Job job =
        make_job(model, "{sgd: {lr: 0.1, groups: [{match: '^(conv|bn)1', frozen: true}]}}", shard);
    Graph graph = build_model(*job.model, {{1, 8, 8}, 4});
    const ParameterArena start(graph, job.device);
    initialize(start, job.init, job.seed);
    const Steps trained = train_on_ranks(job, 5);
    for (const Segment& segment : start.segments()) {
      const bool stays =
          std::memcmp(trained.weights.data() + segment.offset, start.weights() + segment.offset,
                      static_cast<size_t>(segment.n_elements()) * 4) == 0;
      EXPECT_EQ(stays, segment.name.starts_with("conv1") || segment.name.starts_with("bn1")) << segment.name;
    }
  }
}

TEST_F(ReplicaTest, NativeReductionIsCloseToTheTree) {
  const Job native = make_job("zoo: mlp, hidden: [37, 20]", "{sgd: {lr: 0.1}}", ", reduction: native");
  const Steps actual = train_on_ranks(native, 5), expected = train_serially(native, 5);
  ASSERT_EQ(actual.weights.size(), expected.weights.size());
  for (size_t i = 0; i < expected.weights.size(); ++i)
    ASSERT_NEAR(actual.weights[i], expected.weights[i], 1e-6) << i;
  for (size_t s = 0; s < expected.losses.size(); ++s) EXPECT_NEAR(actual.losses[s], expected.losses[s], 1e-6);
}

/// The least bit of one number.
void flip(float* value) {
  uint32_t bits;
  std::memcpy(&bits, value, 4);
  bits ^= 1;
  std::memcpy(value, &bits, 4);
}

TEST_F(ReplicaTest, AFlippedBitIsNamed) {
  Communicator world = Communicator::world();
  const Job job = make_job("zoo: mlp, hidden: [37, 20]", "{sgd: {lr: 0.1}}");
  Replica replica(job, build_model(*job.model, {{1, 8, 8}, 4}), world);
  EXPECT_TRUE(replica.compare_weights().tensors.empty());
  const int flipped = world.size() - 1;
  const Segment& last = replica.arena().segments().back();
  float* weight = replica.arena().weights() + last.offset + last.n_elements() - 1;
  if (world.rank() == flipped) flip(weight);
  const SyncVerdict verdict = replica.compare_weights();
  if (world.size() == 1) {
    EXPECT_TRUE(verdict.tensors.empty());  // there is nobody to differ from
  } else {
    EXPECT_EQ(verdict.tensors, std::vector<std::string>{last.name});
    EXPECT_EQ(verdict.ranks, std::vector<int>{flipped});
    EXPECT_EQ(verdict.good_rank, world.size() == 2 ? -1 : 0);
    EXPECT_NE(verdict.str().find("rank " + std::to_string(flipped) + " differ"), std::string::npos);
  }
  if (world.rank() == flipped) flip(weight);
  EXPECT_TRUE(replica.compare_weights().tensors.empty());
}

TEST_F(ReplicaTest, WhatMostRanksHoldIsRestored) {
  Communicator world = Communicator::world();
  if (world.size() < 4) GTEST_SKIP() << "needs a majority";
  const Job job = make_job("zoo: mlp, hidden: [37, 20]", "{sgd: {lr: 0.1, momentum: 0.9}}");
  Replica replica(job, build_model(*job.model, {{1, 8, 8}, 4}), world);
  float* weights = replica.arena().weights();
  float* velocity = replica.optimizer().slots()[0].memory.as<float>();
  const int64_t n = replica.arena().n_elements();
  const std::vector<float> before(weights, weights + n);
  // Rank 0 loses a weight and a state; its state alone would show after the next step only.
  if (world.is_root()) {
    flip(weights + 3);
    velocity[5] = 7;
  }
  const SyncVerdict verdict = replica.compare_weights();
  EXPECT_EQ(verdict.ranks, std::vector<int>{0});
  ASSERT_EQ(verdict.good_rank, 1);
  replica.restore_from(verdict.good_rank);
  EXPECT_TRUE(replica.compare_weights().tensors.empty());
  EXPECT_EQ(std::vector<float>(weights, weights + n), before);
  EXPECT_EQ(velocity[5], 0);
}

TEST_F(ReplicaTest, ASeedIsAnotherNetwork) {
  Job job = make_job("zoo: mlp, hidden: [37, 20]", "{sgd: {lr: 0.1}}");
  const Steps a = train_on_ranks(job, 5);
  job.seed = 6;
  EXPECT_NE(a.weights, train_on_ranks(job, 5).weights);
}

// Last: the signal stays raised for the rest of the program.
TEST_F(ReplicaTest, FlagsAndStopSignalsOfOneRankReachAll) {
  Communicator world = Communicator::world();
  const Job job = make_job("zoo: mlp, hidden: [37]", "{sgd: {lr: 0.1}}");
  const JobData data = open_data(job);
  Replica replica(job, build_model(*job.model, {{1, 8, 8}, 4}), world);
  DataLoader loader(*data.train, loader_options(job, data, replica.graph(), world.rank(), world.size()), 0);
  const bool is_last = world.rank() == world.size() - 1;
  EXPECT_FALSE(replica.step(loader, 0, 12).flagged);
  EXPECT_TRUE(replica.step(loader, 1, 12, is_last).flagged);
  EXPECT_FALSE(replica.step(loader, 2, 12).flagged);
  take_stop_signals();
  if (is_last) std::raise(SIGUSR1);
  const StepResult stopped = replica.step(loader, 3, 12);
  EXPECT_TRUE(stopped.stop_requested);
  EXPECT_FALSE(stopped.flagged);
}

}  // namespace
}  // namespace lockstep
