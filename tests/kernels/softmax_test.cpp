// Softmax against the naive reference, the numbers of the course and of PyTorch, and differences.
#include "kernels/softmax.h"

#include "kernels/cpu/onednn.h"
#include "kernels/error.h"
#include "tests/reference/softmax.h"
#include "tests/support/op_test.h"

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
  for (const Shape& shape : {Shape{1, 1}, Shape{1, 2}, Shape{3, 15}, Shape{3, 16}, Shape{2, 17},
                             Shape{2, 3, 33}, Shape{2, 3, 5, 100}, Shape{40, 1000}})
    for (const double spread : {1.0, 5.0}) {
      SCOPED_TRACE(shape.str());
      judge({shape}, spread, 2e-6);
      judge({shape, DType::kBFloat16, nullptr}, spread, 2e-2);  // 8 bits, and backward reads rounded dst
    }
}

TEST_F(SoftmaxTest, TakesABlockedSource) {
  using Tag = dnnl::memory::format_tag;
  const Shape shape{2, 5, 3, 7};
  judge(cpu::from_onednn({{2, 5, 3, 7}, dnnl::memory::data_type::f32, Tag::nChw8c}, shape, DType::kFloat32),
        2, 2e-6);
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
