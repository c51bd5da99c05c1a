// Gradients by way of NCCL, on stand-in GPUs: the tree has the bits of a serial tree and so of the CPU's,
// native sums are MPI's, the events hold the work in order, and ranks that share a GPU take another way.
#include <gtest/gtest.h>

#include <algorithm>

#include "comm/nccl/nccl.h"
#include "comm/reduction/gradient_reducer.h"
#include "tests/comm/tree_values.h"

namespace lockstep {
namespace {

using namespace testing_support;

/// A vector in the memory of this rank's GPU, and the stream that computes with it.
struct OnGpu {
  explicit OnGpu(int64_t n, int index = Communicator::world().local_rank())
      : OnGpu(n, Device{Device::Kind::kCuda, index}) {}
  OnGpu(int64_t n, Device device_)
      : device(device_),
        stream(make_stream(device)),
        memory(device, std::max<int64_t>(1, n) * int64_t{sizeof(float)}),
        n_elements(n) {}
  float* data() const { return memory.as<float>(); }
  void put(const std::vector<float>& values) {
    copy(*stream, data(), values.data(), int64_t(values.size() * sizeof(float)));
    stream->synchronize();
  }
  std::vector<float> get() {
    std::vector<float> values(static_cast<size_t>(n_elements));
    copy(*stream, values.data(), data(), n_elements * int64_t{sizeof(float)});
    stream->synchronize();
    return values;
  }

  Device device;
  std::unique_ptr<Stream> stream;
  Memory memory;
  int64_t n_elements;
};

std::vector<Bucket> equal_buckets(int64_t n, int64_t bucket) {
  std::vector<Bucket> buckets;
  for (int64_t begin = 0; begin < n; begin += bucket) buckets.push_back({begin, std::min(n, begin + bucket)});
  return buckets;
}

class NcclPath : public testing::Test {
 protected:
  void SetUp() override {
    const int n_gpus = cuda_device_count(), n_ranks = Communicator::world().local_size();
    if (n_gpus < n_ranks) GTEST_SKIP() << n_ranks << " ranks, but " << n_gpus << " GPUs";
  }
};

void expect_tree(const std::vector<Bucket>& buckets, int64_t n) {
  Communicator world = Communicator::world();
  OnGpu gradients(n);
  GradientReducer reducer(world, Reduction::kTree, buckets, gradients.device);
  EXPECT_EQ(reducer.way(), world.size() > 1 ? "NCCL " + nccl_version() + " tree" : "");
  for (int step = 0; step < 2; ++step) {  // a reducer is reused each step
    gradients.put(vector_of<float>(world.rank() + 8 * step, n));
    for (size_t b = 0; b < buckets.size(); ++b)
      reducer.bucket_ready(int(b), gradients.data(), gradients.stream.get());
    reducer.wait(gradients.stream.get());
    EXPECT_TRUE(same_bits(gradients.get(), tree_sum<float>(8 * step, world.size(), n)))
        << n << " elements in " << buckets.size() << " buckets, step " << step;
  }
}

TEST_F(NcclPath, TheTreeHasTheSerialBits) {
  for (const int64_t n : {1, 2, 3, 31, 1000, 65536, 65537, 200003}) expect_tree({{0, n}}, n);
}

TEST_F(NcclPath, ManyAndEmptyBuckets) {
  expect_tree(equal_buckets(20011, 97), 20011);
  expect_tree({{0, 0}, {0, 5}, {5, 5}, {5, 70000}, {70000, 70000}}, 70000);
  expect_tree({}, 0);
}

TEST_F(NcclPath, SeveralBlocks) {
  if (Communicator::world().size() != 2) GTEST_SKIP() << "two ranks show it; more take long";
  constexpr int64_t kTwoBlocks = (4 << 20) + 1001;
  expect_tree({{0, kTwoBlocks}}, kTwoBlocks);
}

TEST_F(NcclPath, NativeIsTheSumOfMpi) {
  Communicator world = Communicator::world();
  constexpr int64_t kLength = 10007;
  std::vector<float> expected(kLength);  // whole numbers: any order gives their sum
  for (size_t i = 0; i < expected.size(); ++i) expected[i] = float(i % 97) * float(world.rank() + 1);
  OnGpu gradients(kLength);
  gradients.put(expected);
  world.native_all_reduce(std::span<float>(expected));
  GradientReducer reducer(world, Reduction::kNative, {{0, 3000}, {3000, 3000}, {3000, kLength}},
                          gradients.device);
  for (int b = 0; b < 3; ++b) reducer.bucket_ready(b, gradients.data(), gradients.stream.get());
  reducer.wait(gradients.stream.get());
  EXPECT_EQ(gradients.get(), expected);
}

TEST_F(NcclPath, ScattersSumsAndGathersWhatIsMadeOfThem) {
  Communicator world = Communicator::world();
  constexpr int64_t kLength = 20011;
  for (const Reduction reduction : {Reduction::kTree, Reduction::kNative}) {
    OnGpu gradients(kLength), weights(kLength);
    GradientReducer reducer(world, reduction, equal_buckets(kLength, 7000), gradients.device,
                            {.scatters = true});
    for (int step = 0; step < 2; ++step) {
      std::vector<float> leaf(kLength), expected = tree_sum<float>(8 * step, world.size(), kLength);
      std::ranges::copy(vector_of<float>(world.rank() + 8 * step, kLength), leaf.begin());
      if (reduction == Reduction::kNative) {
        for (size_t i = 0; i < leaf.size(); ++i) leaf[i] = float(i % 97) * float(world.rank() + step);
        expected = leaf;
        world.native_all_reduce(std::span<float>(expected));
      }
      gradients.put(leaf);
      weights.put(std::vector<float>(kLength, 0.0f));
      for (int b = 0; b < 3; ++b) reducer.bucket_ready(b, gradients.data(), gradients.stream.get());
      reducer.wait(gradients.stream.get());
      for (const ElementRange& range : reducer.own_ranges())
        copy(*gradients.stream, weights.data() + range.begin, gradients.data() + range.begin,
             range.n() * int64_t{sizeof(float)});
      for (int b = 3; b-- > 0;) reducer.gather(b, weights.data(), gradients.stream.get());
      reducer.wait(gradients.stream.get());
      gradients.stream->synchronize();
      EXPECT_TRUE(same_bits(weights.get(), expected)) << "step " << step;
    }
  }
}

TEST_F(NcclPath, AsBFloat16EverySumIsRounded) {
  Communicator world = Communicator::world();
  for (const int64_t n : {1, 1000, 65537, 200003}) {
    for (const bool scatters : {false, true}) {
      OnGpu gradients(n);
      GradientReducer reducer(world, Reduction::kTree, equal_buckets(n, 70000), gradients.device,
                              {.scatters = scatters, .wire = Wire::kBFloat16});
      const std::vector<float> expected = rounded_tree_sum(0, world.size(), n);
      for (int step = 0; step < 2; ++step) {
        gradients.put(rounded_vector_of(world.rank(), n));
        for (size_t b = 0; b < reducer.buckets().size(); ++b)
          reducer.bucket_ready(int(b), gradients.data(), gradients.stream.get());
        reducer.wait(gradients.stream.get());
        const std::vector<float> sums = gradients.get();
        for (const ElementRange& range : reducer.own_ranges())
          EXPECT_TRUE(std::equal(sums.begin() + range.begin, sums.begin() + range.end,
                                 expected.begin() + range.begin))
              << n << " elements";
      }
    }
  }
}

TEST_F(NcclPath, WaitingWithoutAStreamWaits) {
  Communicator world = Communicator::world();
  OnGpu gradients(1000);
  gradients.put(vector_of<float>(world.rank(), 1000));
  GradientReducer reducer(world, Reduction::kTree, {{0, 1000}}, gradients.device);
  reducer.wait();  // nothing was handed in
  reducer.bucket_ready(0, gradients.data(), gradients.stream.get());
  EXPECT_GE(reducer.wait(), 0.0);
  EXPECT_TRUE(same_bits(gradients.get(), tree_sum<float>(0, world.size(), 1000)));
}

/// Work that is recorded runs later, and a stream takes part in the recording only where an event of it leads
/// there: without the event before the reduction it would sum what was there too early, and without the event
/// behind it the recording would fail.
TEST_F(NcclPath, EventsHoldItBetweenTheWorkOfTheStream) {
  Communicator world = Communicator::world();
  for (const Reduction reduction : {Reduction::kTree, Reduction::kNative}) {
    OnGpu gradients(1000), source(1000), result(1000);
    source.put(std::vector<float>(1000, 3.0f));
    gradients.put(std::vector<float>(1000, 1.0f));
    GradientReducer reducer(world, reduction, {{0, 400}, {400, 1000}}, gradients.device);
    Stream& stream = *gradients.stream;
    constexpr int64_t kBytes = 1000 * sizeof(float);
    const std::unique_ptr<RecordedWork> step = record_work(stream, [&] {
      copy(stream, gradients.data(), source.data(), kBytes);
      reducer.bucket_ready(0, gradients.data(), &stream);
      reducer.bucket_ready(1, gradients.data(), &stream);
      reducer.wait(&stream);
      copy(stream, result.data(), gradients.data(), kBytes);
    });
    EXPECT_EQ(gradients.get(), std::vector<float>(1000, 1.0f));  // nothing ran yet
    step->run(stream);
    EXPECT_EQ(result.get(), std::vector<float>(1000, 3.0f * float(world.size())));
  }
}

TEST_F(NcclPath, RanksThatShareAGpuGoThroughTheHost) {
  Communicator world = Communicator::world();
  if (world.size() == 1) GTEST_SKIP() << "one rank shares with nobody";
  // All on one GPU, or the last two ranks only.
  for (const int index : {0, std::min(world.rank(), world.size() - 2)}) {
    OnGpu gradients(5000, index);
    gradients.put(vector_of<float>(world.rank(), 5000));
    GradientReducer reducer(world, Reduction::kTree, {{0, 5000}}, gradients.device);
    EXPECT_EQ(reducer.way(), "MPI tree through host memory (several ranks share a GPU)");
    reducer.bucket_ready(0, gradients.data(), gradients.stream.get());
    reducer.wait(gradients.stream.get());
    EXPECT_TRUE(same_bits(gradients.get(), tree_sum<float>(0, world.size(), 5000)));
  }
}

TEST_F(NcclPath, OneRankOnTheCpuTakesAllThroughTheHost) {
  Communicator world = Communicator::world();
  if (world.size() == 1) GTEST_SKIP() << "one rank is alone";
  OnGpu gradients(5000, world.rank() == 1 ? Device{} : Device{Device::Kind::kCuda, world.local_rank()});
  gradients.put(vector_of<float>(world.rank(), 5000));
  GradientReducer reducer(world, Reduction::kTree, {{0, 5000}}, gradients.device);
  EXPECT_EQ(reducer.way(), "MPI tree through host memory (rank 1: it computes on the CPU)");
  reducer.bucket_ready(0, gradients.data(), gradients.stream.get());
  reducer.wait(gradients.stream.get());
  EXPECT_TRUE(same_bits(gradients.get(), tree_sum<float>(0, world.size(), 5000)));
}

TEST_F(NcclPath, EndsWithoutWaitingForWhatNobodyWaitedFor) {
  Communicator world = Communicator::world();
  OnGpu gradients(100);
  {
    GradientReducer reducer(world, Reduction::kTree, {{0, 100}}, gradients.device);
    reducer.bucket_ready(0, gradients.data(), gradients.stream.get());
  }
  EXPECT_EQ(world.all_reduce_sum(1), world.size());
}

}  // namespace
}  // namespace lockstep
