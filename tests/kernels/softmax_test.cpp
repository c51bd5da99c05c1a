// Softmax against the naive reference, the numbers of the course and of PyTorch, and differences.
#include "kernels/softmax.h"

#include "kernels/error.h"
#include "tests/reference/softmax.h"
#include "tests/support/layouts.h"

namespace lockstep {
namespace {

class SoftmaxTest : public OpTest {
 protected:
  void judge(const TensorDesc& desc, double spread, double tolerance) {
    const int64_t k = desc.shape[desc.shape.rank() - 1];
    const Values x = rounded_to_bfloat16(random_values(desc.n_elements(), 1, -spread, spread));
    const Values g = rounded_to_bfloat16(random_values(desc.n_elements(), 2));
    const OpOutputs out =
        run_op(*make_softmax(test_config(), desc), {.src = {{desc.shape, x, desc.dtype}}, .diff_dst = {g}});
    expect_close(out.dst[0], reference::softmax(x, k), tolerance, "dst");
    if (k > 1) expect_close(out.diff_src[0], reference::softmax_backward(x, g, k), tolerance, "diff_src");
  }
};

TEST_F(SoftmaxTest, AgreesWithReference) {
  for (const Shape& shape :
       {Shape{1, 1}, Shape{1, 2}, Shape{3, 15}, Shape{3, 16}, Shape{2, 17}, Shape{2, 3, 33},
        Shape{2, 3, 5, 100}, Shape{40, 1000}, Shape{3, 1025}, Shape{2, 5000}})
    for (const double spread : {1.0, 5.0}) {
      SCOPED_TRACE(shape.str());
      for (const DType dtype : kTypes)  // bfloat16: 8 bits, and backward reads rounded dst
        judge({shape, dtype, nullptr}, spread, dtype == DType::kFloat32 ? 2e-6 : 2e-2);
    }
}

TEST_F(SoftmaxTest, TakesEveryLayout) {
  for (const Form form : kForms) judge(in_form(Shape{2, 5, 3, 7}, form), 2, 2e-6);
}

TEST_F(SoftmaxTest, LargeValuesAreExact) {
  const OpOutputs out = run_op(*make_softmax(test_config(), {Shape{1, 3}}),
                               {.src = {{Shape{1, 3}, {1, 1000, 2}}}, .diff_dst = {{1, 2, 3}}});
  expect_close(out.dst[0], {0, 1, 0}, 0, "dst");
  expect_close(out.diff_src[0], {0, 0, 0}, 0, "diff_src");
}

// PyTorch 2.15, torch.nn.functional.softmax, float32.
TEST_F(SoftmaxTest, AgreesWithPyTorch) {
  const OpOutputs out =
      run_op(*make_softmax(test_config(), {Shape{2, 3}}),
             {.src = {{Shape{2, 3}, {1, -1000, 2, 0.1, 0.2, 0.3}}}, .diff_dst = {{1, 2, 3, 3, 1, -1}}});
  expect_close(out.dst[0], {0.268941432, 0, 0.731058598, 0.300609589, 0.332224995, 0.367165387}, 2e-7, "dst");
  expect_close(out.diff_src[0], {-0.393223882, 0, 0.393223852, 0.641233861, 0.044223018, -0.685456753}, 3e-7,
               "diff_src");
}

TEST_F(SoftmaxTest, FiniteDifferences) {
  check_gradients(*make_softmax(test_config(), {Shape{3, 2, 9}}),
                  {.src = {random_tensor(Shape{3, 2, 9}, 3, -2, 2)}});
}

TEST_F(SoftmaxTest, RefusesWhatHasNoMeaning) {
  EXPECT_THROW(make_softmax(test_config(), {Shape{4}}), Error);
  EXPECT_THROW(make_softmax(test_config(), {Shape{4, 2}, DType::kInt32, nullptr}), Error);
  count_comparisons(2);
}

}  // namespace
}  // namespace lockstep
