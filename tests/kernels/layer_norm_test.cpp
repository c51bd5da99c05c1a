// Layer normalisation against the naive float64 reference, finite differences and PyTorch's numbers.
#include "kernels/layer_norm.h"

#include <cmath>

#include "kernels/error.h"
#include "tests/reference/layer_norm.h"
#include "tests/support/layouts.h"

namespace lockstep {
namespace {

// float32 sums of up to some thousand elements, through an inverse root.
constexpr double kFloat32 = 1e-5;

struct Case {
  std::string name;
  Shape shape;
  int axes = 1;
};
void PrintTo(const Case& c, std::ostream* out) { *out << c.name; }

std::vector<Case> all_cases() {
  std::vector<Case> cases;
  for (const int64_t n : {2, 7, 8, 31, 32, 33, 65, 768, 1025, 2100})
    cases.push_back({"row" + std::to_string(n), {5, n}});
  cases.push_back({"tokens", {3, 7, 24}});
  cases.push_back({"image", {3, 4, 5, 6}, 3});
  cases.push_back({"columns", {3, 4, 5, 6}, 2});
  cases.push_back({"many_rows", {40, 200, 13}});
  return cases;
}

class LayerNormTest : public OpTestWith<Case> {};

TEST_P(LayerNormTest, AgreesWithReference) {
  for (const DType dtype : kTypes)
    for (const bool affine : {true, false})
      for (const int64_t padding : {0, 1}) {
        LayerNormDesc desc{.src = {GetParam().shape, dtype, nullptr}, .axes = GetParam().axes};
        desc.affine = affine;
        desc.epsilon = affine ? 1e-5 : 0.1;
        Shape normalized(std::span<const int64_t>(desc.src.shape.end() - desc.axes, desc.src.shape.end()));
        const int64_t n = normalized.n_elements(), total = desc.src.n_elements();
        const int64_t n_valid = desc.src.shape[0] - padding;
        const auto values_of = [&](uint64_t seed, double low, double high) {
          return dtype == DType::kFloat32 ? random_values(total, seed, low, high)
                                          : short_values(total, seed, low, high);
        };
        OpInputs in;
        Values src = values_of(1, -1, 3);
        for (int64_t i = total / desc.src.shape[0] * n_valid; i < total; ++i) src[i] = std::nan("");
        in.src = {{desc.src.shape, src, dtype}};
        in.diff_dst = {values_of(2, -1, 1)};
        in.batch.n_valid = n_valid;
        reference::LayerNorm ref{total / n,     n,   total / n / desc.src.shape[0] * n_valid,
                                 desc.epsilon,  src, Values(n, 1.0),
                                 Values(n, 0.0)};
        if (affine) {
          ref.weight = random_values(n, 3);
          ref.bias = random_values(n, 4);
          in.params = {{normalized, ref.weight}, {normalized, ref.bias}};
        }
        const OpOutputs out = run_op(*make_layer_norm(test_config(), desc), in);
        const auto g = ref.backward(in.diff_dst[0]);
        const double tolerance = tolerance_of(dtype, kFloat32);
        expect_close(out.dst[0], ref.forward(), tolerance, "dst");
        expect_close(out.diff_src[0], g.src, tolerance, "diff_src");
        if (!affine) continue;
        expect_close(out.diff_params[0], g.weight, kFloat32, "diff_weight");
        expect_close(out.diff_params[1], g.bias, kFloat32, "diff_bias");
      }
}

INSTANTIATE_TEST_SUITE_P(Sweep, LayerNormTest, testing::ValuesIn(all_cases()),
                         [](const auto& param_info) { return param_info.param.name; });

class LayerNormOnce : public OpTest {};

TEST_F(LayerNormOnce, AgreesWithPyTorch) {
  OpInputs in;
  in.src = {{{2, 3}, {1, 2, -3, 0.25, -1.5, 4}}};
  in.params = {{{3}, {1.5, -0.5, 2}}, {{3}, {0.25, 0.5, -1}}};
  in.diff_dst = {{1, -2, 0.5, 3, -1, 0.25}};
  const OpOutputs out = run_op(*make_layer_norm(test_config(), {.src = {Shape{2, 3}}}), in);
  expect_close(out.dst[0], {0.94436431, 0.03709045, -3.77745724, -0.18585919, 1.02666318, 1.6877985}, 1e-6,
               "dst");
  expect_close(out.diff_src[0], {0.13777071, -0.11021653, -0.02755427, 1.11322355, -0.75901568, -0.35420793},
               1e-6, "diff_src");
  expect_close(out.diff_params[0], {-0.40880883, -0.79831183, -0.3583895}, 1e-6, "diff_weight");
  expect_close(out.diff_params[1], {4.0, -3.0, 0.75}, 1e-6, "diff_bias");
}

TEST_F(LayerNormOnce, FiniteDifferences) {
  OpInputs in;
  in.src = {random_tensor({3, 4, 5}, 1, -2, 2)};
  in.params = {random_tensor({4, 5}, 2), random_tensor({4, 5}, 3)};
  check_gradients(*make_layer_norm(test_config(), {.src = {Shape{3, 4, 5}}, .axes = 2}), in);
}

TEST_F(LayerNormOnce, KeepsTheDigitsOfRowsFarFromZero) {
  reference::LayerNorm ref{
      3, 1500, 3, 1e-5, random_values(4500, 1, 9998, 10002), Values(1500, 1.0), Values(1500, 0.0)};
  OpInputs in;
  in.src = {{{3, 1500}, ref.src}};
  in.diff_dst = {random_values(4500, 2)};
  const auto op = make_layer_norm(test_config(), {.src = {Shape{3, 1500}}, .affine = false});
  const OpOutputs out = run_op(*op, in);
  expect_close(out.dst[0], ref.forward(), kFloat32, "dst");
  expect_close(out.diff_src[0], ref.backward(in.diff_dst[0]).src, kFloat32, "diff_src");
}

#ifndef LOCKSTEP_TEST_CUDA
TEST_F(LayerNormOnce, BitsDoNotDependOnThreads) {
  const int before = compute_threads();
  OpInputs in;
  in.src = {random_tensor({600, 300}, 1)};
  in.params = {random_tensor({300}, 2), random_tensor({300}, 3)};
  in.diff_dst = {random_values(180000, 4)};
  std::vector<OpOutputs> outputs;
  for (const int threads : {1, 2, 5}) {
    set_compute_threads(threads);
    outputs.push_back(run_op(*make_layer_norm(test_config(), {.src = {Shape{600, 300}}}), in));
  }
  set_compute_threads(before);
  for (const OpOutputs& out : outputs) {
    expect_close(out.dst[0], outputs[0].dst[0], 0, "dst");
    expect_close(out.diff_src[0], outputs[0].diff_src[0], 0, "diff_src");
    expect_close(out.diff_params[0], outputs[0].diff_params[0], 0, "diff_weight");
    expect_close(out.diff_params[1], outputs[0].diff_params[1], 0, "diff_bias");
  }
}
#endif

TEST_F(LayerNormOnce, Evaluation) {
  OpConfig config = test_config();
  config.training = false;
  OpInputs in;
  in.src = {random_tensor({4, 9}, 1)};
  in.params = {random_tensor({9}, 2), random_tensor({9}, 3)};
  in.run_backward = false;
  const auto op = make_layer_norm(config, {.src = {Shape{4, 9}}});
  EXPECT_EQ(op->info().workspace_bytes, 0);
  const reference::LayerNorm ref{4, 9, 4, 1e-5, in.src[0].values, in.params[0].values, in.params[1].values};
  expect_close(run_op(*op, in).dst[0], ref.forward(), kFloat32, "dst");
}

TEST_F(LayerNormOnce, RefusesWhatHasNoMeaning) {
  const auto refuses = [](const LayerNormDesc& desc) {
    EXPECT_THROW(make_layer_norm(test_config(), desc), Error);
    count_comparisons(1);
  };
  refuses({.src = {Shape{4, 3}}, .axes = 0});
  refuses({.src = {Shape{4, 3}}, .axes = 2});
  refuses({.src = {Shape{4, 3}}, .epsilon = 0});
  refuses({.src = {Shape{4, 3}, DType::kInt32, nullptr}});
}

}  // namespace
}  // namespace lockstep
