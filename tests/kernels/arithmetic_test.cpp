// Arithmetic with and without broadcasting, and functions of each element, against float64.
#include "kernels/arithmetic.h"

#include "kernels/error.h"
#include "tests/reference/arithmetic.h"
#include "tests/support/layouts.h"

namespace lockstep {
namespace {

// float32 sums of some hundred products, relative to the rms of the result.
constexpr double kTolerance = 2e-6;
// bfloat16: dst and each gradient are rounded once (2^-9), relative to the larger of element and rms.
constexpr Arithmetic kArithmetics[] = {Arithmetic::kAdd, Arithmetic::kSubtract, Arithmetic::kMultiply,
                                       Arithmetic::kDivide};

struct Shapes {
  Shape a, b, dst;  // of a sample
};
const Shapes kShapes[] = {
    {{7}, {7}, {7}},
    {{3, 33}, {3, 33}, {3, 33}},
    {{5, 4, 6}, {5, 1, 1}, {5, 4, 6}},  // a factor per channel
    {{5, 37}, {37}, {5, 37}},           // a mask over time
    {{37, 5}, {37, 1}, {37, 5}},        // the same, time first
    {{2, 1, 19}, {3, 1}, {2, 3, 19}},   // both repeat
    {{1}, {4, 9}, {4, 9}},
    {{4, 5}, {1, 1}, {4, 5}},
    {{1, 1, 1}, {1}, {1, 1, 1}},
    {{2, 3, 1, 5, 1}, {3, 4, 1, 2}, {2, 3, 4, 5, 2}},
    {{1, 129}, {17, 1}, {17, 129}},
};

class BinaryTest : public OpTest {
 protected:
  static void judge(Arithmetic arithmetic, const Shapes& shapes, Form form, DType dtype = DType::kFloat32) {
    EXPECT_EQ(broadcast_shape(shapes.a, shapes.b), shapes.dst);
    const Shape a = shapes.a.with_front(3), b = shapes.b.with_front(3), dst = shapes.dst.with_front(3);
    OpInputs in{.src = {short_tensor(a, 1, dtype), short_tensor(b, 2, dtype, 0.5, 2.0)},
                .diff_dst = {short_values(dst.n_elements(), 3)}};
    const auto op =
        make_binary(config_of(dtype), {arithmetic, in_form(a, form, dtype), in_form(b, form, dtype)});
    ASSERT_EQ(op->info().dst[0].shape, dst);
    const OpOutputs out = run_op(*op, in);
    const reference::Binary ref{arithmetic, a, b, dst, in.src[0].values, in.src[1].values};
    const double tolerance = tolerance_of(dtype, kTolerance);
    expect_close(out.dst[0], ref.forward(), tolerance, "dst");
    Values diff_a, diff_b;
    ref.backward(in.diff_dst[0], diff_a, diff_b);
    expect_close(out.diff_src[0], diff_a, tolerance, "diff_a " + dst.str());
    expect_close(out.diff_src[1], diff_b, tolerance, "diff_b " + dst.str());
  }
};

TEST_F(BinaryTest, AgreesWithReference) {
  for (const DType dtype : kTypes)
    for (const Arithmetic arithmetic : kArithmetics)
      for (const Shapes& shapes : kShapes) judge(arithmetic, shapes, Form::kDense, dtype);
}

// Values that repeat over pixels, channels, rows and samples' columns, in layouts by channels.
TEST_F(BinaryTest, AgreesInEveryLayout) {
  const Shapes cases[] = {{{19, 4, 6}, {19, 4, 6}, {19, 4, 6}}, {{19, 4, 6}, {19, 1, 1}, {19, 4, 6}},
                          {{1, 4, 6}, {16, 4, 6}, {16, 4, 6}},  {{8, 4, 6}, {6}, {8, 4, 6}},
                          {{8, 4, 6}, {4, 1}, {8, 4, 6}},       {{3, 40, 50}, {1, 1, 1}, {3, 40, 50}},
                          {{8, 1, 64}, {1, 5, 64}, {8, 5, 64}}};
  for (const DType dtype : kTypes)
    for (const Form form : kForms)
      for (const Shapes& shapes : cases) judge(Arithmetic::kDivide, shapes, form, dtype);
}

// So many elements that a thread sums the copies of each.
TEST_F(BinaryTest, SumsSideBySide) {
  judge(Arithmetic::kMultiply, {{5, 2000}, {2000}, {5, 2000}}, Form::kDense);
}

TEST_F(BinaryTest, FiniteDifferences) {
  for (const Arithmetic arithmetic : kArithmetics)
    for (const bool swapped : {false, true}) {
      const Shape a{2, 3, 5}, b{2, 5};
      const TensorDesc first{swapped ? b : a}, second{swapped ? a : b};
      const OpInputs in{.src = {random_tensor(first.shape, 1), random_tensor(second.shape, 2, 1.0, 2.0)}};
      check_gradients(*make_binary(test_config(), {arithmetic, first, second}), in,
                      {.h = 1.0 / 128, .relative = 1e-3});
    }
}

TEST_F(BinaryTest, RowsOfPaddingAreZero) {
  const Shape shape{4, 2, 3};
  OpInputs in{.src = {random_tensor(shape, 1), {shape, Values(24, 0.0)}}, .diff_dst = {Values(24, 1.0)}};
  for (size_t i = 0; i < 12; ++i) in.src[1].values[i] = 2;  // the other rows divide by zero
  in.batch.n_valid = 2;
  const OpOutputs out = run_op(*make_binary(test_config(), {Arithmetic::kDivide, {shape}, {shape}}), in);
  for (const Values& values : {out.dst[0], out.diff_src[0], out.diff_src[1]})
    expect_close({values.begin() + 12, values.end()}, Values(12, 0.0), 0, "padding");
  expect_close({out.diff_src[0].begin(), out.diff_src[0].begin() + 12}, Values(12, 0.5), 0, "diff_src");
}

TEST_F(BinaryTest, BitsDoNotDependOnThreads) {
  const Shape a{6, 40, 300}, b{6, 40, 1};
  OpInputs in{.src = {random_tensor(a, 1), random_tensor(b, 2)}, .diff_dst = {random_values(72000, 3)}};
  const int before = compute_threads();
  std::vector<OpOutputs> outputs;
  for (const int threads : {1, 4}) {
    set_compute_threads(threads);
    outputs.push_back(run_op(*make_binary(test_config(), {Arithmetic::kMultiply, {a}, {b}}), in));
  }
  set_compute_threads(before);
  expect_close(outputs[1].diff_src[1], outputs[0].diff_src[1], 0, "diff_src");
}

TEST_F(BinaryTest, RefusesWhatDoesNotFit) {
  EXPECT_THROW(broadcast_shape({2, 3}, {2}), Error);
  EXPECT_THROW(make_binary(test_config(), {Arithmetic::kAdd, {Shape{2, 3}}, {Shape{3, 3}}}), Error);
  EXPECT_THROW(make_binary(test_config(), {Arithmetic::kAdd, {Shape{2, 3}, DType::kInt64}, {Shape{2, 3}}}),
               Error);
  count_comparisons(3);
}

struct MapCase {
  Map map;
  double parameter;
};
const MapCase kMaps[] = {{Map::kScale, -1.5},   {Map::kShift, 0.75}, {Map::kPower, 2},
                         {Map::kPower, 3},      {Map::kPower, -0.5}, {Map::kAbsolute, 1},
                         {Map::kSquareRoot, 1}, {Map::kLog, 1},      {Map::kExp, 1}};

#ifdef LOCKSTEP_TEST_CUDA
constexpr bool kKeepsAll = true;  // no layout pads
#else
constexpr bool kKeepsAll = false;
#endif

class MapTest : public OpTest {};

TEST_F(MapTest, AgreesWithReference) {
  for (const DType dtype : kTypes)
    for (const MapCase& c : kMaps)
      for (const Form form : kForms)
        for (const Shape& shape :
             {Shape{3, 1}, Shape{2, 17}, Shape{3, 21, 5}, Shape{2, 19, 3, 3}, Shape{2, 130, 20, 9}}) {
          const bool any_sign = c.map != Map::kSquareRoot && c.map != Map::kLog && c.parameter != -0.5;
          OpInputs in{.src = {short_tensor(shape, 1, dtype, any_sign ? -2 : 0.25, 2)},
                      .diff_dst = {short_values(shape.n_elements(), 2)}};
          const auto op = make_map(config_of(dtype), {in_form(shape, form, dtype), c.map, c.parameter});
          const OpOutputs out = run_op(*op, in);
          Values dst, diff_src;
          for (size_t i = 0; i < in.src[0].values.size(); ++i) {
            const double x = in.src[0].values[i];
            dst.push_back(reference::map_value(c.map, c.parameter, x));
            diff_src.push_back(in.diff_dst[0][i] * reference::map_slope(c.map, c.parameter, x));
          }
          expect_close(out.dst[0], dst, tolerance_of(dtype, kTolerance), "dst");
          // In bfloat16, √ and exp know their slope from the rounded dst: two roundings.
          expect_close(out.diff_src[0], diff_src, 2 * tolerance_of(dtype, kTolerance), "diff_src");
          const TensorDesc kept =
              in_form(shape, c.map == Map::kScale || kKeepsAll ? form : Form::kDense, dtype);
          if (c.map == Map::kScale || c.map == Map::kLog) {
            EXPECT_TRUE(op->info().dst[0].same_form(kept));
          }
        }
}

TEST_F(MapTest, FiniteDifferences) {
  for (const MapCase& c : kMaps) {
    const OpInputs in{.src = {random_tensor({2, 9}, 1, 0.5, 2.0)}};
    check_gradients(*make_map(test_config(), {{Shape{2, 9}}, c.map, c.parameter}), in,
                    {.h = 1.0 / 128, .relative = 1e-3});
  }
}

TEST_F(MapTest, RowsOfPaddingAreZero) {
  OpInputs in{.src = {{{3, 2}, {1, 1, 0, 0, -1, -1}}}, .diff_dst = {{1, 1, 0, 0, 0, 0}}};
  in.batch.n_valid = 1;
  const OpOutputs out = run_op(*make_map(test_config(), {{Shape{3, 2}}, Map::kLog}), in);
  expect_close(out.dst[0], {0, 0, 0, 0, 0, 0}, 0, "dst");
  expect_close(out.diff_src[0], {1, 1, 0, 0, 0, 0}, 0, "diff_src");
}

}  // namespace
}  // namespace lockstep
