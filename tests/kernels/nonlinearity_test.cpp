// sign, leaky_relu, elu and gelu against the naive reference, PyTorch's numbers and differences, on
// dense and blocked tensors, in float32 and bfloat16.
#include "kernels/nonlinearity.h"

#include <cmath>

#include "kernels/error.h"
#include "tests/reference/nonlinearity.h"
#include "tests/support/layouts.h"

namespace lockstep {
namespace {

constexpr double kTolerance = 3e-6;  // a few roundings of float32; erf is good to 4e-7

struct Case {
  Nonlinearity function;
  float alpha;
  const char* name;
};
const Case kCases[] = {{Nonlinearity::kSign, 1.0f, "sign"},
                       {Nonlinearity::kSign, 0.0f, "sign_zero"},
                       {Nonlinearity::kLeakyRelu, 0.01f, "leaky_relu"},
                       {Nonlinearity::kLeakyRelu, 0.0f, "leaky_relu_flat"},
                       {Nonlinearity::kElu, 1.0f, "elu"},
                       {Nonlinearity::kElu, 1.5f, "elu_wide"},
                       {Nonlinearity::kGelu, 0.0f, "gelu"},
                       {Nonlinearity::kGeluTanh, 0.0f, "gelu_tanh"}};

class NonlinearityTest : public OpTestWith<Case> {
 protected:
  static std::unique_ptr<Op> make(const TensorDesc& desc) {
    return make_nonlinearity(test_config(), {desc, GetParam().function, GetParam().alpha});
  }

  void judge(const TensorDesc& desc, double reach, double tolerance) {
    const auto [function, alpha, name] = GetParam();
    Values x = random_values(desc.n_elements(), 1, -reach, reach);
    if (!x.empty()) x[0] = 0;
    if (desc.dtype != DType::kFloat32) x = rounded_to_bfloat16(x);
    const Values diff_dst = rounded_to_bfloat16(random_values(desc.n_elements(), 2));
    const auto op = make(desc);
    const OpOutputs out = run_op(*op, {.src = {{desc.shape, x, desc.dtype}}, .diff_dst = {diff_dst}});
    Values dst(x.size()), diff_src(x.size());
    for (size_t i = 0; i < x.size(); ++i) {
      dst[i] = reference::nonlinear(function, alpha, x[i]);
      diff_src[i] = diff_dst[i] * reference::nonlinear_derivative(function, alpha, x[i]);
    }
    expect_close(out.dst[0], dst, tolerance, "dst");
    expect_close(out.diff_src[0], diff_src, tolerance, "diff_src");
  }
};
INSTANTIATE_TEST_SUITE_P(All, NonlinearityTest, testing::ValuesIn(kCases),
                         [](const auto& c) { return c.param.name; });

TEST_P(NonlinearityTest, AgreesWithReference) {
  for (const Shape& shape : {Shape{1}, Shape{}, Shape{3}, Shape{8}, Shape{17, 5}, Shape{2, 3, 5, 7},
                             Shape{2, 2, 2, 2, 2, 2, 3}, Shape{33, 1000}})
    for (const double reach : {1e-3, 1.0, 5.0}) {
      SCOPED_TRACE(shape.str());
      judge({shape}, reach, kTolerance);
    }
  judge({Shape{33, 1000}}, 100, kTolerance);
}

// Channels that do not fill the last block: the padding must stay zero, which run_op sees as equal
// bits of a second run on other memory.
TEST_P(NonlinearityTest, KeepsLayouts) {
  for (const Form form : kElementForms)
    for (const DType dtype : kTypes) {
      const TensorDesc desc = in_form(Shape{2, 19, 3, 5}, form, dtype);
      if (GetParam().function != Nonlinearity::kSign) {
        EXPECT_TRUE(make(desc)->info().dst[0].same_layout(desc));
      }
      judge(desc, 3, dtype == DType::kFloat32 ? kTolerance : 1e-2);
    }
}

// bfloat16 has 8 bits; elu's derivative is that of the rounded dst.
TEST_P(NonlinearityTest, AgreesInShortTypes) {
  for (const DType dtype : kTypes) {
    if (dtype == DType::kFloat32) continue;
    for (const Shape& shape : {Shape{1}, Shape{7}, Shape{17, 5}, Shape{33, 1000}})
      judge({shape, dtype, nullptr}, 4, 1e-2);
  }
}

TEST_P(NonlinearityTest, FiniteDifferences) {
  if (GetParam().function == Nonlinearity::kSign) GTEST_SKIP() << "its gradient is 0 by definition";
  DenseTensor x = random_tensor(Shape{4, 9}, 3, -2, 2);
  for (double& value : x.values) value += value > 0 ? 0.1 : -0.1;  // away from the kink
  check_gradients(*make({Shape{4, 9}}), {.src = {x}});
}

TEST_P(NonlinearityTest, KeepsNan) {
  for (const DType dtype : kTypes) {
    const auto op = make({Shape{19}, dtype, nullptr});
    const OpOutputs out =
        run_op(*op, {.src = {{Shape{19}, Values(19, std::nan("")), dtype}}, .run_backward = false});
    for (const double y : out.dst[0]) EXPECT_TRUE(std::isnan(y));
    count_comparisons(19);
  }
}

class NonlinearityOnce : public OpTest {};

// PyTorch 2.15, float32: torch.nn.functional on these values, and the gradient of the sum.
TEST_F(NonlinearityOnce, AgreesWithPyTorch) {
  const Values x{-7, -2.5, -1, -0.1, 0, 0.1, 1, 2.5, 7};
  const auto judge = [&](Nonlinearity function, float alpha, const Values& dst, const Values& diff_src) {
    const auto op = make_nonlinearity(test_config(), {{Shape{9}}, function, alpha});
    const OpOutputs out = run_op(*op, {.src = {{Shape{9}, x}}, .diff_dst = {Values(9, 1.0)}});
    expect_close(out.dst[0], dst, 2e-7, "dst");
    expect_close(out.diff_src[0], diff_src, 2e-7, "diff_src");
  };
  judge(Nonlinearity::kLeakyRelu, 0.01f, {-0.07, -0.025, -0.01, -0.001, 0, 0.1, 1, 2.5, 7},
        {0.01, 0.01, 0.01, 0.01, 0.01, 1, 1, 1, 1});
  judge(Nonlinearity::kElu, 1.5f, {-1.49863219, -1.37687254, -0.948180795, -0.142743886, 0, 0.1, 1, 2.5, 7},
        {0.00136782299, 0.123127498, 0.551819205, 1.35725617, 1.5, 1, 1, 1, 1});
  judge(Nonlinearity::kGelu, 0,
        {0, -0.0155241787, -0.158655286, -0.0460172109, 0, 0.0539827906, 0.841344714, 2.48447585, 7},
        {0, -0.0376110673, -0.0833154321, 0.420476824, 0.5, 0.579523146, 1.08331537, 1.03761101, 1});
  judge(Nonlinearity::kGeluTanh, 0,
        {0, -0.0150842965, -0.158807993, -0.0460172482, 0, 0.0539827533, 0.841192007, 2.48491573, 7},
        {0, -0.037951652, -0.0829640925, 0.420478195, 0.5, 0.579521775, 1.08296406, 1.03795171, 1});
}

TEST_F(NonlinearityOnce, SignIsExact) {
  const Values x{-3, -0.0, 0, 1e-30, 5};
  for (const float at_zero : {1.0f, 0.0f}) {
    const auto op = make_nonlinearity(test_config(), {{Shape{5}}, Nonlinearity::kSign, at_zero});
    const OpOutputs out = run_op(*op, {.src = {{Shape{5}, x}}, .diff_dst = {{1, 2, 3, 4, 5}}});
    expect_close(out.dst[0], {-1, at_zero, at_zero, 1, 1}, 0, "dst");
    expect_close(out.diff_src[0], {0, 0, 0, 0, 0}, 0, "diff_src");
  }
}

TEST_F(NonlinearityOnce, RefusesWhatHasNoMeaning) {
  const auto refuses = [](const NonlinearityDesc& desc) {
    EXPECT_THROW(make_nonlinearity(test_config(), desc), Error);
    count_comparisons(1);
  };
  refuses({{Shape{4}}, Nonlinearity::kLeakyRelu, -0.1f});
  refuses({{Shape{4}}, Nonlinearity::kElu, 0});
  refuses({{Shape{4}, DType::kInt32, nullptr}, Nonlinearity::kGelu});
}

}  // namespace
}  // namespace lockstep
