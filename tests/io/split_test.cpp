// split_rows: sizes, shares of classes, groups, refusals; split_dataset: every row once, as it was,
// statistics of the training part, on any number of ranks.
#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <random>

#include "io/convert/split_dataset.h"
#include "io/dataset/dataset.h"
#include "tests/io/convert_check.h"

namespace lockstep::testing {
namespace {

using Parts = std::vector<std::vector<int64_t>>;

SplitRules rules_of(const std::string& parts, SplitRule rule = SplitRule::kRandom) {
  SplitRules rules;
  rules.parts = read_split_parts(parts);
  rules.rule = rule;
  return rules;
}

std::vector<size_t> sizes(const Parts& parts) {
  std::vector<size_t> n;
  for (const auto& part : parts) n.push_back(part.size());
  return n;
}

/// Each of n rows once, ascending within its part.
void expect_partition(const Parts& parts, int64_t n) {
  std::vector<int64_t> all;
  for (const auto& part : parts) {
    EXPECT_TRUE(std::is_sorted(part.begin(), part.end()));
    all.insert(all.end(), part.begin(), part.end());
  }
  std::sort(all.begin(), all.end());
  std::vector<int64_t> expected(static_cast<size_t>(n));
  std::iota(expected.begin(), expected.end(), int64_t{0});
  EXPECT_EQ(all, expected);
}

std::string message_of(const std::function<void()>& work) {
  try {
    work();
  } catch (const Error& error) {
    EXPECT_FALSE(error.remedy().empty()) << error.what();
    return error.what();
  }
  return "no error";
}

#define EXPECT_REFUSED(part, work) \
  EXPECT_NE(message_of([&] { work; }).find(part), std::string::npos) << message_of([&] { work; })

TEST(SplitRows, SizesAreSharesRoundedByTheLargestRest) {
  EXPECT_EQ(sizes(split_rows(rules_of("train=0.8,validation=0.1,test=0.1"), 100)),
            (std::vector<size_t>{80, 10, 10}));
  // 5.6, 0.7, 0.7: two left over, to the rests of 0.7.
  EXPECT_EQ(sizes(split_rows(rules_of("a=0.8,b=0.1,c=0.1"), 7)), (std::vector<size_t>{5, 1, 1}));
  EXPECT_EQ(sizes(split_rows(rules_of("a=0.5,b=0.5"), 3)), (std::vector<size_t>{2, 1}));
  EXPECT_EQ(sizes(split_rows(rules_of("a=3,b=2"), 9)), (std::vector<size_t>{3, 2}));
  expect_partition(split_rows(rules_of("a=0.7,b=0.3"), 1001), 1001);
  const SplitRules in_order = rules_of("a=2,b=3", SplitRule::kInOrder);
  EXPECT_EQ(split_rows(in_order, 6), (Parts{{0, 1}, {2, 3, 4}}));
}

TEST(SplitRows, DependOnTheSeedAlone) {
  SplitRules rules = rules_of("a=0.5,b=0.5");
  const Parts zero = split_rows(rules, 200);
  EXPECT_EQ(split_rows(rules, 200), zero);
  rules.seed = 1;
  const Parts one = split_rows(rules, 200);
  EXPECT_NE(one, zero);
  std::vector<int64_t> both;
  std::set_intersection(one[0].begin(), one[0].end(), zero[0].begin(), zero[0].end(),
                        std::back_inserter(both));
  EXPECT_NEAR(static_cast<double>(both.size()), 50, 20);  // of two random halves of 200
}

TEST(SplitRows, StratifiedSharesHoldWithinOneSampleAndDoNotDrift) {
  // 300 classes of unequal sizes, none of which 0.7 / 0.2 / 0.1 divides well.
  std::vector<int64_t> labels;
  std::mt19937 random(3);
  std::map<int64_t, int64_t> of_class;
  for (int64_t c = 0; c < 300; ++c)
    for (int64_t n = 10 + static_cast<int64_t>(random() % 17); n > 0; --n) labels.push_back(c), ++of_class[c];
  std::shuffle(labels.begin(), labels.end(), random);
  SplitRules rules = rules_of("train=0.7,validation=0.2,test=0.1", SplitRule::kStratified);
  rules.labels = labels;
  const auto n = static_cast<int64_t>(labels.size());
  const Parts parts = split_rows(rules, n);
  expect_partition(parts, n);
  int64_t n_checked = 0;
  for (size_t p = 0; p < parts.size(); ++p) {
    std::map<int64_t, int64_t> found;
    for (const int64_t row : parts[p]) ++found[labels[static_cast<size_t>(row)]];
    for (const auto& [label, n_class] : of_class) {
      EXPECT_LT(
          std::abs(static_cast<double>(found[label]) - rules.parts[p].share * static_cast<double>(n_class)),
          1 + 1e-9)
          << label;
      ++n_checked;
    }
    // Over all classes the rounding does not add up: as near as one sample a part.
    EXPECT_NEAR(static_cast<double>(parts[p].size()), rules.parts[p].share * static_cast<double>(n), 2);
  }
  EXPECT_EQ(n_checked, 900);
  // Sizes that divide: exactly the shares.
  std::vector<int64_t> even;
  for (int64_t i = 0; i < 100; ++i) even.push_back(i % 2);
  SplitRules exact = rules_of("a=0.8,b=0.1,c=0.1", SplitRule::kStratified);
  exact.labels = even;
  EXPECT_EQ(sizes(split_rows(exact, 100)), (std::vector<size_t>{80, 10, 10}));
}

TEST(SplitRows, GroupsStayTogether) {
  std::vector<int64_t> groups;
  std::mt19937 random(5);
  for (int64_t g = 0; g < 40; ++g)
    for (int64_t n = 1 + static_cast<int64_t>(random() % 9); n > 0; --n) groups.push_back(g * 1000);
  std::shuffle(groups.begin(), groups.end(), random);
  SplitRules rules = rules_of("a=0.6,b=0.4", SplitRule::kGrouped);
  rules.groups = groups;
  const auto n = static_cast<int64_t>(groups.size());
  const Parts parts = split_rows(rules, n);
  expect_partition(parts, n);
  std::map<int64_t, size_t> part_of;
  for (size_t p = 0; p < parts.size(); ++p)
    for (const int64_t row : parts[p]) {
      const auto [at, is_new] = part_of.try_emplace(groups[static_cast<size_t>(row)], p);
      EXPECT_EQ(at->second, p);
    }
  EXPECT_EQ(part_of.size(), 40U);
  EXPECT_NEAR(static_cast<double>(parts[0].size()), 0.6 * static_cast<double>(n), 2);
}

TEST(SplitRows, Refusals) {
  std::vector<int64_t> labels(20, 0);
  labels[3] = 1;
  SplitRules rules = rules_of("train=0.5,test=0.5");
  rules.labels = labels;
  rules.class_names = {"common", "rare"};
  EXPECT_REFUSED("class 'rare' would have no sample in a part: train", split_rows(rules, 20));
  rules.rule = SplitRule::kStratified;
  EXPECT_REFUSED("class 'rare' would have no sample in a part", split_rows(rules, 20));
  rules.may_be_empty = true;
  expect_partition(split_rows(rules, 20), 20);
  EXPECT_REFUSED("part 'b' of 2 samples would be empty", split_rows(rules_of("a=0.9,b=0.1"), 2));
  EXPECT_REFUSED("ask for 12 samples of 10", split_rows(rules_of("a=10,b=2"), 10));
  EXPECT_REFUSED("sum to 0.9, not 1", read_split_parts("a=0.8,b=0.1"));
  EXPECT_REFUSED("mixes shares and counts", read_split_parts("a=0.8,b=10"));
  EXPECT_REFUSED("names one part only", read_split_parts("a=5"));
  EXPECT_REFUSED("names 'a' twice", read_split_parts("a=0.5,a=0.5"));
  for (const char* text :
       {"a", "a=", "=0.5,b=0.5", "a=x,b=0.5", "a=-1,b=2", "a=1.5,b=2", "a=0,b=1", "a=nan,b=0.5", ""})
    EXPECT_REFUSED("is no list of NAME=SHARE", read_split_parts(text));
  EXPECT_REFUSED("cannot be a folder's name", read_split_parts("../a=0.5,b=0.5"));
}

class SplitDataset : public ::testing::Test {
 protected:
  Communicator comm = Communicator::world();
  SharedFolder folder{comm};

  SplitOptions options(const std::string& path, const std::string& parts) const {
    SplitOptions split;
    split.path = path;
    split.parts = read_split_parts(parts);
    split.label = "label";
    return split;
  }
  ConvertOptions into(const std::string& name, int64_t n_shards = 0) const {
    ConvertOptions convert;
    convert.out = folder.file(name);
    convert.n_shards = n_shards;
    return convert;
  }
  /// 40 rows x, x^2, class x % 4, as two shards.
  std::string dataset() {
    std::string text;
    for (int i = 0; i < 40; ++i)
      text += std::to_string(i) + ".5," + std::to_string(i * i) + "," + std::to_string(i % 4) + "\n";
    CsvOptions csv;
    csv.path = folder.write("t.csv", text);
    convert_csv(comm, csv, into("all", 2));
    return folder.file("all");
  }
};

TEST_F(SplitDataset, EveryRowOnceWithTheStatisticsOfTraining) {
  SplitOptions split = options(dataset(), "test=0.25,train=0.5,validation=0.25");
  split.rule = SplitRule::kStratified;
  split.seed = 7;
  const std::vector<ConvertResult> results = split_dataset(comm, split, into("out", 3));
  ASSERT_EQ(results.size(), 3U);
  EXPECT_EQ(results[1].n_samples, 20);
  comm.barrier();
  double mean = 0, squares = 0;
  const Dataset train = Dataset::open(folder.file("out/train"));
  std::vector<float> values(40);
  train.read("input", 0, 20, values.data());
  for (size_t i = 0; i < 40; i += 2) mean += static_cast<double>(values[i]) / 20;
  for (size_t i = 0; i < 40; i += 2) squares += std::pow(static_cast<double>(values[i]) - mean, 2) / 20;
  std::vector<double> firsts;
  for (const char* name : {"train", "validation", "test"}) {
    const Dataset part = Dataset::open(folder.file(std::string("out/") + name));
    EXPECT_EQ(part.class_names(), numbered(4));
    const auto n = static_cast<size_t>(part.n_samples());
    std::vector<float> rows(2 * n);
    std::vector<int64_t> labels(n);
    part.read("input", 0, part.n_samples(), rows.data());
    part.read("label", 0, part.n_samples(), labels.data());
    std::map<int64_t, int> of_class;
    for (size_t i = 0; i < n; ++i) {
      const double x = static_cast<double>(rows[2 * i]) - 0.5;
      EXPECT_EQ(static_cast<double>(rows[2 * i + 1]), x * x);
      EXPECT_EQ(labels[i], static_cast<int64_t>(x) % 4);
      firsts.push_back(x);
      ++of_class[labels[i]];
    }
    for (const auto& [label, n_class] : of_class) EXPECT_NEAR(n_class, static_cast<double>(n) / 4, 0.5);
    ASSERT_NE(part.statistics("input"), nullptr);
    EXPECT_DOUBLE_EQ(part.statistics("input")->mean[0], mean) << name;
    EXPECT_DOUBLE_EQ(part.statistics("input")->stddev[0], std::sqrt(squares)) << name;
    int64_t n_checked = 0, n_unchecked = 0;
    EXPECT_TRUE(part.verify(&n_checked, &n_unchecked).empty());
    EXPECT_EQ(n_checked, 6);
  }
  std::sort(firsts.begin(), firsts.end());
  std::vector<double> expected(40);
  std::iota(expected.begin(), expected.end(), 0.0);
  EXPECT_EQ(firsts, expected);
}

TEST_F(SplitDataset, RaggedRowsAndVocabulariesGoAlong) {
  std::string text;
  for (int i = 0; i < 12; ++i) {
    text += i % 2 ? "yes\t" : "no\t";
    for (int k = 0; k <= i; ++k) text += "w" + std::to_string(k) + " ";
    text += "\n";
  }
  LabelledTextOptions lines;
  lines.path = folder.write("t.tsv", text);
  convert_labelled_text(comm, lines, into("text"));
  SplitOptions split = options(folder.file("text"), "train=8,test=4");
  split.rule = SplitRule::kInOrder;
  split_dataset(comm, split, into("parts"));
  comm.barrier();
  const Dataset all = Dataset::open(folder.file("text")), test = Dataset::open(folder.file("parts/test"));
  EXPECT_EQ(test.class_names(), all.class_names());
  EXPECT_EQ(test.vocabulary("input"), all.vocabulary("input"));
  ASSERT_EQ(test.n_samples(), 4);
  for (int64_t row = 0; row < 4; ++row) {
    const auto n = static_cast<size_t>(test.row_lengths("input")[static_cast<size_t>(row)]);
    ASSERT_EQ(n, static_cast<size_t>(row + 9));
    const auto bytes = n * static_cast<size_t>(size_of(all.field("input").dtype));
    std::vector<char> here(bytes), there(bytes);
    test.read_ragged("input", row, 0, static_cast<int64_t>(n), here.data());
    all.read_ragged("input", row + 8, 0, static_cast<int64_t>(n), there.data());
    EXPECT_EQ(here, there);
  }
}

TEST_F(SplitDataset, AColumnOfATableIsAGroup) {
  std::string text = "name,x,kind\n";
  for (int i = 0; i < 60; ++i)
    text += (i % 3 ? "p" + std::to_string(i % 7) : std::to_string(i % 5)) + "," + std::to_string(i) + "," +
            std::to_string(i % 2) + "\n";
  CsvOptions csv;
  csv.path = folder.write("g.csv", text);
  csv.group_column = 0;
  convert_csv(comm, csv, into("grouped", 2));
  SplitOptions split = options(folder.file("grouped"), "a=0.5,b=0.5");
  split.rule = SplitRule::kGrouped;
  split.group_by = "group";
  split_dataset(comm, split, into("by-group"));
  comm.barrier();
  std::map<std::string, std::string> part_of;
  int n_rows = 0;
  for (const char* name : {"a", "b"}) {
    const Dataset part = Dataset::open(folder.file(std::string("by-group/") + name));
    EXPECT_EQ(part.field("input").shape, Shape{1});
    for (int64_t row = 0; row < part.n_samples(); ++row, ++n_rows) {
      uint8_t x = 0;
      int64_t group = -1;
      part.read("input", row, 1, &x);
      part.read("group", row, 1, &group);
      const std::string patient = x % 3 ? "p" + std::to_string(x % 7) : std::to_string(x % 5);
      if (x % 3 == 0) {
        EXPECT_EQ(group, x % 5);
      }
      EXPECT_EQ(part_of.try_emplace(patient, name).first->second, name) << patient;
    }
  }
  EXPECT_EQ(n_rows, 60);
  EXPECT_EQ(part_of.size(), 12U);
}

TEST_F(SplitDataset, FaultsLeaveNothing) {
  const std::string path = dataset();
  SplitOptions split = options(path, "train=0.9,test=0.1");
  const std::string lacks = error_of([&] { split_dataset(comm, split, into("x")); });
  EXPECT_NE(lacks.find("would have no sample in a part: train"), std::string::npos) << lacks;
  split.label = "input";
  EXPECT_NE(error_of([&] { split_dataset(comm, split, into("x")); }).find("not one whole number a sample"),
            std::string::npos);
  split = options(path, "train=0.5,test=0.5");
  split.rule = SplitRule::kGrouped;
  split.group_by = "patient";
  EXPECT_NE(error_of([&] { split_dataset(comm, split, into("x")); }).find("patient"), std::string::npos);
  TextOptions text;
  text.files = {folder.write("t.txt", "some text and more of it")};
  convert_text(comm, text, into("stream"));
  split = options(folder.file("stream"), "train=0.5,test=0.5");
  split.label.clear();
  EXPECT_NE(error_of([&] { split_dataset(comm, split, into("x")); }).find("is one stream"),
            std::string::npos);
  comm.barrier();
  EXPECT_FALSE(std::filesystem::exists(folder.file("x")));
}

}  // namespace
}  // namespace lockstep::testing
