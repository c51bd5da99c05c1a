// PReLU against the naive reference, PyTorch's numbers, differences and whole numbers, with one slope and
// one per channel, in dense and blocked layouts.
#include "kernels/prelu.h"

#include "kernels/error.h"
#include "tests/reference/prelu.h"
#include "tests/support/layouts.h"

namespace lockstep {
namespace {

class PreluTest : public OpTestWith<bool> {
 protected:
  void judge(const TensorDesc& desc, Values x, Values diff_dst, double tolerance) {
    const int64_t channels = desc.shape.rank() > 1 ? desc.shape[1] : 1;
    const Shape slope_shape{GetParam() ? channels : 1};
    const Values slopes = random_values(slope_shape[0], 3, 0.1, 0.5);
    const auto op = make_prelu(test_config(), {desc, GetParam()});
    const OpOutputs out = run_op(
        *op,
        {.src = {{desc.shape, x, desc.dtype}}, .params = {{slope_shape, slopes}}, .diff_dst = {diff_dst}});
    const int64_t inner = desc.n_elements() / desc.shape[0] / channels;
    const auto expected = reference::prelu(x, slopes, channels, inner, diff_dst);
    expect_close(out.dst[0], expected.dst, tolerance, "dst");
    expect_close(out.diff_src[0], expected.diff_src, tolerance, "diff_src");
    expect_close(out.diff_params[0], expected.diff_slopes, tolerance, "diff_slope");
  }
  void judge(const TensorDesc& desc) {
    const bool narrow = desc.dtype != DType::kFloat32;
    judge(desc, rounded_to_bfloat16(random_values(desc.n_elements(), 1)),
          rounded_to_bfloat16(random_values(desc.n_elements(), 2)), narrow ? 1e-2 : 1e-6);
  }
};
INSTANTIATE_TEST_SUITE_P(Slopes, PreluTest, testing::Bool(),
                         [](const auto& c) { return c.param ? "per_channel" : "one"; });

TEST_P(PreluTest, AgreesWithReference) {
  for (const DType dtype : kTypes)
    for (const Shape& shape : {Shape{1, 1}, Shape{3, 7}, Shape{5, 300}, Shape{2, 3, 5}, Shape{2, 3, 5, 7},
                               Shape{1, 17, 1, 1}, Shape{4, 5, 33, 31}, Shape{2, 2, 2, 3, 3}})
      judge({shape, dtype, nullptr});
  if (!GetParam()) judge({Shape{5}});
}

TEST_P(PreluTest, KeepsLayouts) {
  for (const DType dtype : kTypes)
    for (const Form form : kElementForms)
      for (const Shape& shape :
           {Shape{2, 19, 3, 5}, Shape{3, 32, 2, 2}, Shape{1, 5, 20, 20}, Shape{9, 70, 12, 11}})
        judge(in_form(shape, form, dtype));
}

TEST_P(PreluTest, SumsOfWholeNumbersAreExact) {
  const Shape shape{3, 5, 9, 9};
  const auto op = make_prelu(test_config(), {{shape}, GetParam()});
  const Values x = integer_values(shape.n_elements(), 1, -8, 8),
               g = integer_values(shape.n_elements(), 2, -8, 8);
  const Values slopes(GetParam() ? 5 : 1, 0.25);
  const OpOutputs out = run_op(*op, {.src = {{shape, x}},
                                     .params = {{Shape{static_cast<int64_t>(slopes.size())}, slopes}},
                                     .diff_dst = {g}});
  const auto expected = reference::prelu(x, slopes, 5, 81, g);
  expect_close(out.dst[0], expected.dst, 0, "dst");
  expect_close(out.diff_params[0], expected.diff_slopes, 0, "diff_slope");
}

TEST_P(PreluTest, FiniteDifferences) {
  const Shape shape{3, 4, 5};
  DenseTensor x = random_tensor(shape, 3, -2, 2);
  for (double& value : x.values) value += value > 0 ? 0.1 : -0.1;  // away from the kink
  const Shape slopes{GetParam() ? 4 : 1};
  check_gradients(*make_prelu(test_config(), {{shape}, GetParam()}),
                  {.src = {x}, .params = {random_tensor(slopes, 4, 0.1, 0.5)}});
}

class PreluOnce : public OpTest {};

// PyTorch 2.15, torch.nn.functional.prelu.
TEST_F(PreluOnce, AgreesWithPyTorch) {
  const OpOutputs out =
      run_op(*make_prelu(test_config(), {{Shape{2, 3}}}), {.src = {{Shape{2, 3}, {-1, 2, -0.5, 0, -3, 4}}},
                                                           .params = {{Shape{1}, {0.25}}},
                                                           .diff_dst = {{1, 2, 3, 4, 5, 6}}});
  expect_close(out.dst[0], {-0.25, 2, -0.125, 0, -0.75, 4}, 0, "dst");
  expect_close(out.diff_params[0], {-17.5}, 0, "diff_slope");
}

TEST_F(PreluOnce, BitsDoNotDependOnThreads) {
  const int before = compute_threads();
  for (const bool per_channel : {false, true}) {
    const Shape shape{9, 13, 40, 41}, slopes{per_channel ? 13 : 1};
    std::vector<OpOutputs> outputs;
    for (const int threads : {1, 2, 5}) {
      set_compute_threads(threads);
      outputs.push_back(run_op(*make_prelu(test_config(), {{shape}, per_channel}),
                               {.src = {random_tensor(shape, 1)},
                                .params = {random_tensor(slopes, 2)},
                                .diff_dst = {random_values(shape.n_elements(), 3)}}));
    }
    for (const OpOutputs& out : outputs)
      expect_close(out.diff_params[0], outputs[0].diff_params[0], 0, "diff_slope");
  }
  set_compute_threads(before);
}

TEST_F(PreluOnce, RefusesWhatHasNoMeaning) {
  EXPECT_THROW(make_prelu(test_config(), {{Shape{4}}, true}), Error);
  EXPECT_THROW(make_prelu(test_config(), {{Shape{4, 2}, DType::kInt32, nullptr}}), Error);
  count_comparisons(2);
}

}  // namespace
}  // namespace lockstep
