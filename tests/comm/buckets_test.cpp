// make_buckets: cuts at segment borders only, covers everything once, keeps the sizes asked.
#include <gtest/gtest.h>

#include <string>

#include "comm/reduction/gradient_reducer.h"
#include "kernels/error.h"

namespace lockstep {
namespace {

std::string cuts(const std::vector<int64_t>& borders, int64_t first_bytes, int64_t bucket_bytes) {
  std::string text;
  for (const Bucket& bucket : make_buckets(borders, first_bytes, bucket_bytes))
    text += std::to_string(bucket.begin) + "-" + std::to_string(bucket.end) + " ";
  return text;
}

TEST(MakeBuckets, KnownCuts) {
  EXPECT_EQ(cuts({0, 10, 20, 30, 40}, 40, 80), "0-10 10-30 30-40 ");      // the last one may be short
  EXPECT_EQ(cuts({0, 10, 20, 30, 40}, 41, 80), "0-20 20-40 ");            // at least first_bytes
  EXPECT_EQ(cuts({0, 10, 20, 30, 40}, 0, 0), "0-10 10-20 20-30 30-40 ");  // every segment its own
  EXPECT_EQ(cuts({0, 10, 20, 30, 40}, 1 << 20, 1), "0-40 ");
  EXPECT_EQ(cuts({0, 1000, 1001}, 4, 4), "0-1000 1000-1001 ");  // a large segment is never cut
  EXPECT_EQ(cuts({0, 0, 5, 5, 9}, 1, 1), "0-5 5-9 ");           // empty segments make no bucket
  EXPECT_EQ(cuts({0, 10}, 0, 0), "0-10 ");
}

TEST(MakeBuckets, NothingToReduce) {
  EXPECT_EQ(cuts({0}, 1, 1), "");
  EXPECT_EQ(cuts({0, 0}, 1, 1), "");
}

TEST(MakeBuckets, CoversEverythingOnceForManySizes) {
  std::vector<int64_t> borders{0};
  for (int64_t i = 1; i < 200; ++i) borders.push_back(borders.back() + 64 * ((i * 37) % 11));
  int n_checked = 0;
  for (int64_t bytes = 1; bytes < 100000; bytes = bytes * 3 + 1) {
    int64_t end = 0;
    for (const Bucket& bucket : make_buckets(borders, bytes / 2, bytes)) {
      EXPECT_EQ(bucket.begin, end);
      EXPECT_GT(bucket.end, bucket.begin);
      end = bucket.end;
      ++n_checked;
    }
    EXPECT_EQ(end, borders.back());
  }
  EXPECT_GT(n_checked, 100);
}

TEST(MakeBuckets, RefusesWrongBorders) {
  EXPECT_THROW(cuts({}, 1, 1), Error);
  EXPECT_THROW(cuts({1, 2}, 1, 1), Error);
  EXPECT_THROW(cuts({0, 5, 3}, 1, 1), Error);
}

}  // namespace
}  // namespace lockstep
