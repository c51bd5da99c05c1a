// Positions against the formulas of kernels/positions.h.
#include "kernels/positions.h"

#include <cmath>

#include "kernels/error.h"
#include "tests/support/layouts.h"

namespace lockstep {
namespace {

struct Trial {
  int64_t n = 3, steps = 4, width = 6, max_steps = 9;
  bool learned = false;
  Sinusoids sinusoids = Sinusoids::kInterleaved;
  int64_t n_valid = 0, first_step = 0;
  DType dtype = DType::kFloat32;

  std::unique_ptr<Op> make() const {
    return make_positions(config_of(dtype), {{Shape{n, steps, width}}, learned, max_steps, sinusoids});
  }
  OpInputs inputs() const {
    OpInputs in;
    in.src = {short_tensor(Shape{n, steps, width}, 1, dtype)};
    if (learned) in.params = {{Shape{max_steps, width}, short_values(max_steps * width, 2)}};
    in.diff_dst = {short_values(n * steps * width, 3)};
    in.batch.n_valid = n_valid;
    in.batch.first_step = first_step;
    return in;
  }
  double position(const OpInputs& in, int64_t t, int64_t column) const {
    if (learned) return in.params[0].values[static_cast<size_t>(t * width + column)];
    const auto angle = [&](int64_t i) { return t / std::pow(10000.0, 2.0 * i / width); };
    if (sinusoids == Sinusoids::kInterleaved)
      return column % 2 == 0 ? std::sin(angle(column / 2)) : std::cos(angle(column / 2));
    const int64_t n_sines = width - width / 2;
    return column < n_sines ? std::sin(angle(column)) : std::cos(angle(column - n_sines));
  }
};

class PositionsTest : public OpTest {
 protected:
  static void judge(const Trial& trial) {
    SCOPED_TRACE(std::to_string(trial.n) + "x" + std::to_string(trial.steps) + "x" +
                 std::to_string(trial.width));
    const OpInputs in = trial.inputs();
    const OpOutputs out = run_op(*trial.make(), in);
    Values dst, diff_table(static_cast<size_t>(trial.max_steps * trial.width));
    const int64_t size = trial.steps * trial.width, n_valid = trial.n_valid > 0 ? trial.n_valid : trial.n;
    for (int64_t i = 0; i < trial.n * size; ++i) {
      const int64_t t = i / trial.width % trial.steps;
      dst.push_back(in.src[0].values[static_cast<size_t>(i)] +
                    trial.position(in, trial.first_step + t, i % trial.width));
      if (i / size < n_valid)
        diff_table[static_cast<size_t>(i % size)] += in.diff_dst[0][static_cast<size_t>(i)];
    }
    expect_close(out.dst[0], dst, tolerance_of(trial.dtype, 1e-6), "dst");
    expect_close(out.diff_src[0], in.diff_dst[0], 0, "diff_src");
    if (trial.learned) expect_close(out.diff_params[0], diff_table, 1e-6, "diff_weight");
  }
};

TEST_F(PositionsTest, EverySize) {
  for (const bool learned : {false, true})
    for (const int64_t width : {1, 2, 7, 16, 33})
      for (const int64_t steps : {1, 5, 9})
        judge({.n = 4, .steps = steps, .width = width, .learned = learned});
}

TEST_F(PositionsTest, SinesThenCosines) {
  for (const int64_t width : {1, 8, 9})
    judge({.steps = 9, .width = width, .sinusoids = Sinusoids::kSinesThenCosines});
}

// Far positions, as long sequences have: angles of many turns.
TEST_F(PositionsTest, LongSequences) { judge({.n = 1, .steps = 3000, .width = 10, .max_steps = 3000}); }

TEST_F(PositionsTest, PaddingCountsNothing) { judge({.learned = true, .n_valid = 2}); }

TEST_F(PositionsTest, FirstStep) {
  judge({.first_step = 5});
  Trial trial{.learned = true, .first_step = 5};
  OpInputs in = trial.inputs();
  in.run_backward = false;
  in.diff_dst.clear();
  const Values dst = run_op(*trial.make(), in).dst[0];
  Values expected;
  for (int64_t i = 0; i < trial.n * trial.steps * trial.width; ++i)
    expected.push_back(in.src[0].values[static_cast<size_t>(i)] +
                       trial.position(in, 5 + i / trial.width % trial.steps, i % trial.width));
  expect_close(dst, expected, 1e-6, "dst");
}

TEST_F(PositionsTest, NarrowTypes) {
  for (const DType dtype : kNarrowTypes)
    for (const bool learned : {false, true}) judge({.width = 16, .learned = learned, .dtype = dtype});
}

TEST_F(PositionsTest, RefusesWhatDoesNotFit) {
  EXPECT_THROW((Trial{.steps = 10}.make()), Error);
  EXPECT_THROW(make_positions(test_config(), {{Shape{3, 4}}, false, 9}), Error);
  count_comparisons(2);
  try {
    Trial{.steps = 10}.make();
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("10 steps, but positions for 9"), std::string::npos)
        << error.what();
  }
}

}  // namespace
}  // namespace lockstep
