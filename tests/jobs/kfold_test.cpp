// Cross-validation: folds as views of a dataset, and lockstep kfold on any number of ranks, stopped and gone
// on with.
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <map>
#include <set>

#include "src/data/data.h"
#include "src/run/select/trial.h"
#include "tests/jobs/small_runs.h"

namespace lockstep {
namespace {

namespace fs = std::filesystem;

#define EXPECT_SAYS(ended, part) \
  EXPECT_NE((ended).output.find(part), std::string::npos) << "lacks: " << (part) << "\n" << (ended).output

class Folds : public testing::Test {
 protected:
  /// 23 rows of x = (row, row), classes row % 3, groups row / 4, and sequences of row % 4 numbers.
  Folds() {
    FixtureField x{"x", {23, 2}, "float32", {}}, y{"y", {23}, "int64", {}}, g{"group", {23}, "int64", {}},
        tokens{"tokens", {}, "int32", {}}, offsets{"tokens_offsets", {24}, "int64", {0}};
    for (int row = 0; row < 23; ++row) {
      x.values.insert(x.values.end(), {static_cast<double>(row), static_cast<double>(row)});
      y.values.push_back(row % 3);
      g.values.push_back(row / 4);
      for (int i = 0; i < row % 4; ++i) tokens.values.push_back(100 * row + i);
      offsets.values.push_back(static_cast<double>(tokens.values.size()));
    }
    tokens.extents = {static_cast<int64_t>(tokens.values.size())};
    write_hdf5(folder_.file("d.h5"), {x, y, g, tokens, offsets});
    all_ = std::make_shared<const Dataset>(Dataset::open(folder_.file("d.h5")));
  }
  FoldRows rows(FoldSpec fold) const {
    DataFields fields;
    fields.input = "x";
    fields.target = "y";
    return fold_rows(fold, *all_, fields);
  }
  TemporaryFolder folder_;
  std::shared_ptr<const Dataset> all_;
};

TEST_F(Folds, HoldOutEachRowOnce) {
  for (const FoldSpec& kind : {FoldSpec{.of = 4}, FoldSpec{.of = 4, .is_stratified = true},
                               FoldSpec{.of = 4, .group_by = "group"}, FoldSpec{.of = 23}}) {
    std::multiset<int64_t> held_out;
    for (int64_t k = 1; k <= kind.of; ++k) {
      FoldSpec fold = kind;
      fold.held_out = k;
      const FoldRows parts = rows(fold);
      held_out.insert(parts.held_out.begin(), parts.held_out.end());
      std::set<int64_t> both(parts.train.begin(), parts.train.end());
      both.insert(parts.held_out.begin(), parts.held_out.end());
      EXPECT_EQ(both.size(), 23u);
      EXPECT_EQ(parts.train.size() + parts.held_out.size(), 23u);
      std::map<int64_t, int> classes;
      for (const int64_t row : parts.held_out) ++classes[row % 3];
      for (const auto& [label, n] : classes) EXPECT_TRUE(!kind.is_stratified || n == 1 || n == 2) << n;
      for (const int64_t row : parts.held_out)
        for (const int64_t other : parts.train) {
          EXPECT_TRUE(kind.group_by.empty() || row / 4 != other / 4) << row << " " << other;
        }
    }
    EXPECT_EQ(held_out.size(), 23u);
    EXPECT_EQ(std::set<int64_t>(held_out.begin(), held_out.end()).size(), 23u);
  }
  EXPECT_NE(rows({.of = 4}).held_out, rows({.of = 4, .seed = 1}).held_out);
  EXPECT_EQ(rows({.of = 4}).held_out, rows({.of = 4}).held_out);
}

TEST_F(Folds, AreRefusedWhereTheyCannotBe) {
  for (const auto& [fold, says] : {std::pair{FoldSpec{.of = 24}, "23 samples are fewer than 24 folds"},
                                   {FoldSpec{.of = 8, .is_stratified = true}, "class 2 has 7 samples"},
                                   {FoldSpec{.of = 7, .group_by = "group"}, "would be empty"},
                                   {FoldSpec{.of = 3, .group_by = "x"}, "not one whole number a sample"}}) {
    try {
      rows(fold);
      ADD_FAILURE() << says;
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find(says), std::string::npos) << error.what();
      EXPECT_FALSE(error.remedy().empty());
    }
  }
}

TEST_F(Folds, SubsetsReadTheirRows) {
  const std::vector<int64_t> kept{1, 2, 3, 7, 11, 22};
  const auto some = std::make_shared<const Dataset>(Dataset::subset(all_, kept));
  ASSERT_EQ(some->n_samples(), 6);
  std::vector<float> x(12);
  some->read("x", 0, 6, x.data());
  std::vector<int64_t> y(4);
  some->read("y", 2, 4, y.data());
  for (size_t i = 0; i < kept.size(); ++i) {
    EXPECT_EQ(x[2 * i], static_cast<float>(kept[i]));
    if (i >= 2) {
      EXPECT_EQ(y[i - 2], kept[i] % 3);
    }
    const int32_t length = some->row_lengths("tokens")[i];
    EXPECT_EQ(length, kept[i] % 4);
    std::vector<int32_t> tokens(static_cast<size_t>(length));
    some->read_ragged("tokens", static_cast<int64_t>(i), 0, length, tokens.data());
    for (int32_t t = 0; t < length; ++t) EXPECT_EQ(tokens[static_cast<size_t>(t)], 100 * kept[i] + t);
  }
  EXPECT_EQ(some->row_spans("tokens").longest(), 3);
  // The files are compared with their checksums once, whatever rows are kept.
  int64_t of_all = 0, of_some = 0, unchecked = 0, unchecked_of_all = 0;
  all_->verify(&of_all, &unchecked_of_all);
  some->verify(&of_some, &unchecked);
  EXPECT_EQ(of_some + unchecked, of_all + unchecked_of_all);
  EXPECT_GT(of_some + unchecked, 0);
  // Rows of rows.
  const Dataset fewer = Dataset::subset(some, {0, 4, 5});
  fewer.read("x", 0, 3, x.data());
  EXPECT_EQ(x[0], 1);
  EXPECT_EQ(x[2], 11);
  EXPECT_EQ(x[4], 22);
  EXPECT_EQ(fewer.row_lengths("tokens"), (std::vector<int32_t>{1, 3, 2}));
  // A loader of one goes through its rows, from the cache and from the file.
  for (const int64_t cache : {int64_t{0}, int64_t{1} << 20}) {
    LoaderOptions options;
    options.fields = {{"x", DType::kFloat32, Shape{2}, {}, {}, 0}};
    options.global_batch = options.micro_batch = 6;
    options.cache_limit_bytes = cache;
    DataLoader loader(*some, options, 0);
    std::set<float> seen;
    const auto* values = static_cast<const float*>(loader.next().data[0]);
    for (int i = 0; i < 6; ++i) seen.insert(values[2 * i]);
    EXPECT_EQ(seen, (std::set<float>{1, 2, 3, 7, 11, 22}));
  }
}

TEST(Spread, IsTheSamplesMeanAndDeviation) {
  const Spread spread = spread_of({1, 2, NAN, 4});
  EXPECT_EQ(spread.n, 3);
  EXPECT_DOUBLE_EQ(spread.mean, 7.0 / 3);
  EXPECT_NEAR(spread.deviation, std::sqrt(((16.0 + 1 + 25) / 9) / 2), 1e-15);
  EXPECT_TRUE(std::isnan(spread_of({5}).deviation));
  EXPECT_TRUE(std::isnan(spread_of({}).mean));
}

class Kfold : public SmallRuns {
 protected:
  static std::string words(const std::string& out, int folds = 4) {
    return "kfold " + file("job.yaml") + " --folds " + std::to_string(folds) +
           " --stratify --set batch.micro=2 --out " + file(out) + " ";
  }
};

TEST_F(Kfold, HasTheSameBytesOnAnyNumberOfRanksAndGoesOn) {
  for (const int ranks : {1, 2, 4}) {
    const Ended ended = lockstep_on(ranks, words("folds" + std::to_string(ranks)));
    ASSERT_EQ(ended.status, 0) << ended.output;
    EXPECT_SAYS(ended, "over 4 folds");
  }
  // Fold 3 first, as a batch array might; fold 1 stopped in its middle; then the whole.
  ASSERT_EQ(lockstep(words("folds0") + "--only 3").status, 0);
  EXPECT_FALSE(fs::exists(file("folds0/fold-1")));
  fs::create_directories(file("folds0/fold-1"));
  fs::copy(file("folds1/fold-1"), file("folds0/fold-1"),
           fs::copy_options::recursive | fs::copy_options::copy_symlinks);
  for (const auto& entry : fs::directory_iterator(file("folds0/fold-1/checkpoints")))
    if (entry.path().filename() > "step-000000009.h5" || entry.is_symlink()) fs::remove(entry.path());
  const std::string log = read_file(file("folds0/fold-1/metrics.jsonl"));
  write_file(file("folds0/fold-1/metrics.jsonl"), log.substr(0, log.find("{\"kind\": \"end\"")));
  const Ended rest = lockstep_on(2, words("folds0"));
  ASSERT_EQ(rest.status, 0) << rest.output;
  EXPECT_SAYS(rest, "1 of 4: ");
  EXPECT_EQ(count(rest.output, "3 of 4: "), 0);  // it was trained already
  EXPECT_EQ(count(read_file(file("folds0/fold-1/metrics.jsonl")), "\"kind\": \"resume\""), 1);
  for (const char* out : {"folds2", "folds4", "folds0"})
    for (const char* name : {"/kfold.csv", "/kfold.html"}) {
      const std::string bytes = read_file(file("folds1") + name);
      EXPECT_GT(bytes.size(), 300u);
      EXPECT_TRUE(bytes == read_file(file(out) + name)) << out << name;
    }
}

TEST_F(Kfold, StopsAtASignalAndGoesOn) {
  const std::string words = "kfold " + file("job.yaml") +
                            " --folds 2 --set 'train={epochs: 800, validate_every_epochs: 400}' "
                            "--set 'checkpoint={every_epochs: 400}' --out ";
  ASSERT_EQ(lockstep(words + file("whole")).status, 0);
  const Ended stopped = run_shell(std::string(LOCKSTEP_PROGRAM) + " " + words + file("stopped") +
                                  " & pid=$!; for i in $(seq 400); do grep -q '\"train\"' " +
                                  file("stopped/fold-1/metrics.jsonl") +
                                  " 2>/dev/null && break; sleep 0.02; done; kill -TERM $pid; wait $pid");
  ASSERT_EQ(stopped.status, 85) << stopped.output;
  EXPECT_SAYS(stopped, "fold-1: stopped");
  EXPECT_FALSE(fs::exists(file("stopped/fold-2")));
  const Ended rest = lockstep_on(2, words + file("stopped"));
  ASSERT_EQ(rest.status, 0) << rest.output;
  EXPECT_EQ(count(read_file(file("stopped/fold-1/metrics.jsonl")), "\"kind\": \"resume\""), 1);
  EXPECT_TRUE(read_file(file("whole/kfold.csv")) == read_file(file("stopped/kfold.csv")));
  for (const char* last : {"/fold-1/checkpoints/last.h5", "/fold-2/checkpoints/last.h5"})
    EXPECT_TRUE(read_file(file("whole") + last) == read_file(file("stopped") + last)) << last;
}

TEST_F(Kfold, TellsMistakesBeforeAnythingRuns) {
  for (const auto& [more, says] : {std::pair{"--set optimizer.sgd.momentun=0.9", "did you mean 'momentum'?"},
                                   {"--only 5", "names number 5 of 4"},
                                   {"--set data.fold.group_by=target", "stratify exclude each other"}}) {
    const Ended ended = lockstep_on(2, words("mistaken") + more);
    EXPECT_EQ(ended.status, 1) << more;
    EXPECT_SAYS(ended, says);
    EXPECT_FALSE(fs::exists(file("mistaken/fold-1")));
  }
  const Ended many = lockstep_on(2, words("mistaken", 17));
  EXPECT_EQ(many.status, 1);
  EXPECT_SAYS(many, "class 0 has 16 samples, fewer than the 17 folds");
  EXPECT_FALSE(fs::exists(file("mistaken/fold-1")));
  EXPECT_EQ(lockstep(words("mistaken", 1)).status, 2);
  ASSERT_EQ(lockstep(words("other") + "--only 1").status, 0);
  const Ended other = lockstep(words("other") + "--set optimizer.lr=0.2");
  EXPECT_EQ(other.status, 1);
  EXPECT_SAYS(other, "holds a run of this name with other settings");
  ASSERT_EQ(lockstep(train("single")).status, 0);
  const Ended into_run = lockstep(words("single"));
  EXPECT_EQ(into_run.status, 1);
  EXPECT_SAYS(into_run, "is the folder of a run");
}

}  // namespace
}  // namespace lockstep
