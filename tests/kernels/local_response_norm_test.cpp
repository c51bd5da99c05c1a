// Local response normalisation against the naive float64 reference in every layout, finite
// differences and PyTorch's numbers.
#include "kernels/local_response_norm.h"

#include "kernels/cpu/onednn.h"
#include "kernels/error.h"
#include "tests/reference/local_response_norm.h"
#include "tests/support/op_test.h"

namespace lockstep {
namespace {

using Tag = dnnl::memory::format_tag;

constexpr double kFloat32 = 2e-6;   // sums of a window, two roots or a power
constexpr double kBFloat16 = 4e-3;  // 8 bits: half a unit in the last place is at most 2^-8 of a value

struct Case {
  std::string name;
  Shape shape;
  Tag tag = Tag::undef;  // undef: dense
};
void PrintTo(const Case& c, std::ostream* out) { *out << c.name; }

std::vector<Case> all_cases() {
  std::vector<Case> cases{{"one_channel", {5, 1}},    {"rows", {3, 11}},
                          {"sequence", {2, 5, 37}},   {"image", {2, 7, 5, 9}},
                          {"row_16", {2, 3, 1, 16}},  {"few_channels", {2, 2, 3, 3}},
                          {"volume", {2, 6, 2, 3, 4}}};
  for (const auto& [name, tag] :
       {std::pair{"nChw8c", Tag::nChw8c}, {"nChw16c", Tag::nChw16c}, {"nhwc", Tag::nhwc}})
    for (const int64_t c : {3, 16, 21})
      cases.push_back({std::string(name) + "_c" + std::to_string(c), {2, c, 5, 7}, tag});
  return cases;
}

class LocalResponseNormTest : public OpTestWith<Case> {};

TEST_P(LocalResponseNormTest, AgreesWithReference) {
  const Shape& shape = GetParam().shape;
  for (const DType dtype : {DType::kFloat32, DType::kBFloat16})
    for (const int64_t size : {1, 4, 5, 40})
      for (const double beta : {0.75, 0.5, 1.3}) {
        LocalResponseNormDesc desc{
            .src = {shape, dtype, nullptr}, .size = size, .alpha = 0.6, .beta = beta, .k = 1.5};
        if (GetParam().tag != Tag::undef)
          desc.src.layout = std::make_shared<cpu::OneDnnLayout>(
              cpu::MemoryDesc({shape.begin(), shape.end()}, cpu::onednn_type(dtype), GetParam().tag));
        const auto rounded = [&](const Values& values) {
          return dtype == DType::kFloat32 ? values : rounded_to_bfloat16(values);
        };
        OpInputs in;
        in.src = {{shape, rounded(random_values(shape.n_elements(), 1, -3, 3)), dtype}};
        in.diff_dst = {rounded(random_values(shape.n_elements(), 2))};
        const reference::LocalResponseNorm ref{
            shape[0], shape[1],        shape.n_elements() / shape[0] / shape[1], size, desc.alpha, beta,
            desc.k,   in.src[0].values};
        const auto op = make_local_response_norm(test_config(), desc);
        EXPECT_TRUE(op->info().src[0].same_form(desc.src)) << "asks for another layout";
        const OpOutputs out = run_op(*op, in);
        const double tolerance = dtype == DType::kFloat32 ? kFloat32 : kBFloat16;
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
