// Selecting: the range of learning rates, on any number of ranks.
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <sstream>

#include "src/run/select/rate_range.h"
#include "tests/jobs/small_runs.h"

namespace lockstep {
namespace {

namespace fs = std::filesystem;

#define EXPECT_SAYS(ended, part) \
  EXPECT_NE((ended).output.find(part), std::string::npos) << "lacks: " << (part) << "\n" << (ended).output

class LrRange : public SmallRuns {};

std::vector<std::vector<double>> read_numbers(const std::string& path) {
  std::stringstream lines(read_file(path));
  std::vector<std::vector<double>> rows;
  std::string line;
  std::getline(lines, line);  // the names
  while (std::getline(lines, line)) {
    rows.emplace_back();
    std::stringstream cells(line);
    for (std::string cell; std::getline(cells, cell, ',');) rows.back().push_back(std::stod(cell));
  }
  return rows;
}

TEST_F(LrRange, HasTheSameBytesOnAnyNumberOfRanks) {
  const std::string words =
      "lr-range " + file("job.yaml") + " --from 1e-4 --to 1000 --steps 60 --set batch.micro=2 ";
  for (const int ranks : {1, 2, 4}) {
    const Ended ended = lockstep_on(ranks, words + "--out " + file("range" + std::to_string(ranks)));
    ASSERT_EQ(ended.status, 0) << ended.output;
    EXPECT_SAYS(ended, "steepest descent");
  }
  for (const char* name : {"/lr-range.csv", "/lr-range.html"})
    for (const char* ranks : {"range2", "range4"}) {
      const std::string bytes = read_file(file("range1") + name);
      EXPECT_GT(bytes.size(), 500u);
      EXPECT_TRUE(bytes == read_file(file(ranks) + name)) << ranks << name;
    }
  const auto rows = read_numbers(file("range1/lr-range.csv"));
  ASSERT_GE(rows.size(), 20u);
  for (size_t i = 0; i < rows.size(); ++i) {
    EXPECT_EQ(rows[i][0], static_cast<double>(i + 1));
    EXPECT_NEAR(rows[i][1], 1e-4 * std::pow(1e7, static_cast<double>(i) / 59), 1e-12 * rows[i][1]);
    if (i == 0 || i + 2 > rows.size()) continue;
    // 60 steps: a window of three
    EXPECT_NEAR(rows[i][3], (rows[i - 1][2] + rows[i][2] + rows[i + 1][2]) / 3, 1e-12 * rows[i][3]);
  }
}

TEST_F(LrRange, BeginsAsTrainingDoes) {
  ASSERT_EQ(
      lockstep("lr-range " + file("job.yaml") + " --from 0.1 --to 0.2 --steps 10 --out " + file("begin"))
          .status,
      0);
  const Ended trained = lockstep(train("one") + "--set 'train={steps: 1, log_every_steps: 1}'");
  ASSERT_EQ(trained.status, 0) << trained.output;
  const std::string log = read_file(file("one/metrics.jsonl"));
  const size_t line = log.find("\"kind\": \"train\""), at = log.find("\"loss\": ", line) + 8;
  ASSERT_NE(line, std::string::npos);
  EXPECT_EQ(std::stod(log.substr(at)), read_numbers(file("begin/lr-range.csv"))[0][2]);
}

TEST_F(LrRange, KeepsWhatIsThereAndRefusesWhatIsNoRange) {
  const std::string words = "lr-range " + file("job.yaml") + " --steps 10 --out " + file("kept");
  ASSERT_EQ(lockstep(words).status, 0);
  const std::string before = read_file(file("kept/lr-range.html"));
  const Ended again = lockstep_on(2, words + " --to 1");
  EXPECT_EQ(again.status, 1);
  EXPECT_SAYS(again, "--overwrite");
  EXPECT_EQ(read_file(file("kept/lr-range.html")), before);
  EXPECT_EQ(lockstep(words + " --to 1 --overwrite").status, 0);
  EXPECT_NE(read_file(file("kept/lr-range.html")), before);
  for (const auto& [options, says] : {std::pair{"--from 0", "no range of learning rates"},
                                      {"--from 1 --to 1", "no range of learning rates"},
                                      {"--steps 9", "too few"},
                                      {"--set optimizer.lr=x", "expected a number"}}) {
    const Ended ended = lockstep("lr-range " + file("job.yaml") + " --out " + file("none") + " " + options);
    EXPECT_EQ(ended.status, 1) << options;
    EXPECT_SAYS(ended, says);
  }
}

// loss(x), x = log10(rate): 2 up to -3, falls along a cosine to 1 at -1, rises from there.
TEST(RateRange, FindsTheSteepestDescentAndTheMinimum) {
  RateRange range;
  range.options = {.from = 1e-5, .to = 10, .steps = 241};
  for (int i = 0; i <= 240; ++i) {
    const double x = -5 + i / 40.0;
    range.rates.push_back(std::pow(10, x));
    range.losses.push_back(x < -3 ? 2 : x < -1 ? 1.5 + 0.5 * std::cos((x + 3) / 2 * M_PI) : 1 + 3 * (x + 1));
  }
  judge_rate_range(range);
  EXPECT_NEAR(std::log10(range.steepest), -2, 0.026);
  EXPECT_NEAR(std::log10(range.minimum), -1, 0.17);  // half a window of the mean
  EXPECT_DOUBLE_EQ(range.tenth(), range.minimum / 10);
  EXPECT_FALSE(range.falls_to_the_end());
  for (size_t i = 0; i < range.losses.size(); ++i) range.losses[i] = 3 - static_cast<double>(i) / 100;
  judge_rate_range(range);
  EXPECT_TRUE(range.falls_to_the_end());
  // The noise of small batches where nothing is learned yet is no descent.
  for (size_t i = 0; i < range.losses.size(); ++i) {
    const double at = std::log10(range.rates[i]),
                 noise = 0.3 * std::sin(7.3 * static_cast<double>(i * i % 101));
    range.losses[i] = 1 + 2 / (1 + std::exp(3 * (at + 2))) + noise * (at < -3 ? 1 : 0.1);
  }
  judge_rate_range(range);
  EXPECT_NEAR(std::log10(range.steepest), -2, 0.3);
  for (double& loss : range.losses) loss = 1;
  judge_rate_range(range);
  EXPECT_TRUE(std::isnan(range.steepest));
}

}  // namespace
}  // namespace lockstep
