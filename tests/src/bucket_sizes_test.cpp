// Bucket sizes: what is chosen from measured times, that a run measures once and keeps it, equal on all
// ranks, and what measures nothing.
#include "src/step/bucket_sizes.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>

#include "src/network/model.h"
#include "src/run/job.h"
#include "tests/support/hdf5_files.h"

namespace lockstep {
namespace {

constexpr int64_t kMiB = int64_t{1} << 20;

TEST(ChooseBuckets, TheSmallestThatTheNetworkLikes) {
  // 1 ms per message and 1 GiB/s: rates 0.2, 0.5, 0.8, 0.94, 0.98 of the best.
  std::vector<BucketTrial> trials;
  for (const int64_t mib : {1, 4, 16, 64}) trials.push_back({mib * kMiB, 0.001 + double(mib) / 1024});
  BucketSizes sizes = choose_buckets(trials);
  EXPECT_EQ(sizes.first_bytes, kMiB);
  EXPECT_EQ(sizes.bytes, 16 * kMiB);

  trials = {{kMiB / 4, 1e-5}, {kMiB, 1e-2}};  // small is best
  sizes = choose_buckets(trials);
  EXPECT_EQ(sizes.first_bytes, kMiB / 4);
  EXPECT_EQ(sizes.bytes, kMiB / 4);
  EXPECT_EQ(choose_buckets({}).bytes, 25 * kMiB);
}

class PlanBuckets : public testing::Test {
 protected:
  static Job job(const std::string& batch = "", const std::string& model = "zoo: mlp, hidden: [700, 700]") {
    return read_job(Config::from_text("name: test\nmodel: {" + model + "}\nbatch: {global: 16, micro: 1" +
                                          batch + "}\noptimizer: {sgd: {lr: 0.1}}\ntrain: {steps: 4}\n",
                                      "test"));
  }
  static ParameterArena arena(const Job& job) {
    return ParameterArena(build_model(*job.model, {{1, 8, 8}, 4}), {});
  }
  static std::string text(const std::string& path) {
    std::ifstream file(path);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  Communicator world = Communicator::world();
  TemporaryFolder folder;  // of each rank; rank 0's counts
  std::string path = folder.file("communication.json");
};

TEST_F(PlanBuckets, IsMeasuredOnceAndKept) {
  const Job automatic = job();
  const ParameterArena weights = arena(automatic);
  const BucketSizes sizes = plan_buckets(automatic, world, weights, path);
  EXPECT_EQ(world.all_reduce_max(sizes.bytes), sizes.bytes);
  EXPECT_EQ(world.all_reduce_max(sizes.first_bytes), sizes.first_bytes);
  EXPECT_LE(sizes.first_bytes, sizes.bytes);
  if (world.size() == 1) {
    EXPECT_FALSE(std::filesystem::exists(path)) << "one rank sends nothing";
    return;
  }
  if (world.is_root()) {
    EXPECT_NE(text(path).find("\"measured\": [{"), std::string::npos) << text(path);
    std::ofstream(path)
        << "{\"ranks\": " << world.size()
        << ", \"hosts\": 1, \"device\": \"cpu\", \"first_bucket_mb\": 3.5, \"bucket_mb\": 7}\n";
  }
  const BucketSizes kept = plan_buckets(automatic, world, weights, path);
  EXPECT_EQ(kept.first_bytes, 7 * kMiB / 2);
  EXPECT_EQ(kept.bytes, 7 * kMiB);
  for (const std::string& other : std::vector<std::string>{
           "{\"ranks\": 999, \"hosts\": 1, \"device\": \"cpu\", \"first_bucket_mb\": 3.5, "
           "\"bucket_mb\": 7}",
           "{\"ranks\": " + std::to_string(world.size()) +
               ", \"hosts\": 1, \"device\": \"cpu\", \"first_bucket_mb\": 1e300, \"bucket_mb\": 7}",
           "{broken"}) {
    if (world.is_root()) std::ofstream(path) << other << "\n";
    EXPECT_NE(plan_buckets(automatic, world, weights, path).bytes, 7 * kMiB) << other;
    if (world.is_root()) {
      EXPECT_NE(text(path), other) << "another plan was to be written";
    }
  }
}

TEST_F(PlanBuckets, TheJobsOwnSizesCount) {
  const Job given = job(", first_bucket_mb: 0.5, bucket_mb: 2");
  const BucketSizes sizes = plan_buckets(given, world, arena(given), path);
  EXPECT_EQ(sizes.first_bytes, kMiB / 2);
  EXPECT_EQ(sizes.bytes, 2 * kMiB);
  EXPECT_FALSE(std::filesystem::exists(path));
  EXPECT_EQ(job(", bucket_mb: auto").bucket_bytes, 0);
  EXPECT_THROW(job(", bucket_mb: 0"), Error);
  EXPECT_THROW(job(", bucket_mb: small"), Error);
}

TEST_F(PlanBuckets, SmallNetworksAndOtherReductionsMeasureNothing) {
  for (const Job& other : {job("", "zoo: mlp, hidden: [10]"), job(", reduction: native")}) {
    const BucketSizes sizes = plan_buckets(other, world, arena(other), path);
    EXPECT_EQ(sizes.first_bytes, kMiB);
    EXPECT_EQ(sizes.bytes, 25 * kMiB);
    EXPECT_FALSE(std::filesystem::exists(path));
  }
}

}  // namespace
}  // namespace lockstep
