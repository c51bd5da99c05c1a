// Schedules by literal values.
#include "src/update/schedule.h"

#include <gtest/gtest.h>

namespace lockstep {
namespace {

Config config(const std::string& text) { return Config::from_text("x: " + text, "job.yaml").at("x"); }

/// Factors of steps 0 … n - 1 in a run of n steps, 4 an epoch.
std::vector<double> factors(const std::string& text, int64_t n) {
  const Schedule schedule = read_schedule(config(text));
  std::vector<double> result;
  for (int64_t s = 0; s < n; ++s) result.push_back(schedule.factor(s, n, 4));
  return result;
}

void expect_factors(const std::string& text, const std::vector<double>& expected) {
  const std::vector<double> actual = factors(text, static_cast<int64_t>(expected.size()));
  for (size_t s = 0; s < expected.size(); ++s)
    EXPECT_NEAR(actual[s], expected[s], 1e-6) << text << ", step " << s;
}

TEST(Schedule, LiteralValues) {
  expect_factors("constant", {1, 1, 1, 1, 1});
  expect_factors("{constant: {warmup_epochs: 0.5}}", {0.5, 1, 1, 1});
  expect_factors("{constant: {warmup_epochs: 1}}", {0.25, 0.5, 0.75, 1, 1, 1});
  expect_factors("{step: {every_epochs: 1, gamma: 0.5}}", {1, 1, 1, 1, 0.5, 0.5, 0.5, 0.5, 0.25});
  expect_factors("{step: {every_epochs: 0.5}}", {1, 1, 0.1, 0.1, 0.01, 0.01});
  expect_factors("{step: {epochs: [1, 2]}}", {1, 1, 1, 1, 0.1, 0.1, 0.1, 0.1, 0.01, 0.01});
  expect_factors("{step: {epochs: 1, gamma: 0.2, warmup_epochs: 0.5}}", {0.5, 1, 1, 1, 0.2, 0.2});
  // (1 + cos(pi * s / 8)) / 2
  expect_factors("cosine", {1, 0.9619398, 0.8535534, 0.6913417, 0.5, 0.3086583, 0.1464466, 0.0380602});
  expect_factors("{cosine: {final: 0.2}}",
                 {1, 0.9695518, 0.8828427, 0.7530734, 0.6, 0.4469266, 0.3171573, 0.2304482});
  // Four steps of warm-up, then one period over the other four.
  expect_factors("{cosine: {warmup_epochs: 1}}", {0.25, 0.5, 0.75, 1, 1, 0.8535534, 0.5, 0.1464466});
  expect_factors("linear", {1, 0.75, 0.5, 0.25});
  expect_factors("{linear: {final: 0.2, warmup_epochs: 1}}", {0.25, 0.5, 0.75, 1, 1, 0.8, 0.6, 0.4});
  expect_factors("polynomial", {1, 0.5625, 0.25, 0.0625});
  expect_factors("{polynomial: {power: 1, final: 0.5}}", {1, 0.875, 0.75, 0.625});
  expect_factors("{exponential: {gamma: 0.16}}", {1, 0.6324555, 0.4, 0.2529822, 0.16});  // 4 steps an epoch
  expect_factors("{exponential: {gamma: 0.16, warmup_epochs: 0.5}}", {0.5, 1, 1, 0.6324555, 0.4});
  expect_factors("{inverse_root: {warmup_epochs: 1}}", {0.25, 0.5, 0.75, 1, 0.8944272, 0.8164966});
  expect_factors("inverse_root", {1, 0.7071068, 0.5773503, 0.5});
  expect_factors("{warmup_stable_decay: {warmup_epochs: 0.5, decay: 0.5}}",
                 {0.5, 1, 1, 1, 1, 0.75, 0.5, 0.25});
  expect_factors("{warmup_stable_decay: {decay: 0.5, final: 0.5, shape: cosine}}",
                 {1, 1, 1, 1, 1, 0.9267767, 0.75, 0.5732233});
  expect_factors("{warmup_stable_decay: {decay: 0.5, shape: root}}",
                 {1, 1, 1, 1, 1, 0.5, 0.2928932, 0.1339746});
}

TEST(Schedule, RefusesWhatIsNoSchedule) {
  for (const char* text :
       {"{polynomial: {power: 0}}", "exponential", "{exponential: {gamma: 1.1}}",
        "{warmup_stable_decay: {decay: 0}}", "{warmup_stable_decay: {shape: round}}", "{linear: {last: 1}}"})
    EXPECT_THROW(read_schedule(config(text)), Error) << text;
}

TEST(Schedule, IsAFunctionOfTheStepAlone) {
  const Schedule schedule = read_schedule(config("{cosine: {warmup_epochs: 2, final: 0.01}}"));
  for (int64_t s : {99, 0, 50, 7, 50})
    EXPECT_EQ(schedule.factor(s, 100, 10), Schedule(schedule).factor(s, 100, 10));
  EXPECT_EQ(schedule.factor(100, 100, 10), 0.01);  // a run that is given more steps than planned
  EXPECT_EQ(schedule.factor(500, 100, 10), 0.01);
  // Warm-up longer than the run stays a ramp.
  EXPECT_DOUBLE_EQ(read_schedule(config("{cosine: {warmup_epochs: 5}}")).factor(3, 4, 4), 0.2);
}

}  // namespace
}  // namespace lockstep
