// Padding by an image's own pixels against the naive reference and PyTorch, in every layout and type;
// and the chain of it with a convolution, which is how networks use it.
#include "kernels/pad2d.h"

#include "kernels/chain.h"
#include "kernels/conv2d.h"
#include "kernels/error.h"
#include "tests/reference/conv2d.h"
#include "tests/reference/pad2d.h"
#include "tests/support/layouts.h"

namespace lockstep {
namespace {

constexpr PaddingMode kModes[] = {PaddingMode::kReflect, PaddingMode::kReplicate, PaddingMode::kCircular};

struct Case {
  Shape src;
  std::array<int64_t, 4> padding;
};
// Extents of 1 and odd ones, channels around the blocks of 8 and 16, one side alone, no padding at all,
// the most that every mode takes.
const Case kCases[] = {{{1, 1, 3, 3}, {1, 1, 1, 1}},    {{2, 3, 5, 7}, {1, 2, 3, 0}},
                       {{3, 8, 4, 9}, {0, 0, 1, 1}},    {{1, 16, 6, 5}, {2, 2, 2, 2}},
                       {{2, 18, 4, 4}, {3, 3, 3, 3}},   {{1, 21, 2, 33}, {1, 0, 0, 7}},
                       {{2, 5, 1, 6}, {0, 0, 2, 5}},    {{2, 5, 6, 1}, {3, 1, 0, 0}},
                       {{9, 17, 20, 19}, {2, 1, 1, 2}}, {{1, 2, 3, 4}, {0, 0, 0, 0}}};

class Pad2dTest : public OpTest {
 protected:
  static void judge(const Pad2dDesc& desc) {
    const DType dtype = desc.src.dtype;
    OpInputs in{.src = {short_tensor(desc.src.shape, 1, dtype)}};
    const reference::Pad2d ref{desc, in.src[0].values};
    const Values expected = ref.forward();
    in.diff_dst = {short_values(static_cast<int64_t>(expected.size()), 2)};
    const auto op = make_pad2d(config_of(dtype), desc);
    const OpOutputs out = run_op(*op, in);
    const std::string what = std::string(name_of(desc.mode)) + " " + desc.src.shape.str();
    expect_close(out.dst[0], expected, 0, "dst " + what);
    // A pixel has at most some ten copies.
    expect_close(out.diff_src[0], ref.backward(in.diff_dst[0]), tolerance_of(dtype, 1e-6),
                 "diff_src " + what);
  }
};

TEST_F(Pad2dTest, AgreesWithReferenceInEveryLayout) {
  for (const PaddingMode mode : kModes)
    for (const Case& c : kCases)
      for (const DType dtype : kTypes)
        for (const Form form : kForms) judge({in_form(c.src, form, dtype), c.padding, mode});
}

TEST_F(Pad2dTest, AsMuchAsTheModeTakes) {
  judge({{Shape{2, 3, 3, 5}}, {2, 2, 4, 4}, PaddingMode::kReflect});
  judge({{Shape{2, 3, 3, 5}}, {3, 3, 5, 5}, PaddingMode::kCircular});
  judge({{Shape{2, 3, 3, 5}}, {9, 7, 20, 11}, PaddingMode::kReplicate});
}

// PyTorch 2.15: torch.nn.functional.pad(x, (1, 2, 2, 1), mode) of 0 … 11 as 3 x 4, its gradient for
// diff_dst 0, 1, 2, …
TEST_F(Pad2dTest, AgreesWithPyTorch) {
  const auto judge_literal = [](PaddingMode mode, const Values& dst, const Values& diff_src) {
    const auto op = make_pad2d(test_config(), {{Shape{1, 1, 3, 4}}, {2, 1, 1, 2}, mode});
    OpInputs in;
    Values numbers;
    for (int i = 0; i < 42; ++i) numbers.push_back(i);
    in.src = {{Shape{1, 1, 3, 4}, Values(numbers.begin(), numbers.begin() + 12)}};
    in.diff_dst = {numbers};
    const OpOutputs out = run_op(*op, in);
    expect_close(out.dst[0], dst, 0, name_of(mode));
    expect_close(out.diff_src[0], diff_src, 0, name_of(mode));
  };
  judge_literal(PaddingMode::kReflect, {9, 8, 9, 10, 11, 10, 9, 5, 4, 5, 6,  7,  6,  5, 1, 0, 1, 2, 3, 2, 1,
                                        5, 4, 5, 6,  7,  6,  5, 9, 8, 9, 10, 11, 10, 9, 5, 4, 5, 6, 7, 6, 5},
                {15, 50, 36, 18, 66, 213, 150, 75, 30, 100, 72, 36});
  judge_literal(PaddingMode::kReplicate,
                {0, 0, 1, 2, 3, 3, 3, 0, 0, 1, 2,  3,  3,  3,  0, 0, 1, 2,  3,  3,  3,
                 4, 4, 5, 6, 7, 7, 7, 8, 8, 9, 10, 11, 11, 11, 8, 8, 9, 10, 11, 11, 11},
                {45, 27, 30, 108, 43, 23, 24, 78, 128, 67, 69, 219});
  judge_literal(PaddingMode::kCircular, {7, 4, 5, 6, 7, 4, 5, 11, 8, 9, 10, 11, 8, 9, 3, 0, 1, 2, 3, 0, 1,
                                         7, 4, 5, 6, 7, 4, 5, 11, 8, 9, 10, 11, 8, 9, 3, 0, 1, 2, 3, 0, 1},
                {110, 114, 55, 106, 54, 58, 27, 50, 82, 86, 41, 78});
}

#ifndef LOCKSTEP_TEST_CUDA
TEST_F(Pad2dTest, BitsDoNotDependOnThreads) {
  const int before = compute_threads();
  for (const PaddingMode mode : kModes) {
    const Pad2dDesc desc{{Shape{7, 5, 60, 61}}, {2, 3, 4, 5}, mode};
    OpInputs in{.src = {random_tensor(desc.src.shape, 1)}};
    in.diff_dst = {random_values(int64_t{7} * 5 * 65 * 70, 2)};
    std::vector<OpOutputs> outputs;
    for (const int threads : {1, 2, 5}) {
      set_compute_threads(threads);
      outputs.push_back(run_op(*make_pad2d(test_config(), desc), in));
    }
    for (const OpOutputs& out : outputs) {
      expect_close(out.dst[0], outputs[0].dst[0], 0, "dst");
      expect_close(out.diff_src[0], outputs[0].diff_src[0], 0, "diff_src");
    }
  }
  set_compute_threads(before);
}
#endif

TEST_F(Pad2dTest, RefusesWhatHasNoMeaning) {
  const auto refuses = [](const Pad2dDesc& desc) {
    EXPECT_THROW(make_pad2d(test_config(), desc), Error);
    count_comparisons(1);
  };
  const TensorDesc image{Shape{1, 1, 4, 5}};
  refuses({{Shape{1, 20}}, {1, 1, 1, 1}});
  refuses({image, {-1, 0, 0, 0}, PaddingMode::kReplicate});
  refuses({image, {4, 0, 0, 0}, PaddingMode::kReflect});
  refuses({image, {0, 0, 0, 5}, PaddingMode::kReflect});
  refuses({image, {0, 5, 0, 0}, PaddingMode::kCircular});
  refuses({image, {0, 0, 6, 0}, PaddingMode::kCircular});
  refuses({image, {1, 1, 1, 1}, PaddingMode::kZeros});
  refuses({{image.shape, DType::kInt32, nullptr}, {1, 1, 1, 1}});
}

// A padding and a convolution -----------------------------------------------------------------

class PaddedConv : public OpTest {
 protected:
  static std::unique_ptr<Op> make(const OpConfig& config, const Pad2dDesc& pad, Conv2dDesc conv) {
    auto first = make_pad2d(config, pad);
    conv.src = first->info().dst[0];
    return chain(config, std::move(first), make_conv2d(config, conv));
  }
  static OpInputs inputs(const Pad2dDesc& pad, const Conv2dDesc& conv) {
    const Shape weights{conv.out_channels, pad.src.shape[1] / conv.groups, conv.kernel[0], conv.kernel[1]};
    OpInputs in{.src = {short_tensor(pad.src.shape, 1, pad.src.dtype)},
                .params = {{weights, short_values(weights.n_elements(), 2)}}};
    if (conv.has_bias) in.params.push_back({Shape{conv.out_channels}, short_values(conv.out_channels, 3)});
    return in;
  }
};

TEST_F(PaddedConv, AgreesWithReference) {
  for (const PaddingMode mode : kModes)
    for (const DType dtype : kTypes)
      for (const Form form : kForms)
        for (const auto& [channels, out, groups] : {std::tuple{1, 6, 1}, {16, 16, 1}, {18, 20, 2}})
          for (const bool first_layer : {false, true}) {
            const Pad2dDesc pad{in_form(Shape{17, channels, 6, 7}, form, dtype), {1, 2, 2, 1}, mode};
            Conv2dDesc conv{.out_channels = out,
                            .kernel = {3, 2},
                            .stride = {2, 1},
                            .groups = groups,
                            .wants_diff_src = !first_layer};
            OpInputs in = inputs(pad, conv);
            const reference::Pad2d ref_pad{pad, in.src[0].values};
            conv.src.shape = Shape{17, channels, 9, 10};
            const reference::Conv2d ref{conv, ref_pad.forward(), in.params[0].values, in.params[1].values};
            const Values sums = ref.sums();
            in.diff_dst = {short_values(static_cast<int64_t>(sums.size()), 4)};
            in.wants_diff_src = !first_layer;
            const OpOutputs out_values = run_op(*make(config_of(dtype), pad, conv), in);
            const auto expected = ref.backward(in.diff_dst[0]);
            // Narrow types: the gradients of copies are rounded before they are summed.
            const double tolerance = dtype == DType::kFloat32 ? 1e-5 : 0.02;
            expect_close(out_values.dst[0], sums, tolerance, "dst");
            expect_close(out_values.diff_params[0], expected.weights, tolerance, "diff_weights");
            expect_close(out_values.diff_params[1], expected.bias, tolerance, "diff_bias");
            if (!first_layer)
              expect_close(out_values.diff_src[0], ref_pad.backward(expected.src), tolerance, "diff_src");
          }
}

TEST_F(PaddedConv, FiniteDifferences) {
  for (const PaddingMode mode : kModes) {
    const Pad2dDesc pad{{Shape{2, 3, 4, 5}}, {1, 1, 2, 2}, mode};
    const Conv2dDesc conv{.out_channels = 4, .kernel = {3, 5}, .activation = Activation::kTanh};
    check_gradients(*make(test_config(), pad, conv), inputs(pad, conv));
  }
}

// PyTorch 2.15: torch.nn.Conv2d(1, 1, 3, padding=1, padding_mode=…) of 0 … 11 as 3 x 4.
TEST_F(PaddedConv, AgreesWithPyTorch) {
  const auto judge = [](PaddingMode mode, const Values& dst, const Values& diff_src,
                        const Values& diff_weights) {
    const auto op =
        make(test_config(), {{Shape{1, 1, 3, 4}}, {1, 1, 1, 1}, mode}, {.out_channels = 1, .kernel = {3, 3}});
    OpInputs in;
    in.src = {{Shape{1, 1, 3, 4}, {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}}};
    in.params = {{Shape{1, 1, 3, 3}, {1, -2, 3, 0, 2, -1, 4, 1, -3}}, {Shape{1}, {0.5}}};
    in.diff_dst = {{-5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5, 6}};
    const OpOutputs out = run_op(*op, in);
    expect_close(out.dst[0], dst, 0, name_of(mode));
    expect_close(out.diff_src[0], diff_src, 0, name_of(mode));
    expect_close(out.diff_params[0], diff_weights, 0, name_of(mode));
    expect_close(out.diff_params[1], {6}, 0, name_of(mode));
  };
  judge(PaddingMode::kReflect, {20.5, 15.5, 20.5, 27.5, 24.5, 19.5, 24.5, 31.5, 28.5, 23.5, 28.5, 35.5},
        {-8, -6, 6, -2, 0, 1, 18, -1, 5, 8, 3, 6}, {28, 40, 34, 164, 176, 170, 44, 56, 50});
  judge(PaddingMode::kReplicate, {7.5, 7.5, 12.5, 18.5, 19.5, 19.5, 24.5, 30.5, 31.5, 31.5, 36.5, 42.5},
        {-8, -15, -10, -5, -42, 6, 11, 35, 32, 27, 32, -33}, {87, 96, 96, 167, 176, 176, 119, 128, 128});
  judge(PaddingMode::kCircular, {38.5, 23.5, 28.5, 37.5, 34.5, 19.5, 24.5, 33.5, 30.5, 15.5, 20.5, 29.5},
        {1, 10, 15, 0, -3, 6, 11, -4, -7, 2, 7, -8}, {-34, -16, -34, 158, 176, 158, -34, -16, -34});
}

TEST_F(PaddedConv, EvaluationHasTheBitsOfTraining) {
  const Pad2dDesc pad{{Shape{3, 6, 8, 8}}, {1, 1, 1, 1}};
  const Conv2dDesc conv{.out_channels = 5, .kernel = {3, 3}, .activation = Activation::kRelu};
  OpInputs in = inputs(pad, conv);
  in.run_backward = false;
  OpConfig evaluation = test_config();
  evaluation.training = false;
  expect_close(run_op(*make(evaluation, pad, conv), in).dst[0],
               run_op(*make(test_config(), pad, conv), in).dst[0], 0, "dst");
}

}  // namespace
}  // namespace lockstep
