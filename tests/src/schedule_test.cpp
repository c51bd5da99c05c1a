// Schedules by literal values.
#include "src/update/schedule.h"

#include <gtest/gtest.h>

#include "src/update/plateau.h"

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

/// The same in a run of n steps, of which `expected` are the first.
void expect_first(const std::string& text, int64_t n, const std::vector<double>& expected) {
  const std::vector<double> actual = factors(text, n);
  ASSERT_LE(expected.size(), actual.size());
  for (size_t s = 0; s < expected.size(); ++s)
    EXPECT_NEAR(actual[s], expected[s], 1e-8) << text << ", step " << s;
}

// What the schedulers of PyTorch 2.15 give, of a rate of 1.
TEST(Schedule, PyTorchsTables) {
  expect_first("{triangular: {half_cycle_epochs: 1}}", 14,
               {0.1, 0.325, 0.55, 0.775, 1, 0.775, 0.55, 0.325, 0.1, 0.325, 0.55, 0.775, 1, 0.775});
  expect_first("{triangular: {half_cycle_steps: 3, base: 0.1, halving: true}}", 14,
               {0.1, 0.4, 0.7, 1, 0.7, 0.4, 0.1, 0.25, 0.4, 0.55, 0.4, 0.25, 0.1, 0.175});
  expect_first("{cosine_restarts: {first_steps: 3}}", 10, {1, 0.75, 0.25, 1, 0.75, 0.25, 1, 0.75, 0.25, 1});
  expect_first("{cosine_restarts: {first_epochs: 0.5, growth: 2, final: 0.1}}", 15,
               {1, 0.55, 1, 0.868198052, 0.55, 0.231801948, 1, 0.96574579, 0.868198052, 0.722207545, 0.55,
                0.377792455, 0.231801948, 0.13425421, 1});
  expect_first("one_cycle", 12,
               {0.04, 0.349789654, 0.879285159, 0.994415435, 0.93301297, 0.811745654, 0.647378998,
                0.462637103, 0.283060998, 0.13347753, 0.0345669874, 4e-06});
  expect_first("{one_cycle: {peak: 0.4, shape: linear, start_divisor: 10, final_divisor: 100}}", 10,
               {0.1, 0.4, 0.7, 1, 0.8335, 0.667, 0.5005, 0.334, 0.1675, 0.001});
  expect_first("{linear: {over_steps: 4, final: 0.2}}", 8, {1, 0.8, 0.6, 0.4, 0.2, 0.2, 0.2, 0.2});
  expect_first("{step: {every_steps: 3, gamma: 0.5}}", 8, {1, 1, 1, 0.5, 0.5, 0.5, 0.25, 0.25});
  expect_first("{step: {steps: [2, 5]}}", 8, {1, 1, 0.1, 0.1, 0.1, 0.01, 0.01, 0.01});
  expect_first("{exponential: {gamma: 0.5, staircase: true}}", 9, {1, 1, 1, 1, 0.5, 0.5, 0.5, 0.5, 0.25});
  expect_first("{exponential: {gamma: 0.5, every_steps: 2}}", 5, {1, 0.707106781, 0.5, 0.353553391, 0.25});
}

// The course's table of a rate that falls in a line until iteration tau = 4: (1 - t / tau) first + t / tau
// last.
TEST(Schedule, TheCoursesLine) {
  const double last = 0.3;
  std::vector<double> table = {1};
  for (const double t : {1.0, 2.0, 3.0, 4.0}) table.push_back((1 - t / 4) + t / 4 * last);
  table.insert(table.end(), {last, last, last});
  EXPECT_DOUBLE_EQ(table[1], 0.75 + 0.25 * last);
  expect_first("{linear: {over_epochs: 1, final: 0.3}}", 8, table);
}

TEST(Schedule, WarmsUpInSteps) {
  expect_first("{constant: {warmup_steps: 2}}", 4, {0.5, 1, 1, 1});
  expect_first("{linear: {warmup_steps: 2, over_steps: 2}}", 6, {0.5, 1, 1, 0.5, 0, 0});
  expect_first("{triangular: {warmup_steps: 2, half_cycle_steps: 2, base: 0.5}}", 6,
               {0.5, 1, 0.5, 0.75, 1, 0.75});
}

TEST(Schedule, IsNoLongerThanTheRun) {
  const auto too_long = [](const std::string& text, int64_t n) {
    try {
      read_schedule(config(text)).check(n, 4);
      return false;
    } catch (const Error& error) {
      EXPECT_FALSE(error.remedy().empty()) << error.what();
      return true;
    }
  };
  for (const char* text :
       {"{linear: {over_epochs: 2}}", "{triangular: {half_cycle_steps: 8}}",
        "{cosine_restarts: {first_steps: 8}}", "{constant: {warmup_steps: 8}}", "{step: {steps: [2, 7]}}"}) {
    EXPECT_TRUE(too_long(text, 7)) << text;
    EXPECT_FALSE(too_long(text, 8)) << text;
  }
}

// ReduceLROnPlateau(patience=1, cooldown=1, factor=0.5) of PyTorch 2.15, after each value.
TEST(Plateau, FallsAsPyTorchs) {
  const PlateauOptions options{.factor = 0.5, .patience = 1, .threshold = 0.1, .cooldown = 1, .least = 0.2};
  PlateauState low, high;
  const std::vector<double> values = {1, 0.95, 0.85, 0.8, 0.79, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5};
  const std::vector<double> expected = {1, 1, 1, 1, 0.5, 0.5, 0.5, 0.25, 0.25, 0.25, 0.2, 0.2};
  for (size_t i = 0; i < values.size(); ++i) {
    low.advance(values[i], false, options);
    EXPECT_EQ(low.rate_factor, expected[i]) << i;
  }
  const std::vector<double> of_high = {1, 1, 1, 1, 0.5, 0.5, 0.5, 0.25, 0.25, 0.25, 0.2, 0.2};
  for (size_t i = 0; i < values.size(); ++i) {
    high.advance(1 / values[i], true, options);
    EXPECT_EQ(high.rate_factor, of_high[i]) << i;
  }
}

TEST(Schedule, RefusesWhatIsNoSchedule) {
  for (const char* text :
       {"{polynomial: {power: 0}}", "exponential", "{exponential: {gamma: 1.1}}",
        "{warmup_stable_decay: {decay: 0}}", "{warmup_stable_decay: {shape: round}}", "{linear: {last: 1}}",
        "triangular", "{triangular: {half_cycle_steps: 2, half_cycle_epochs: 1}}",
        "{triangular: {half_cycle_steps: 2, base: 2}}", "{cosine_restarts: {first_steps: 2, growth: 0.5}}",
        "{one_cycle: {peak: 1}}", "{one_cycle: {start_divisor: 0}}", "{step: {every_steps: 2, epochs: 1}}",
        "{constant: {warmup_steps: 2, warmup_epochs: 1}}"})
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
