// Activations as ops of their own, on dense and on blocked tensors.
#include "kernels/activation.h"

#include <cmath>

#include "tests/reference/activation.h"
#include "tests/support/layouts.h"

namespace lockstep {
namespace {

// The derivative comes from dst, whose rounding grows by 1 / (1 - dst^2): x stays within 2.5.
constexpr double kTolerance = 1e-5;  // oneDNN's tanh and logistic are good to a few units in the last place

class ActivationTest : public OpTestWith<Activation> {
 protected:
  void judge(const TensorDesc& desc, double tolerance = kTolerance) {
    const auto op = make_activation(test_config(), {.src = desc, .activation = GetParam()});
    const double reach = GetParam() == Activation::kRelu6 ? 12 : 2.5;
    Values x = random_values(desc.n_elements(), 1, -reach, reach);
    if (desc.dtype != DType::kFloat32) x = rounded_to_bfloat16(x);  // exact in the shorter types
    const Values diff_dst = rounded_to_bfloat16(random_values(desc.n_elements(), 2));
    const OpOutputs out = run_op(*op, {.src = {{desc.shape, x, desc.dtype}}, .diff_dst = {diff_dst}});
    expect_close(out.dst[0], reference::activation_forward(GetParam(), x), tolerance, "dst");
    expect_close(out.diff_src[0], reference::activation_backward(GetParam(), x, diff_dst), tolerance,
                 "diff_src");
  }
};

TEST_P(ActivationTest, AgreesWithReference) {
  for (const Shape& shape : {Shape{1}, Shape{}, Shape{3}, Shape{17, 5}, Shape{2, 3, 5, 7},
                             Shape{2, 2, 2, 2, 2, 2, 3}, Shape{33, 1000}}) {
    SCOPED_TRACE(shape.str());
    judge({shape});
  }
}

// Channels that do not fill the last block: the padding must stay zero, which run_op sees as equal
// bits of a second run on other memory.
TEST_P(ActivationTest, KeepsLayouts) {
  for (const Form form : kForms) judge(in_form(Shape{2, 37, 4, 4}, form));
}

// bfloat16 has 8 bits, float16 11; the derivative is that of the rounded dst, whose error tanh doubles.
TEST_P(ActivationTest, AgreesInShortTypes) {
  for (const DType dtype : kTypes) {
    if (dtype == DType::kFloat32) continue;
    for (const Shape& shape : {Shape{1}, Shape{3}, Shape{17, 5}, Shape{2, 3, 5, 7}, Shape{33, 1000}})
      judge({shape, dtype, nullptr}, 2e-2);
    for (const Form form : kForms) judge(in_form(Shape{2, 20, 3, 5}, form, dtype), 2e-2);
  }
}

TEST_P(ActivationTest, KeepsNan) {
  for (const DType dtype : kTypes) {
    const auto op = make_activation(test_config(), {{Shape{19}, dtype, nullptr}, GetParam()});
    const OpOutputs out =
        run_op(*op, {.src = {{Shape{19}, Values(19, std::nan("")), dtype}}, .run_backward = false});
    for (const double y : out.dst[0]) EXPECT_TRUE(std::isnan(y));
    count_comparisons(19);
  }
}

TEST_P(ActivationTest, FiniteDifferences) {
  const auto op = make_activation(test_config(), {.src = {Shape{4, 9}}, .activation = GetParam()});
  OpInputs in{.src = {random_tensor(Shape{4, 9}, 3, -2, 2)}};
  for (double& x : in.src[0].values) x += x > 0 ? 0.1 : -0.1;  // away from relu's kink
  check_gradients(*op, in);
}

INSTANTIATE_TEST_SUITE_P(All, ActivationTest,
                         testing::Values(Activation::kNone, Activation::kRelu, Activation::kTanh,
                                         Activation::kSigmoid, Activation::kRelu6),
                         [](const auto& param_info) { return std::string(name_of(param_info.param)); });

}  // namespace
}  // namespace lockstep
