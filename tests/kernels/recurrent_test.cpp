// Recurrent cells against the naive reference and its central differences in float64, against themselves
// (steps one by one, samples one by one, padding) and, in recurrent_fixtures_test.cpp, against PyTorch.
#include "kernels/recurrent.h"

#include <numeric>

#include "kernels/error.h"
#include "tests/reference/recurrent.h"
#include "tests/support/layouts.h"

namespace lockstep {
namespace {

constexpr RecurrentCell kCells[] = {RecurrentCell::kRnnTanh,     RecurrentCell::kRnnRelu,
                                    RecurrentCell::kLstm,        RecurrentCell::kLstmPeephole,
                                    RecurrentCell::kLstmCoupled, RecurrentCell::kGru};

struct Trial {
  RecurrentCell cell = RecurrentCell::kLstm;
  int64_t n = 3, steps = 4, in = 3, hidden = 5;
  bool reversed = false, bias = true, state = true;
  std::vector<int> lengths = {};  // empty: none
  bool reset_after = true, update_keeps = true;
  int64_t n_valid = 0;  // 0: all
  DType dtype = DType::kFloat32;

  RecurrentDesc desc() const {
    RecurrentDesc d{.src = {Shape{n, steps, in}}, .cell = cell, .hidden = hidden, .reversed = reversed};
    d.has_bias = bias;
    d.has_lengths = !lengths.empty();
    d.has_state = state;
    d.reset_after = reset_after;
    d.update_keeps = update_keeps;
    return d;
  }
  std::string str() const {
    return "cell " + std::to_string(static_cast<int>(cell)) + " " + std::to_string(n) + "x" +
           std::to_string(steps) + "x" + std::to_string(in) + " -> " + std::to_string(hidden) +
           (reversed ? " reversed" : "") + (bias ? " bias" : "") + (state ? " state" : "") +
           (lengths.empty() ? "" : " lengths") + (reset_after ? "" : " reset before") +
           (update_keeps ? "" : " update replaces") + " n_valid " + std::to_string(n_valid);
  }
  int64_t gates() const { return gates_of(cell); }
  size_t first_state() const { return lengths.empty() ? 1 : 2; }

  OpInputs inputs() const {
    const auto tensor = [this](const Shape& shape, uint64_t seed, double scale) {
      return DenseTensor{shape, rounded_to_bfloat16(random_values(shape.n_elements(), seed, -scale, scale))};
    };
    OpInputs in_;
    in_.src = {tensor(Shape{n, steps, in}, 1, 1)};
    in_.src[0].dtype = dtype;
    if (!lengths.empty())
      in_.src.push_back({Shape{n}, Values(lengths.begin(), lengths.end()), DType::kInt32});
    for (int i = 0; state && i < (is_lstm(cell) ? 2 : 1); ++i) {
      in_.src.push_back(tensor(Shape{n, hidden}, 2 + static_cast<uint64_t>(i), 1));
      in_.src.back().dtype = dtype;
    }
    const double scale = 1 / std::sqrt(static_cast<double>(hidden)) + 0.1;
    in_.params = {tensor(Shape{gates() * hidden, in}, 4, scale),
                  tensor(Shape{gates() * hidden, hidden}, 5, scale)};
    if (bias) {
      in_.params.push_back(tensor(Shape{gates() * hidden}, 6, 0.5));
      in_.params.push_back(tensor(Shape{gates() * hidden}, 7, 0.5));
    }
    if (cell == RecurrentCell::kLstmPeephole) in_.params.push_back(tensor(Shape{3 * hidden}, 8, 0.5));
    in_.diff_dst = {rounded_to_bfloat16(random_values(n * steps * hidden, 9)),
                    rounded_to_bfloat16(random_values(n * hidden, 10))};
    if (is_lstm(cell)) in_.diff_dst.push_back(rounded_to_bfloat16(random_values(n * hidden, 11)));
    in_.batch.n_valid = n_valid;
    return in_;
  }

  reference::Recurrent reference(const OpInputs& of) const {
    reference::Recurrent r{
        desc(), of.src[0].values, {}, {}, {}, of.params[0].values, of.params[1].values, {}, {}, {}};
    for (int64_t row = 0; row < n; ++row) {
      const int64_t given =
          lengths.empty() ? steps : std::clamp<int64_t>(lengths[static_cast<size_t>(row)], 0, steps);
      r.lengths.push_back(n_valid > 0 && row >= n_valid ? 0 : given);
    }
    if (state) r.h0 = of.src[first_state()].values;
    if (state && is_lstm(cell)) r.c0 = of.src[first_state() + 1].values;
    if (bias) r.bias_ih = of.params[2].values, r.bias_hh = of.params[3].values;
    if (cell == RecurrentCell::kLstmPeephole) r.peephole = of.params.back().values;
    return r;
  }

  OpOutputs run(const OpInputs& in_) const { return run_op(*make_recurrent(config_of(dtype), desc()), in_); }
};

double dot(const Values& a, const Values& b) {
  return std::inner_product(a.begin(), a.end(), b.begin(), 0.0);
}

class RecurrentTest : public OpTest {
 protected:
  /// Central differences of the reference for at most 40 elements of each tensor.
  static void judge(const Trial& trial, double tolerance = 1e-5) {
    SCOPED_TRACE(trial.str());
    OpInputs in = trial.inputs();
    const OpOutputs out = trial.run(in);
    const auto expected = trial.reference(in).forward();
    expect_close(out.dst[0], expected.y, tolerance, "y");
    expect_close(out.dst[1], expected.h_n, tolerance, "h_n");
    if (is_lstm(trial.cell)) expect_close(out.dst[2], expected.c_n, tolerance, "c_n");

    const int64_t n_valid = trial.n_valid > 0 ? trial.n_valid : trial.n;
    const auto loss = [&](const OpInputs& at) {
      const auto result = trial.reference(at).forward();
      double sum = 0;
      for (size_t d = 0; d < in.diff_dst.size(); ++d) {
        Values diff = in.diff_dst[d];
        const int64_t row = static_cast<int64_t>(diff.size()) / trial.n;
        std::fill(diff.begin() + n_valid * row, diff.end(), 0.0);
        sum += dot(diff, d == 0 ? result.y : d == 1 ? result.h_n : result.c_n);
      }
      return sum;
    };
    const auto compare = [&](Values& values, const Values& gradient, const std::string& what) {
      ASSERT_EQ(gradient.size(), values.size()) << what;
      Values actual, differences;
      const size_t stride = std::max<size_t>(1, values.size() / 40);
      for (size_t i = 0; i < values.size(); i += stride) {
        const double center = values[i], h = 1e-5;
        values[i] = center + h;
        const double above = loss(in);
        values[i] = center - h;
        const double below = loss(in);
        values[i] = center;
        differences.push_back((above - below) / (2 * h));
        actual.push_back(gradient[i]);
      }
      expect_close(actual, differences, 4 * tolerance, what);
    };
    for (size_t i = 0; i < in.src.size(); ++i)
      if (in.src[i].dtype != DType::kInt32)
        compare(in.src[i].values, out.diff_src[i], "diff_src " + std::to_string(i));
    for (size_t i = 0; i < in.params.size(); ++i)
      compare(in.params[i].values, out.diff_params[i], "diff_params " + std::to_string(i));
  }
};

TEST_F(RecurrentTest, EveryOption) {
  for (const RecurrentCell cell : kCells)
    for (int option = 0; option < 16; ++option)
      for (int gru = 0; gru < (cell == RecurrentCell::kGru ? 4 : 1); ++gru)
        judge({.cell = cell,
               .reversed = (option & 1) != 0,
               .bias = (option & 2) != 0,
               .state = (option & 4) != 0,
               .lengths = (option & 8) != 0 ? std::vector<int>{2, 4, 0} : std::vector<int>{},
               .reset_after = (gru & 1) == 0,
               .update_keeps = (gru & 2) == 0});
}

TEST_F(RecurrentTest, EverySize) {
  for (const RecurrentCell cell : kCells)
    for (const int gru : {0, 1}) {
      if (gru == 1 && cell != RecurrentCell::kGru) continue;
      const bool after = gru == 0;
      for (const int64_t hidden : {1, 7, 8, 9, 16, 17, 33})
        judge({.cell = cell, .n = 5, .steps = 2, .in = 2, .hidden = hidden, .reset_after = after});
      for (const int64_t n : {1, 2, 6, 7, 13})
        judge({.cell = cell, .n = n, .steps = 3, .in = 17, .hidden = 4, .reset_after = after});
      for (const int64_t in : {1, 15, 16, 31})
        judge({.cell = cell, .n = 2, .steps = 1, .in = in, .hidden = 3, .reset_after = after});
      judge({.cell = cell, .n = 2, .steps = 9, .in = 3, .hidden = 6, .reset_after = after});
    }
}

// More than one block of k, of rows, and of panels.
TEST_F(RecurrentTest, LargerThanBlocks) {
  for (const RecurrentCell cell : {RecurrentCell::kLstm, RecurrentCell::kGru, RecurrentCell::kRnnTanh}) {
    Trial trial{.cell = cell, .n = 3, .steps = 2, .in = 300, .hidden = 150};
    const OpInputs in = trial.inputs();
    const OpOutputs out = trial.run(in);
    expect_close(out.dst[0], trial.reference(in).forward().y, 1e-5, "y");
    trial = {.cell = cell, .n = 210, .steps = 2, .in = 5, .hidden = 3};
    judge(trial);
  }
}

TEST_F(RecurrentTest, NarrowTypes) {
  for (const RecurrentCell cell : kCells)
    for (const DType dtype : kNarrowTypes)
      for (const bool after : {true, false}) {
        Trial trial{
            .cell = cell, .n = 4, .steps = 3, .in = 9, .hidden = 10, .reset_after = after, .dtype = dtype};
        SCOPED_TRACE(trial.str());
        OpInputs in = trial.inputs();
        const OpOutputs narrow = trial.run(in);
        trial.dtype = DType::kFloat32;
        for (DenseTensor& src : in.src) src.dtype = DType::kFloat32;
        const OpOutputs wide = trial.run(in);
        const auto compare = [](const std::vector<Values>& a, const std::vector<Values>& b,
                                const char* what) {
          for (size_t i = 0; i < a.size(); ++i) expect_close(a[i], b[i], 0.03, what);
        };
        compare(narrow.dst, wide.dst, "dst");
        compare(narrow.diff_src, wide.diff_src, "diff_src");
        compare(narrow.diff_params, wide.diff_params, "diff_params");
      }
}

TEST_F(RecurrentTest, PaddingRowsCountNothing) {
  for (const RecurrentCell cell : kCells) judge({.cell = cell, .n = 5, .n_valid = 3});
  judge({.cell = RecurrentCell::kGru, .n = 5, .reversed = true, .lengths = {1, 9, -2, 4, 2}, .n_valid = 4});
}

TEST_F(RecurrentTest, EmptyGradientsAreZero) {
  for (const RecurrentCell cell : kCells) {
    const Trial trial{.cell = cell};
    OpInputs in = trial.inputs();
    for (size_t d = 0; d < in.diff_dst.size(); ++d) {
      OpInputs zero = in, empty = in;
      std::fill(zero.diff_dst[d].begin(), zero.diff_dst[d].end(), 0.0);
      empty.diff_dst[d].clear();
      const OpOutputs a = trial.run(zero), b = trial.run(empty);
      for (size_t i = 0; i < a.diff_src.size(); ++i)
        expect_close(b.diff_src[i], a.diff_src[i], 0, "diff_src");
      for (size_t i = 0; i < a.diff_params.size(); ++i)
        expect_close(b.diff_params[i], a.diff_params[i], 0, "diff_params");
    }
    in.wants_diff_src = false;
    const OpOutputs with = trial.run(trial.inputs()), without = trial.run(in);
    for (size_t i = 0; i < with.diff_params.size(); ++i)
      expect_close(without.diff_params[i], with.diff_params[i], 0, "diff_params");
  }
}

/// Rows [begin, begin + count) of each of a tensor's n.
Values rows_of(const Values& values, int64_t n, int64_t begin, int64_t count) {
  const auto row = static_cast<int64_t>(values.size()) / n;
  return {values.begin() + begin * row, values.begin() + (begin + count) * row};
}
/// Step t of (n, steps, …).
Values step_of(const Values& values, int64_t n, int64_t steps, int64_t t) {
  Values result;
  const auto run = static_cast<int64_t>(values.size()) / (n * steps);
  for (int64_t row = 0; row < n; ++row)
    result.insert(result.end(), values.begin() + (row * steps + t) * run,
                  values.begin() + (row * steps + t + 1) * run);
  return result;
}

// Bits on the CPU; products of another shape may sum in another order on GPUs.
#ifdef LOCKSTEP_TEST_CUDA
constexpr double kSame = 1e-5;
#else
constexpr double kSame = 0;
#endif

TEST_F(RecurrentTest, StepsOneByOneAreTheWhole) {
  for (const RecurrentCell cell : kCells)
    for (const bool after : {true, false})
      for (const bool reversed : {false, true}) {
        if (!after && cell != RecurrentCell::kGru) continue;
        Trial trial{.cell = cell,
                    .n = 7,
                    .steps = 5,
                    .in = 6,
                    .hidden = 19,
                    .reversed = reversed,
                    .reset_after = after};
        SCOPED_TRACE(trial.str());
        const OpInputs in = trial.inputs();
        const OpOutputs whole = trial.run(in);
        Trial one = trial;
        one.steps = 1;
        const auto input_of = [&](int64_t t, const std::vector<Values>& state) {
          OpInputs at = in;
          at.src[0] = {Shape{trial.n, 1, trial.in}, step_of(in.src[0].values, trial.n, trial.steps, t)};
          for (size_t i = 0; i < state.size(); ++i) at.src[1 + i].values = state[i];
          at.diff_dst[0] = step_of(in.diff_dst[0], trial.n, trial.steps, t);
          return at;
        };
        std::vector<std::vector<Values>> states;
        std::vector<Values> state;
        for (size_t i = 1; i < in.src.size(); ++i) state.push_back(in.src[i].values);
        const auto time_of = [&](int64_t s) { return reversed ? trial.steps - 1 - s : s; };
        for (int64_t s = 0; s < trial.steps; ++s) {
          states.push_back(state);
          OpInputs at = input_of(time_of(s), state);
          at.run_backward = false;
          const OpOutputs out = one.run(at);
          expect_close(out.dst[0], step_of(whole.dst[0], trial.n, trial.steps, time_of(s)), kSame, "y");
          state.assign(out.dst.begin() + 1, out.dst.end());
        }
        for (size_t i = 0; i < state.size(); ++i) expect_close(state[i], whole.dst[1 + i], kSame, "state");
        std::vector<Values> diff_state(in.diff_dst.begin() + 1, in.diff_dst.end());
        std::vector<Values> diff_params(in.params.size());
        for (int64_t s = trial.steps - 1; s >= 0; --s) {
          OpInputs at = input_of(time_of(s), states[static_cast<size_t>(s)]);
          for (size_t i = 0; i < diff_state.size(); ++i) at.diff_dst[1 + i] = diff_state[i];
          const OpOutputs out = one.run(at);
          expect_close(out.diff_src[0], step_of(whole.diff_src[0], trial.n, trial.steps, time_of(s)), kSame,
                       "diff_x");
          diff_state.assign(out.diff_src.begin() + 1, out.diff_src.end());
          for (size_t i = 0; i < diff_params.size(); ++i) {
            diff_params[i].resize(out.diff_params[i].size());
            for (size_t j = 0; j < diff_params[i].size(); ++j) diff_params[i][j] += out.diff_params[i][j];
          }
        }
        for (size_t i = 0; i < diff_state.size(); ++i)
          expect_close(diff_state[i], whole.diff_src[1 + i], kSame, "diff_state");
        for (size_t i = 0; i < diff_params.size(); ++i)
          expect_close(diff_params[i], whole.diff_params[i], 1e-5, "diff_params");  // another order
      }
}

TEST_F(RecurrentTest, RowsDoNotDependOnOthers) {
  for (const RecurrentCell cell : kCells)
    for (const bool reversed : {false, true}) {
      Trial trial{.cell = cell, .n = 7, .steps = 5, .in = 20, .hidden = 21, .reversed = reversed};
      trial.lengths = {5, 1, 3, 0, 4, 5, 2};
      SCOPED_TRACE(trial.str());
      const OpInputs in = trial.inputs();
      const OpOutputs whole = trial.run(in);
      for (int64_t row = 0; row < trial.n; ++row) {
        const int64_t length = trial.lengths[static_cast<size_t>(row)];
        if (length == 0) continue;
        Trial alone = trial;  // cut to its length, too
        alone.n = 1;
        alone.steps = length;
        alone.lengths.clear();
        OpInputs at = in;
        at.src.erase(at.src.begin() + 1);
        const auto cut = [&](const Values& values, bool over_time) {
          Values of_row = rows_of(values, trial.n, row, 1);
          return over_time ? rows_of(of_row, trial.steps, 0, length) : of_row;
        };
        at.src[0] = {Shape{1, length, trial.in}, cut(in.src[0].values, true)};
        for (size_t i = 1; i < at.src.size(); ++i)
          at.src[i] = {Shape{1, trial.hidden}, cut(in.src[1 + i].values, false)};
        for (size_t d = 0; d < at.diff_dst.size(); ++d) at.diff_dst[d] = cut(in.diff_dst[d], d == 0);
        const OpOutputs out = alone.run(at);
        for (size_t d = 0; d < out.dst.size(); ++d)
          expect_close(out.dst[d], cut(whole.dst[d], d == 0), kSame, "dst");
        for (size_t i = 0; i < out.diff_src.size(); ++i)
          expect_close(out.diff_src[i], cut(whole.diff_src[i == 0 ? 0 : 1 + i], i == 0), kSame, "diff_src");
      }
    }
}

TEST_F(RecurrentTest, EvaluationGivesTheSame) {
  for (const RecurrentCell cell : kCells) {
    const Trial trial{.cell = cell, .n = 4, .steps = 6, .in = 5, .hidden = 18};
    OpInputs in = trial.inputs();
    const OpOutputs training = trial.run(in);
    in.run_backward = false;
    OpConfig config = test_config();
    config.training = false;
    const OpOutputs evaluation = run_op(*make_recurrent(config, trial.desc()), in);
    for (size_t d = 0; d < training.dst.size(); ++d)
      expect_close(evaluation.dst[d], training.dst[d], 0, "dst");
  }
}

TEST_F(RecurrentTest, BitsDoNotDependOnThreads) {
  const int before = compute_threads();
  for (const RecurrentCell cell : {RecurrentCell::kLstm, RecurrentCell::kGru}) {
    const Trial trial{.cell = cell, .n = 20, .steps = 3, .in = 70, .hidden = 100};
    const OpInputs in = trial.inputs();
    std::vector<OpOutputs> outputs;
    for (const int threads : {1, 2, 5}) {
      set_compute_threads(threads);
      outputs.push_back(trial.run(in));
    }
    for (const OpOutputs& out : outputs) {
      expect_close(out.dst[0], outputs[0].dst[0], 0, "y");
      expect_close(out.diff_src[0], outputs[0].diff_src[0], 0, "diff_src");
      expect_close(out.diff_params[2], outputs[0].diff_params[2], 0, "diff_bias");
    }
  }
  set_compute_threads(before);
}

TEST_F(RecurrentTest, LargeSumsSaturate) {
  Trial trial{
      .cell = RecurrentCell::kLstm, .n = 1, .steps = 1, .in = 1, .hidden = 1, .bias = false, .state = false};
  OpInputs in = trial.inputs();
  in.src[0].values = {1000};
  in.params[0].values = {1, -1, 1, 1};  // i, f, g, o
  in.params[1].values = {0, 0, 0, 0};
  const OpOutputs out = trial.run(in);
  expect_close(out.dst[2], {1}, 1e-6, "c");
  expect_close(out.dst[0], {std::tanh(1.0)}, 1e-6, "h");
  for (const Values& diff : out.diff_params) expect_close(diff, Values(diff.size(), 0.0), 0, "diff_params");
}

TEST_F(RecurrentTest, RefusesWhatHasNoMeaning) {
  EXPECT_THROW(make_recurrent(test_config(), {.src = {Shape{4, 3}}, .hidden = 2}), Error);
  EXPECT_THROW(make_recurrent(test_config(), {.src = {Shape{4, 3, 2}}, .hidden = 0}), Error);
  count_comparisons(2);
}

}  // namespace
}  // namespace lockstep
