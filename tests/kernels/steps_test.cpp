// Steps cut, joined, picked, selected, reversed and averaged, against loops over (row, step, element).
#include "kernels/steps.h"

#include <algorithm>

#include "kernels/error.h"
#include "tests/support/layouts.h"

namespace lockstep {
namespace {

constexpr int64_t kN = 4, kSteps = 5;
const Values kLengths = {5, 2, 0, 9};  // 9 counts as 5

DenseTensor lengths_tensor() { return {Shape{kN}, kLengths, DType::kInt32}; }
/// Of a row; without lengths all steps.
int64_t length_of(int64_t row, bool has_lengths, int64_t n_valid) {
  if (n_valid > 0 && row >= n_valid) return 0;
  return has_lengths ? std::min(kSteps, static_cast<int64_t>(kLengths[static_cast<size_t>(row)])) : kSteps;
}

/// body(shape of a step without rows, dtype)
template <typename Body>
void for_each_form(const Body& body) {
  for (const Shape& rest : {Shape{}, Shape{1}, Shape{3}, Shape{2, 9}, Shape{64}})
    for (const DType dtype : kTypes) body(rest, dtype);
}
Shape step_shape(const Shape& rest) { return rest.with_front(kN); }
Shape sequence_shape(const Shape& rest) { return rest.with_front(kSteps).with_front(kN); }

size_t place(int64_t row, int64_t t, int64_t e, int64_t run) {
  return static_cast<size_t>((row * kSteps + t) * run + e);
}
size_t place(int64_t row, int64_t e, int64_t run) { return static_cast<size_t>(row * run + e); }

/// f(row, t, element)
template <typename F>
void for_elements(int64_t run, const F& f) {
  for (int64_t row = 0; row < kN; ++row)
    for (int64_t t = 0; t < kSteps; ++t)
      for (int64_t e = 0; e < run; ++e) f(row, t, e);
}

class StepsTest : public OpTest {};

TEST_F(StepsTest, SplitAndJoinAreInverse) {
  for_each_form([](const Shape& rest, DType dtype) {
    const Shape shape = sequence_shape(rest);
    const int64_t run = rest.n_elements();
    const Values whole = short_values(shape.n_elements(), 1);
    std::vector<Values> steps(kSteps, Values(static_cast<size_t>(kN * run)));
    for_elements(run, [&](int64_t row, int64_t t, int64_t e) {
      steps[static_cast<size_t>(t)][place(row, e, run)] = whole[place(row, t, e, run)];
    });
    OpInputs split{.src = {{shape, whole, dtype}}, .diff_dst = steps};
    OpOutputs out = run_op(*make_split_steps(config_of(dtype), {shape, dtype, nullptr}), split);
    for (size_t t = 0; t < steps.size(); ++t) expect_close(out.dst[t], steps[t], 0, "step");
    expect_close(out.diff_src[0], whole, 0, "joined gradients");
    split.diff_dst[1].clear();  // zero
    out = run_op(*make_split_steps(config_of(dtype), {shape, dtype, nullptr}), split);
    Values without = whole;
    for_elements(run, [&](int64_t row, int64_t t, int64_t e) {
      if (t == 1) without[place(row, t, e, run)] = 0;
    });
    expect_close(out.diff_src[0], without, 0, "one of them zero");

    OpInputs join{.diff_dst = {whole}};
    for (const Values& step : steps) join.src.push_back({step_shape(rest), step, dtype});
    out = run_op(*make_join_steps(config_of(dtype), {step_shape(rest), dtype, nullptr}, kSteps), join);
    expect_close(out.dst[0], whole, 0, "joined");
    for (size_t t = 0; t < steps.size(); ++t)
      expect_close(out.diff_src[t], steps[t], 0, "gradient of a step");
  });
}

TEST_F(StepsTest, SplitsIntegers) {
  OpInputs in{.src = {{Shape{kN, kSteps}, integer_values(kN * kSteps, 1, 0, 1 << 20), DType::kInt32}}};
  in.diff_dst.assign(kSteps, Values(kN, 0.0));
  const OpOutputs out =
      run_op(*make_split_steps(test_config(), {Shape{kN, kSteps}, DType::kInt32, nullptr}), in);
  for (int64_t row = 0; row < kN; ++row)
    for (int64_t t = 0; t < kSteps; ++t)
      EXPECT_EQ(out.dst[static_cast<size_t>(t)][static_cast<size_t>(row)],
                in.src[0].values[place(row, t, 0, 1)]);
  count_comparisons(kN * kSteps);
}

TEST_F(StepsTest, PicksLastOrFirst) {
  for_each_form([](const Shape& rest, DType dtype) {
    const Shape shape = sequence_shape(rest);
    const int64_t run = rest.n_elements();
    for (const bool first : {false, true})
      for (const bool has_lengths : {false, true})
        for (const int64_t n_valid : {0, 3}) {
          OpInputs in{.src = {{shape, short_values(shape.n_elements(), 1), dtype}},
                      .diff_dst = {short_values(kN * run, 2)}};
          if (has_lengths) in.src.push_back(lengths_tensor());
          in.batch.n_valid = n_valid;
          const OpOutputs out =
              run_op(*make_pick_step(config_of(dtype), {{shape, dtype, nullptr}, has_lengths, first}), in);
          Values dst(in.diff_dst[0].size(), 0.0), diff(in.src[0].values.size(), 0.0);
          for_elements(run, [&](int64_t row, int64_t t, int64_t e) {
            const int64_t n = length_of(row, has_lengths, n_valid);
            if (n == 0 || t != (first ? 0 : n - 1)) return;
            dst[place(row, e, run)] = in.src[0].values[place(row, t, e, run)];
            diff[place(row, t, e, run)] = in.diff_dst[0][place(row, e, run)];
          });
          expect_close(out.dst[0], dst, 0, "dst");
          expect_close(out.diff_src[0], diff, 0, "diff_src");
        }
  });
}

TEST_F(StepsTest, SelectsRows) {
  for_each_form([](const Shape& rest, DType dtype) {
    const Shape shape = step_shape(rest);
    const int64_t run = rest.n_elements();
    for (const int64_t step : {0, 2, 4, 9})
      for (const int64_t n_valid : {0, 3}) {
        OpInputs in{.src = {short_tensor(shape, 1, dtype), short_tensor(shape, 2, dtype), lengths_tensor()},
                    .diff_dst = {short_values(kN * run, 3)}};
        in.batch.n_valid = n_valid;
        const OpOutputs out =
            run_op(*make_select_rows(config_of(dtype), {{shape, dtype, nullptr}, step}), in);
        Values dst = in.src[1].values, diff_updated(dst.size(), 0.0), diff_old = in.diff_dst[0];
        for (int64_t row = 0; row < kN; ++row)
          for (int64_t e = 0; e < run; ++e)
            if ((n_valid == 0 || row < n_valid) &&
                static_cast<double>(step) < kLengths[static_cast<size_t>(row)]) {
              dst[place(row, e, run)] = in.src[0].values[place(row, e, run)];
              std::swap(diff_updated[place(row, e, run)], diff_old[place(row, e, run)]);
            }
        expect_close(out.dst[0], dst, 0, "dst");
        expect_close(out.diff_src[0], diff_updated, 0, "diff_updated");
        expect_close(out.diff_src[1], diff_old, 0, "diff_old");
      }
  });
}

TEST_F(StepsTest, ReversesValidSteps) {
  for_each_form([](const Shape& rest, DType dtype) {
    const Shape shape = sequence_shape(rest);
    const int64_t run = rest.n_elements();
    for (const bool has_lengths : {false, true})
      for (const int64_t n_valid : {0, 3}) {
        OpInputs in{.src = {{shape, short_values(shape.n_elements(), 1), dtype}},
                    .diff_dst = {short_values(shape.n_elements(), 2)}};
        if (has_lengths) in.src.push_back(lengths_tensor());
        in.batch.n_valid = n_valid;
        const OpOutputs out =
            run_op(*make_reverse_steps(config_of(dtype), {{shape, dtype, nullptr}, has_lengths}), in);
        Values dst(in.diff_dst[0].size(), 0.0), diff = dst;
        for_elements(run, [&](int64_t row, int64_t t, int64_t e) {
          const int64_t n = length_of(row, has_lengths, n_valid);
          if (t >= n) return;
          dst[place(row, t, e, run)] = in.src[0].values[place(row, n - 1 - t, e, run)];
          diff[place(row, n - 1 - t, e, run)] = in.diff_dst[0][place(row, t, e, run)];
        });
        expect_close(out.dst[0], dst, 0, "dst");
        expect_close(out.diff_src[0], diff, 0, "diff_src");
      }
  });
}

TEST_F(StepsTest, MeanOverValidSteps) {
  for_each_form([](const Shape& rest, DType dtype) {
    const Shape shape = sequence_shape(rest);
    const int64_t run = rest.n_elements();
    for (const bool has_lengths : {false, true})
      for (const int64_t n_valid : {0, 3}) {
        OpInputs in{.src = {{shape, short_values(shape.n_elements(), 1), dtype}},
                    .diff_dst = {short_values(kN * run, 2)}};
        if (has_lengths) in.src.push_back(lengths_tensor());
        in.batch.n_valid = n_valid;
        const OpOutputs out =
            run_op(*make_mean_steps(config_of(dtype), {{shape, dtype, nullptr}, has_lengths}), in);
        Values dst(in.diff_dst[0].size(), 0.0), diff(in.src[0].values.size(), 0.0);
        for_elements(run, [&](int64_t row, int64_t t, int64_t e) {
          const auto n = static_cast<double>(length_of(row, has_lengths, n_valid));
          if (static_cast<double>(t) >= n) return;
          dst[place(row, e, run)] += in.src[0].values[place(row, t, e, run)] / n;
          diff[place(row, t, e, run)] = in.diff_dst[0][place(row, e, run)] / n;
        });
        expect_close(out.dst[0], dst, tolerance_of(dtype, 1e-6), "dst");
        expect_close(out.diff_src[0], diff, tolerance_of(dtype, 1e-6), "diff_src");
      }
  });
}

TEST_F(StepsTest, RefusesWhatHasNoMeaning) {
  const TensorDesc flat{Shape{4}}, sequence{Shape{4, 3}}, bytes{Shape{4, 3}, DType::kUInt8, nullptr};
  EXPECT_THROW(make_split_steps(test_config(), flat), Error);
  EXPECT_THROW(make_split_steps(test_config(), bytes), Error);
  EXPECT_THROW(make_join_steps(test_config(), sequence, 0), Error);
  EXPECT_THROW(make_pick_step(test_config(), {flat}), Error);
  EXPECT_THROW(make_reverse_steps(test_config(), {flat}), Error);
  EXPECT_THROW(make_mean_steps(test_config(), {{Shape{4, 3}, DType::kInt32, nullptr}}), Error);
  count_comparisons(6);
}

}  // namespace
}  // namespace lockstep
