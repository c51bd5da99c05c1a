// Activations as ops of their own, on dense and on blocked tensors.
#include "kernels/activation.h"

#include "kernels/conv2d.h"
#include "tests/reference/activation.h"
#include "tests/support/op_test.h"

namespace lockstep {
namespace {

// The derivative comes from dst, whose rounding grows by 1 / (1 - dst^2): x stays within 2.5.
constexpr double kTolerance = 1e-5;  // oneDNN's tanh and logistic are good to a few units in the last place

class ActivationTest : public OpTestWith<Activation> {
 protected:
  void judge(const TensorDesc& desc) {
    const auto op = make_activation(cpu_config(), {.src = desc, .activation = GetParam()});
    OpInputs in{.src = {random_tensor(desc.shape, 1, -2.5, 2.5)},
                .diff_dst = {random_values(desc.n_elements(), 2)}};
    const OpOutputs out = run_op(*op, in);
    const auto& x = in.src[0].values;
    expect_close(out.dst[0], reference::activation_forward(GetParam(), x), kTolerance, "dst");
    expect_close(out.diff_src[0], reference::activation_backward(GetParam(), x, in.diff_dst[0]), kTolerance,
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

// A convolution's dst with channels that do not fill the last block: the padding must stay zero,
// which run_op sees as equal bits of a second run on other memory.
TEST_P(ActivationTest, KeepsBlockedLayouts) {
  const auto conv =
      make_conv2d(cpu_config(), {.src = {Shape{2, 20, 6, 6}}, .out_channels = 37, .kernel = {3, 3}});
  judge(conv->info().dst[0]);
}

TEST_P(ActivationTest, FiniteDifferences) {
  const auto op = make_activation(cpu_config(), {.src = {Shape{4, 9}}, .activation = GetParam()});
  OpInputs in{.src = {random_tensor(Shape{4, 9}, 3, -2, 2)}};
  for (double& x : in.src[0].values) x += x > 0 ? 0.1 : -0.1;  // away from relu's kink
  check_gradients(*op, in);
}

INSTANTIATE_TEST_SUITE_P(All, ActivationTest,
                         testing::Values(Activation::kNone, Activation::kRelu, Activation::kTanh,
                                         Activation::kSigmoid),
                         [](const auto& param_info) { return std::string(name_of(param_info.param)); });

}  // namespace
}  // namespace lockstep
