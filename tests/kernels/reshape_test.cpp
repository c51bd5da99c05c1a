// Reshape is a view; reorder moves elements between layouts and back without changing one.
#include "kernels/reshape.h"

#include "kernels/conv2d.h"
#include "kernels/error.h"
#include "tests/support/op_test.h"

namespace lockstep {
namespace {

TEST(Reshape, IsAView) {
  const auto op = make_reshape(test_config(), {Shape{2, 3, 4}}, Shape{2, 12});
  EXPECT_TRUE(op->info().aliases_src);
  EXPECT_EQ(op->info().dst[0].shape, (Shape{2, 12}));
  EXPECT_EQ(op->info().src[0].layout, nullptr);
  EXPECT_THROW(make_reshape(test_config(), {Shape{2, 3}}, Shape{7}), Error);
}

class Reorder : public OpTest {
 protected:
  void judge(const TensorDesc& src, const TensorDesc& dst) {
    const auto op = make_reorder(test_config(), src, dst);
    OpInputs in{.src = {random_tensor(src.shape, 1)}, .diff_dst = {random_values(src.n_elements(), 2)}};
    const OpOutputs out = run_op(*op, in);
    expect_close(out.dst[0], in.src[0].values, 0, "dst");
    expect_close(out.diff_src[0], in.diff_dst[0], 0, "diff_src");
  }
};

TEST_F(Reorder, ThereAndBack) {
  for (int64_t channels : {16, 20, 37}) {
    const auto conv =
        make_conv2d(test_config(), {.src = {Shape{3, 20, 6, 5}}, .out_channels = channels, .kernel = {1, 1}});
    const TensorDesc blocked = conv->info().dst[0];
    judge(blocked, blocked.dense());
    judge(blocked.dense(), blocked);
    judge(blocked, blocked);
  }
  judge({Shape{5, 7}}, {Shape{5, 7}});
}

TEST(ReorderErrors, ShapesMustAgree) {
  EXPECT_THROW(make_reorder(test_config(), {Shape{2, 3}}, {Shape{3, 2}}), Error);
  EXPECT_THROW(make_reorder(test_config(), {Shape{2, 3}}, {Shape{2, 3}, DType::kInt32}), Error);
}

}  // namespace
}  // namespace lockstep
