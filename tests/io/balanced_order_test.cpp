// BalancedOrder: every class equally often, each sample of a class before any comes again, across epochs; no
// state; a few literal values pin the order, which is part of every result.
#include "io/loader/balanced_order.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <numeric>
#include <random>

#include "io/dataset/dataset.h"
#include "kernels/error.h"
#include "tests/support/hdf5_files.h"

namespace lockstep {
namespace {

std::vector<int64_t> epoch_of(const BalancedOrder& order, int64_t n, int64_t epoch) {
  std::vector<int64_t> ids(static_cast<size_t>(n));
  order.samples_at(epoch, 0, n, ids.data());
  return ids;
}

/// Class c has sizes[c] samples, mixed.
std::vector<int64_t> labels_of(const std::vector<int64_t>& sizes) {
  std::vector<int64_t> labels;
  for (size_t c = 0; c < sizes.size(); ++c)
    labels.insert(labels.end(), static_cast<size_t>(sizes[c]), static_cast<int64_t>(c));
  std::shuffle(labels.begin(), labels.end(), std::mt19937(9));
  return labels;
}

TEST(BalancedOrder, ClassesComeEquallyOften) {
  for (const auto& sizes :
       {std::vector<int64_t>{90, 9, 1}, {5, 5, 5, 5}, {50, 3}, {1, 1, 1}, {7, 0, 30, 2, 11}}) {
    const std::vector<int64_t> labels = labels_of(sizes);
    const auto n = static_cast<int64_t>(labels.size());
    const BalancedOrder order(labels, 4);
    const auto k = order.n_classes();
    EXPECT_EQ(k, std::count_if(sizes.begin(), sizes.end(), [](int64_t size) { return size > 0; }));
    std::map<int64_t, int64_t> all, of_sample;
    for (int64_t epoch = 0; epoch < 2 * k; ++epoch) {
      std::map<int64_t, int64_t> counts;
      for (const int64_t row : epoch_of(order, n, epoch)) {
        ASSERT_TRUE(row >= 0 && row < n);
        ++counts[labels[static_cast<size_t>(row)]];
        ++all[labels[static_cast<size_t>(row)]];
        ++of_sample[row];
      }
      ASSERT_EQ(static_cast<int64_t>(counts.size()), k);
      for (const auto& [label, count] : counts) EXPECT_TRUE(count == n / k || count == n / k + 1) << count;
    }
    // What does not divide has gone around all classes.
    for (const auto& [label, count] : all) EXPECT_EQ(count, 2 * n);
    // A class deals its samples in turn: none is two ahead of another.
    for (size_t c = 0; c < sizes.size(); ++c) {
      int64_t least = INT64_MAX, most = 0;
      for (int64_t row = 0; row < n; ++row) {
        if (labels[static_cast<size_t>(row)] != static_cast<int64_t>(c)) continue;
        least = std::min(least, of_sample[row]);
        most = std::max(most, of_sample[row]);
      }
      if (sizes[c] > 0) {
        EXPECT_LE(most - least, 1) << c;
      }
    }
  }
}

TEST(BalancedOrder, HasNoStateAndDependsOnSeedAndEpoch) {
  const std::vector<int64_t> labels = labels_of({70, 20, 10});
  const BalancedOrder order(labels, 4);
  const std::vector<int64_t> third = epoch_of(order, 100, 3);
  EXPECT_EQ(epoch_of(BalancedOrder(labels, 4), 100, 3), third);
  for (int64_t i = 99; i >= 0; --i) {
    int64_t id = -1;
    order.samples_at(3, i, 1, &id);
    EXPECT_EQ(id, third[static_cast<size_t>(i)]);
  }
  EXPECT_NE(epoch_of(order, 100, 4), third);
  EXPECT_NE(epoch_of(BalancedOrder(labels, 5), 100, 3), third);
  // Classes are mixed: no class takes the beginning.
  std::map<int64_t, int> at_first;
  for (int64_t i = 0; i < 30; ++i) ++at_first[labels[static_cast<size_t>(third[static_cast<size_t>(i)])]];
  for (int64_t c = 0; c < 3; ++c) EXPECT_GE(at_first[c], 3) << c;
}

TEST(BalancedOrder, LabelsBelowZeroNeverCome) {
  std::vector<int64_t> labels = labels_of({30, 10});
  for (size_t i = 0; i < labels.size(); i += 4) labels[i] = -1;
  const BalancedOrder order(labels, 1);
  for (const int64_t row : epoch_of(order, 40, 0)) EXPECT_GE(labels[static_cast<size_t>(row)], 0);
}

TEST(BalancedOrder, ReadsLabelsOfADataset) {
  TemporaryFolder folder;
  const auto write = [&](const std::string& name, const std::vector<int64_t>& labels) {
    write_hdf5(folder.file(name), {{"label",
                                    {static_cast<int64_t>(labels.size())},
                                    "int64",
                                    std::vector<double>(labels.begin(), labels.end())}});
    return Dataset::open(folder.file(name));
  };
  const std::vector<int64_t> labels = labels_of({12, 4});
  const Dataset dataset = write("a.h5", labels);
  EXPECT_EQ(epoch_of(BalancedOrder(dataset, "label", 8), 16, 2), epoch_of(BalancedOrder(labels, 8), 16, 2));
  const Dataset single = write("b.h5", std::vector<int64_t>(5, 3));
  EXPECT_THROW(BalancedOrder(single, "label", 0), Error);
}

TEST(BalancedOrder, IsPinned) {
  EXPECT_EQ(epoch_of(BalancedOrder({0, 0, 0, 0, 0, 0, 1, 1}, 1), 8, 0),
            (std::vector<int64_t>{0, 6, 5, 7, 1, 3, 7, 6}));
}

}  // namespace
}  // namespace lockstep
