// Sums of 2 to 8 values in every layout and type, with and without a limit.
#include "kernels/sum.h"

#include "kernels/error.h"
#include "tests/support/layouts.h"

namespace lockstep {
namespace {

struct Expected {
  Values dst, diff_src;
};
Expected expected(const OpInputs& in, Activation activation) {
  Expected result;
  for (size_t i = 0; i < in.src[0].values.size(); ++i) {
    double sum = 0;
    for (const DenseTensor& src : in.src) sum += src.values[i];
    const bool is_low = activation != Activation::kNone && sum <= 0;
    const bool is_high = activation == Activation::kRelu6 && sum >= 6;
    result.dst.push_back(is_low ? 0 : is_high ? 6 : sum);
    result.diff_src.push_back(is_low || is_high ? 0 : in.diff_dst[0][i]);
  }
  return result;
}

class SumTest : public OpTest {
 protected:
  /// forms[k]: of source k, the last one of all others.
  void judge(const Shape& shape, size_t count, Activation activation, DType dtype,
             const std::vector<Form>& forms) {
    SumDesc desc{.activation = activation};
    OpInputs in;
    for (size_t k = 0; k < count; ++k) {
      desc.src.push_back(in_form(shape, forms[std::min(k, forms.size() - 1)], dtype));
      in.src.push_back({shape, integer_values(shape.n_elements(), k, -9, 9), dtype});  // sums are exact
    }
    in.diff_dst = {short_values(shape.n_elements(), 77)};
    const auto op = make_sum(config_of(dtype), desc);
    const OpOutputs out = run_op(*op, in);
    const Expected judged = expected(in, activation);
    expect_close(out.dst[0], judged.dst, 0, "dst");
    for (const Values& diff_src : out.diff_src) expect_close(diff_src, judged.diff_src, 0, "diff_src");
  }
};

TEST_F(SumTest, EveryLengthCountAndType) {
  for (const DType dtype : kTypes)
    for (const Activation activation : {Activation::kNone, Activation::kRelu, Activation::kRelu6}) {
      for (const int64_t n : {1, 3, 7, 8, 9, 16, 17, 31, 33, 2047, 2048, 2049, 40001})
        judge(Shape{1, n}, 2, activation, dtype, {Form::kDense});
      for (size_t count = 3; count <= kMaxSummands; ++count)
        judge(Shape{2, 1033}, count, activation, dtype, {Form::kDense});
    }
}

TEST_F(SumTest, EveryLayoutWithItsPadding) {
  for (const DType dtype : kTypes)
    for (const Form form : kForms)
      for (const int64_t channels : {1, 16, 21}) {
        judge(Shape{3, channels, 5, 7}, 2, Activation::kRelu6, dtype, {form});
        judge(Shape{3, channels, 35}, 3, Activation::kNone, dtype, {form});
      }
}

TEST_F(SumTest, TakesTheLayoutOfTheFirstThatHasOne) {
  const Shape shape{2, 21, 4, 3};
  SumDesc desc;
  for (const Form form : kForms) desc.src.push_back(in_form(shape, form));
  const auto op = make_sum(test_config(), desc);
  for (const TensorDesc& src : op->info().src) EXPECT_TRUE(src.same_form(desc.src[1]));
  EXPECT_TRUE(op->info().dst[0].same_form(desc.src[1]));
  judge(shape, desc.src.size(), Activation::kRelu, DType::kFloat32, {std::begin(kForms), std::end(kForms)});
}

TEST_F(SumTest, GradientsNobodyWantsAreNotWritten) {
  const TensorDesc src{Shape{2, 100}};
  OpInputs in{.src = {random_tensor(src.shape, 1), random_tensor(src.shape, 2)}, .wants_diff_src = false};
  in.diff_dst = {random_values(200, 3)};
  const OpOutputs out = run_op(*make_sum(test_config(), {{src, src}, Activation::kRelu}), in);
  EXPECT_TRUE(out.diff_src[0].empty());
  expect_close(out.dst[0], expected(in, Activation::kRelu).dst, 1e-6, "dst");
}

TEST_F(SumTest, FiniteDifferences) {
  const TensorDesc src{Shape{2, 37}};
  OpInputs in;
  for (uint64_t k = 0; k < 3; ++k) in.src.push_back({src.shape, integer_values(74, k, -9, 9)});
  for (double& v : in.src[0].values) v += 0.5;  // no sum near 0
  check_gradients(*make_sum(test_config(), {{src, src, src}, Activation::kRelu}), in,
                  {.h = 1.0 / 64, .relative = 1e-4});
}

TEST_F(SumTest, BitsDoNotDependOnThreads) {
  const TensorDesc src{Shape{4, 20000}};
  OpInputs in;
  for (uint64_t k = 0; k < 4; ++k) in.src.push_back(random_tensor(src.shape, k));
  in.diff_dst = {random_values(80000, 9)};
  const int before = compute_threads();
  std::vector<OpOutputs> outputs;
  for (const int threads : {1, 3}) {
    set_compute_threads(threads);
    outputs.push_back(run_op(*make_sum(test_config(), {{src, src, src, src}, Activation::kRelu}), in));
  }
  set_compute_threads(before);
  expect_close(outputs[1].dst[0], outputs[0].dst[0], 0, "dst");
  expect_close(outputs[1].diff_src[3], outputs[0].diff_src[3], 0, "diff_src");
}

TEST_F(SumTest, RefusesWhatItCannotAdd) {
  const TensorDesc src{Shape{2, 4}};
  EXPECT_THROW(make_sum(test_config(), {{src}}), Error);
  EXPECT_THROW(make_sum(test_config(), {std::vector(9, src)}), Error);
  EXPECT_THROW(make_sum(test_config(), {{src, {Shape{4, 2}}}}), Error);
  EXPECT_THROW(make_sum(test_config(), {{src, {src.shape, DType::kInt64, nullptr}}}), Error);
  EXPECT_THROW(make_sum(test_config(), {{src, src}, Activation::kTanh}), Error);
  count_comparisons(5);
}

}  // namespace
}  // namespace lockstep
