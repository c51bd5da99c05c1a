// Local response normalisation against the naive float64 reference in every layout, finite
// differences and PyTorch's numbers.
#include "kernels/local_response_norm.h"

#include "kernels/error.h"
#include "tests/reference/local_response_norm.h"
#include "tests/support/layouts.h"

namespace lockstep {
namespace {

constexpr double kFloat32 = 2e-6;  // sums of a window, two roots or a power

struct Case {
  std::string name;
  Shape shape;
  Form form = Form::kDense;
};
void PrintTo(const Case& c, std::ostream* out) { *out << c.name; }

std::vector<Case> all_cases() {
  std::vector<Case> cases{{"one_channel", {5, 1}},    {"rows", {3, 11}},
                          {"sequence", {2, 5, 37}},   {"image", {2, 7, 5, 9}},
                          {"row_16", {2, 3, 1, 16}},  {"few_channels", {2, 2, 3, 3}},
                          {"volume", {2, 6, 2, 3, 4}}};
  for (const Form form : kForms)
    for (const int64_t c : {3, 16, 21})
      cases.push_back(
          {"form" + std::to_string(static_cast<int>(form)) + "_c" + std::to_string(c), {2, c, 5, 8}, form});
  return cases;
}

class LocalResponseNormTest : public OpTestWith<Case> {};

TEST_P(LocalResponseNormTest, AgreesWithReference) {
  const Shape& shape = GetParam().shape;
  for (const DType dtype : kTypes)
    for (const int64_t size : {1, 4, 5, 40})
      for (const double beta : {0.75, 0.5, 1.3}) {
        const LocalResponseNormDesc desc{.src = in_form(shape, GetParam().form, dtype),
                                         .size = size,
                                         .alpha = 0.6,
                                         .beta = beta,
                                         .k = 1.5};
        const auto values_of = [&](uint64_t seed, double low, double high) {
          return dtype == DType::kFloat32 ? random_values(shape.n_elements(), seed, low, high)
                                          : short_values(shape.n_elements(), seed, low, high);
        };
        OpInputs in;
        in.src = {{shape, values_of(1, -3, 3), dtype}};
        in.diff_dst = {values_of(2, -1, 1)};
        const reference::LocalResponseNorm ref{
            shape[0], shape[1],        shape.n_elements() / shape[0] / shape[1], size, desc.alpha, beta,
            desc.k,   in.src[0].values};
        const auto op = make_local_response_norm(test_config(), desc);
        EXPECT_TRUE(op->info().src[0].same_form(desc.src)) << "asks for another layout";
        const OpOutputs out = run_op(*op, in);
        const double tolerance = tolerance_of(dtype, kFloat32);
        expect_close(out.dst[0], ref.forward(), tolerance, "dst");
        expect_close(out.diff_src[0], ref.backward(in.diff_dst[0]), tolerance, "diff_src");
      }
}

INSTANTIATE_TEST_SUITE_P(Sweep, LocalResponseNormTest, testing::ValuesIn(all_cases()),
                         [](const auto& param_info) { return param_info.param.name; });

class LocalResponseNormOnce : public OpTest {};

TEST_F(LocalResponseNormOnce, AgreesWithPyTorch) {
  OpInputs in;
  in.src = {{{1, 5, 1, 1}, {1, 2, -3, 0.5, 0.25}}};
  in.diff_dst = {{1, -2, 0.5, 3, -1}};
  LocalResponseNormDesc desc{.src = {Shape{1, 5, 1, 1}}, .size = 3, .alpha = 0.3, .beta = 0.75, .k = 2};
  OpOutputs out = run_op(*make_local_response_norm(test_config(), desc), in);
  expect_close(out.dst[0], {0.50297338, 0.79876822, -1.21836519, 0.22319289, 0.14693236}, 1e-6, "odd window");
  expect_close(out.diff_src[0], {0.54327452, -0.66320211, 0.01196891, 1.34119153, -0.59358287}, 1e-6,
               "diff_src, odd window");
  desc.size = 4;
  out = run_op(*make_local_response_norm(test_config(), desc), in);
  expect_close(out.dst[0], {0.52269977, 0.86657286, -1.29389822, 0.2194314, 0.11874238}, 1e-6, "even window");
  expect_close(out.diff_src[0], {0.58558494, -0.79020047, 0.01196128, 1.31857276, -0.47990665}, 1e-6,
               "diff_src, even window");
}

TEST_F(LocalResponseNormOnce, FiniteDifferences) {
  OpInputs in;
  in.src = {random_tensor({2, 9, 3, 3}, 1, -2, 2)};
  check_gradients(
      *make_local_response_norm(test_config(), {.src = {Shape{2, 9, 3, 3}}, .size = 4, .alpha = 2, .k = 1}),
      in);
}

TEST_F(LocalResponseNormOnce, RefusesWhatHasNoMeaning) {
  const auto refuses = [](const LocalResponseNormDesc& desc) {
    EXPECT_THROW(make_local_response_norm(test_config(), desc), Error);
    count_comparisons(1);
  };
  refuses({.src = {Shape{4}}});
  refuses({.src = {Shape{4, 3}}, .size = 0});
  refuses({.src = {Shape{4, 3}}, .k = 0});
  refuses({.src = {Shape{4, 3}}, .alpha = -1});
  refuses({.src = {Shape{4, 3}, DType::kInt32, nullptr}});
}

}  // namespace
}  // namespace lockstep
