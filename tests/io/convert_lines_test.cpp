// convert pairs, labelled-text and series: ids, lengths, labels and statistics against stated ones, byte for
// byte on any number of ranks; each fault with its file and line.
#include <cmath>
#include <numeric>

#include "io/dataset/dataset.h"
#include "io/loader/sampler.h"
#include "tests/io/convert_check.h"
#include "tests/support/error_of.h"

namespace lockstep::testing {
namespace {

using Texts = std::vector<std::string>;
const Texts kSpecials{"<pad>", "<s>", "</s>", "<unk>"};

Texts with_specials(Texts tokens) {
  tokens.insert(tokens.begin(), kSpecials.begin(), kSpecials.end());
  return tokens;
}

class ConvertLines : public ::testing::Test {
 protected:
  Communicator comm = Communicator::world();
  SharedFolder folder{comm};
  ConvertOptions options;

  void SetUp() override {
    options.out = folder.file("out");
    options.overwrite = true;
  }
  /// On root: the rows of a ragged field, as numbers.
  std::vector<std::vector<int64_t>> rows_of(const Dataset& data, const std::string& field) {
    std::vector<std::vector<int64_t>> rows;
    for (int64_t row = 0; row < data.n_samples(); ++row) {
      const int64_t n = data.row_lengths(field)[static_cast<size_t>(row)];
      rows.emplace_back();
      if (data.field(field).dtype == DType::kUInt8) {
        std::vector<uint8_t> ids(static_cast<size_t>(n));
        data.read_ragged(field, row, 0, n, ids.data());
        rows.back().assign(ids.begin(), ids.end());
      } else {
        std::vector<int32_t> ids(static_cast<size_t>(n));
        data.read_ragged(field, row, 0, n, ids.data());
        rows.back().assign(ids.begin(), ids.end());
      }
    }
    return rows;
  }
  void expect_whole(const Dataset& data) {
    int64_t n_checked = 0, n_unchecked = 0;
    EXPECT_TRUE(data.verify(&n_checked, &n_unchecked).empty());
    EXPECT_EQ(n_unchecked, 0);
    EXPECT_GT(n_checked, 0);
  }
};

using Rows = std::vector<std::vector<int64_t>>;

TEST_F(ConvertLines, PairsOfTwoFiles) {
  PairsOptions pairs;
  pairs.source = folder.write("a.txt", "ab\nb\r\nba b\n");
  pairs.target = folder.write("b.txt", "x y x\nz\ny");
  pairs.target_level = TokenLevel::kWords;
  options.n_shards = 2;
  const ConvertResult result = convert_pairs(comm, pairs, options);
  EXPECT_EQ(result.n_samples, 3);
  EXPECT_EQ(result.n_shards, 2);
  comm.barrier();
  if (!comm.is_root()) return;
  const Dataset data = Dataset::open(options.out);
  EXPECT_EQ(data.fields().size(), 2u);
  EXPECT_TRUE(data.field("source").ragged && data.field("target").ragged);
  EXPECT_EQ(data.vocabulary("source"), with_specials({" ", "a", "b"}));
  EXPECT_EQ(data.vocabulary("target"), with_specials({"x", "y", "z"}));
  EXPECT_EQ(rows_of(data, "source"), (Rows{{5, 6}, {6}, {6, 5, 4, 6}}));
  EXPECT_EQ(rows_of(data, "target"), (Rows{{1, 4, 5, 4, 2}, {1, 6, 2}, {1, 5, 2}}));
  expect_whole(data);
  expect_no_times(options.out + "/shard-00000.h5", {"/", "source", "source_offsets", "target_vocabulary"});
}

TEST_F(ConvertLines, PairsOfOneFileShuffledCutAndLimited) {
  std::string content;
  for (int i = 0; i < 60; ++i) content += std::to_string(i) + "\t" + std::to_string(i * i) + "\n";
  PairsOptions pairs;
  pairs.source = folder.write("pairs.tsv", content);
  pairs.source_vocabulary = 8;  // four specials and the four most frequent digits
  options.shuffle = true;
  options.seed = 3;
  options.skip = 5;
  options.limit = 40;
  options.n_shards = 3;
  convert_pairs(comm, pairs, options);
  comm.barrier();
  if (!comm.is_root()) return;
  const Dataset data = Dataset::open(options.out);
  ASSERT_EQ(data.n_samples(), 40);
  std::map<char, int> counts;
  for (int i = 0; i < 60; ++i)
    for (const char c : std::to_string(i)) ++counts[c];
  std::vector<std::pair<int, char>> order;
  for (const auto& [c, n] : counts) order.emplace_back(-n, c);
  std::sort(order.begin(), order.end());
  std::set<char> kept;
  for (int k = 0; k < 4; ++k) kept.insert(order[static_cast<size_t>(k)].second);
  std::map<char, int64_t> ids;
  Texts vocabulary = kSpecials;
  for (const char c : kept) {
    ids[c] = static_cast<int64_t>(vocabulary.size());
    vocabulary.emplace_back(1, c);
  }
  EXPECT_EQ(data.vocabulary("source"), vocabulary);
  const Sampler sampler(60, 3, {true});
  Rows source, target;
  for (int64_t row = 0; row < 40; ++row) {
    const int64_t i = sampler.sample_at(0, 5 + row);
    source.emplace_back();
    for (const char c : std::to_string(i)) source.back().push_back(ids.contains(c) ? ids[c] : 3);
    target.push_back({1});
    for (const char c : std::to_string(i * i)) target.back().push_back(4 + (c - '0'));
    target.back().push_back(2);
  }
  EXPECT_EQ(rows_of(data, "source"), source);
  EXPECT_EQ(rows_of(data, "target"), target);
  expect_whole(data);
}

TEST_F(ConvertLines, FaultsOfPairsNameTheLine) {
  const auto message = [&](const std::string& source, const std::string& target) {
    PairsOptions pairs;
    pairs.source = folder.write("a.txt", source);
    if (!target.empty()) pairs.target = folder.write("b.txt", target);
    const std::string text = error_of([&] { convert_pairs(comm, pairs, options); });
    comm.barrier();
    return text;
  };
  EXPECT_NAMES(message("a\nb\nc\n", "x\ny\n"), "a.txt:3: has no partner");
  EXPECT_NAMES(message("a\nb\n", "x\ny\nz\n"), "b.txt:3: has no partner");
  EXPECT_NAMES(message("a\n\nc\n", "x\ny\nz\n"), "a.txt:2:1: is empty");
  EXPECT_NAMES(message("a\tb\nc d\n", ""), "a.txt:2:1: has no tab");
  EXPECT_NAMES(message("a\tb\nc\td\te\n", ""), "a.txt:2:4: has a second tab");
  EXPECT_NAMES(message("a\tb\nc\t\n", ""), "a.txt:2:1: has no target");
  EXPECT_NAMES(message("a\tb\nc\td\xFF\n", ""), "a.txt:2:4: is not UTF-8");
  EXPECT_NAMES(message("", "x\n"), "has no partner");
}

TEST_F(ConvertLines, ATestSetTakesTheVocabulariesOfItsTrainingSet) {
  PairsOptions pairs;
  pairs.source = folder.write("a.txt", "ab\n");
  pairs.target = folder.write("b.txt", "xy\n");
  options.out = folder.file("train");
  convert_pairs(comm, pairs, options);
  pairs.source = folder.write("c.txt", "bc\n");
  pairs.target = folder.write("d.txt", "zy\n");
  pairs.vocabulary_from = options.out;
  options.out = folder.file("test");
  convert_pairs(comm, pairs, options);
  comm.barrier();
  if (!comm.is_root()) return;
  const Dataset data = Dataset::open(options.out);
  EXPECT_EQ(rows_of(data, "source"), (Rows{{5, 3}}));
  EXPECT_EQ(rows_of(data, "target"), (Rows{{1, 3, 5, 2}}));
  EXPECT_EQ(data.vocabulary("target"), with_specials({"x", "y"}));
}

TEST_F(ConvertLines, LabelledTexts) {
  LabelledTextOptions text;
  text.path = folder.write("t.tsv", "good\tso so\tgood\nbad\tbad, so bad\ngood\tyes\n");
  ConvertResult result = convert_labelled_text(comm, text, options);
  comm.barrier();
  if (comm.is_root()) {
    EXPECT_NAMES(result.notes.at(1), "classes: 2");
    const Dataset data = Dataset::open(options.out);
    EXPECT_EQ(data.class_names(), (Texts{"bad", "good"}));
    EXPECT_EQ(data.vocabulary("input"), (Texts{"<pad>", "<unk>", "so", "bad", ",", "good", "yes"}));
    EXPECT_EQ(rows_of(data, "input"), (Rows{{2, 2, 5}, {3, 4, 2, 3}, {6}}));
    std::vector<int64_t> labels(3);
    data.read("label", 0, 3, labels.data());
    EXPECT_EQ(labels, (std::vector<int64_t>{1, 0, 1}));
    EXPECT_EQ(data.statistics("input"), nullptr);
    expect_whole(data);
  }
  comm.barrier();
  text.path = folder.write("n.tsv", "2\ta\n0\tb\n");
  text.level = TokenLevel::kCharacters;
  convert_labelled_text(comm, text, options);
  comm.barrier();
  if (comm.is_root()) {
    const Dataset data = Dataset::open(options.out);
    EXPECT_EQ(data.class_names(), numbered(3));
    std::vector<int64_t> labels(2);
    data.read("label", 0, 2, labels.data());
    EXPECT_EQ(labels, (std::vector<int64_t>{2, 0}));
  }
  comm.barrier();
  text.path = folder.write("e.tsv", "a\tb\n\tc\n");
  EXPECT_NAMES(error_of([&] { convert_labelled_text(comm, text, options); }),
               "e.tsv:2:1: the label is empty");
}

TEST_F(ConvertLines, ASeriesHasTheStatisticsOfItsTrainingPart) {
  std::string content = "time,high,low\n";
  std::vector<float> high, low;
  for (int i = 0; i < 50; ++i) {
    high.push_back(static_cast<float>(i * i) + 0.5f);
    low.push_back(static_cast<float>(-i));
    content +=
        "2020-01-" + std::to_string(i) + "," + std::to_string(i * i) + ".5," + std::to_string(-i) + "\n";
  }
  SeriesOptions series;
  series.path = folder.write("s.csv", content);
  series.columns = {"low", "high"};
  series.validation_fraction = 0.2;
  options.n_shards = 2;
  const ConvertResult result = convert_series(comm, series, options);
  EXPECT_EQ(result.n_samples, 50);
  comm.barrier();
  if (comm.is_root()) {
    int64_t first = 0;
    double mean = 0, spread = 0;
    for (int i = 0; i < 40; ++i) mean += static_cast<double>(high[static_cast<size_t>(i)]) / 40;
    for (int i = 0; i < 40; ++i)
      spread += std::pow(static_cast<double>(high[static_cast<size_t>(i)]) - mean, 2) / 40;
    for (const auto& [part, n] : {std::pair<std::string, int64_t>{"/train", 40}, {"/validation", 10}}) {
      const Dataset data = Dataset::open(options.out + part);
      ASSERT_EQ(data.n_samples(), n);
      EXPECT_EQ(data.field("series").dtype, DType::kFloat32);
      EXPECT_EQ(data.field("series").shape, Shape({2}));
      std::vector<float> rows(static_cast<size_t>(2 * n));
      data.read("series", 0, n, rows.data());
      for (int64_t i = 0; i < n; ++i) {
        EXPECT_EQ(rows[static_cast<size_t>(2 * i)], low[static_cast<size_t>(first + i)]);
        EXPECT_EQ(rows[static_cast<size_t>(2 * i + 1)], high[static_cast<size_t>(first + i)]);
      }
      first += n;
      ASSERT_NE(data.statistics("series"), nullptr);
      EXPECT_DOUBLE_EQ(data.statistics("series")->mean[0], -19.5);
      EXPECT_NEAR(data.statistics("series")->mean[1], mean, 1e-9 * mean);  // sums in another order
      EXPECT_NEAR(data.statistics("series")->stddev[1], std::sqrt(spread), 1e-9 * mean);
      expect_whole(data);
    }
  }
  comm.barrier();
  series.columns = {"lower"};
  EXPECT_NAMES(error_of([&] { convert_series(comm, series, options); }), "has no column");
  series.columns = {"1", "high"};
  EXPECT_NAMES(error_of([&] { convert_series(comm, series, options); }), "asked for twice");
  series.columns = {"time"};
  EXPECT_NAMES(error_of([&] { convert_series(comm, series, options); }), "s.csv:2");
  comm.barrier();
  series.path = folder.write("b.csv", "1,2\n3,250\n5,6\n");
  series.columns = {};
  series.validation_fraction = 0;
  options.out = folder.file("all");
  convert_series(comm, series, options);
  expect_shards(comm, options.out, 3, 2,
                {ExpectedField::of<float>("series", DType::kFloat32, {2}, {1, 2, 3, 250, 5, 6})}, {},
                "series");
}

}  // namespace
}  // namespace lockstep::testing
