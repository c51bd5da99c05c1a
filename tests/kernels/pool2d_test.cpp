// Pooling against the naive float64 reference in every layout, finite differences and itself.
#include "kernels/pool2d.h"

#include <cmath>
#include <limits>
#include <sstream>

#include "kernels/error.h"
#include "tests/reference/pool2d.h"
#include "tests/support/layouts.h"

namespace lockstep {
namespace {

// float32 sums of at most some hundred elements, relative to the rms of the result.
constexpr double kTolerance = 2e-6;

struct Case {
  std::string name;
  Pool2dDesc desc;
};
void PrintTo(const Case& c, std::ostream* out) { *out << c.name; }

std::vector<Case> all_cases() {
  std::vector<Case> cases;
  const auto add = [&](const std::string& name, Pool2dDesc desc) {
    desc.pooling = Pooling::kMax;
    cases.push_back({name + "_max", desc});
    desc.pooling = Pooling::kAverage;
    cases.push_back({name + "_average", desc});
    Pool2dDesc weighted = desc;
    weighted.pooling = Pooling::kWeighted;
    const bool is_image = desc.src.shape.rank() == 4;
    for (int64_t i = 0; i < (is_image ? desc.kernel[0] : 1) * desc.kernel[1]; ++i)
      weighted.weights.push_back(0.25f * static_cast<float>(1 + i * 7 % 5));
    cases.push_back({name + "_weighted", weighted});
    weighted.normalize = false;
    weighted.weights[0] = -1;
    cases.push_back({name + "_weighted_sum", weighted});
    if (desc.padding == std::array<int64_t, 4>{}) return;
    desc.count_padding = true;
    cases.push_back({name + "_average_counting", desc});
  };
  // Rows of 1 to 37 outputs: below, at and above the vector widths, odd and even extents.
  for (int64_t w : {2, 3, 5, 8, 10, 14, 15, 16, 17, 28, 31, 32, 33, 47, 74, 75}) {
    std::ostringstream name;
    name << "tiles" << w;
    add(name.str(), {.src = {Shape{2, 3, 1 + w / 2, w}}, .kernel = {2, 2}, .stride = {2, 2}});
  }
  for (int64_t c : {1, 3, 16, 21})
    for (int64_t stride : {1, 2, 3}) {
      std::ostringstream name;
      name << "c" << c << "stride" << stride;
      const std::array<int64_t, 2> strides{stride, stride};
      add(name.str(), {.src = {Shape{3, c, 9, 11}}, .kernel = {3, 3}, .stride = strides});
      add(name.str() + "pad",
          {.src = {Shape{3, c, 8, 21}}, .kernel = {3, 3}, .stride = strides, .padding = {1, 1, 1, 1}});
    }
  add("asymmetric",
      {.src = {Shape{2, 5, 7, 20}}, .kernel = {2, 4}, .stride = {1, 2}, .padding = {0, 1, 3, 2}});
  add("padded_2x2",
      {.src = {Shape{2, 5, 7, 9}}, .kernel = {2, 2}, .stride = {2, 2}, .padding = {1, 0, 0, 1}});
  add("trailing_padding",
      {.src = {Shape{2, 5, 7, 9}}, .kernel = {2, 2}, .stride = {2, 2}, .padding = {0, 1, 0, 1}});
  add("wide_stride", {.src = {Shape{1, 2, 11, 13}}, .kernel = {2, 3}, .stride = {4, 5}});
  add("row", {.src = {Shape{2, 4, 1, 40}}, .kernel = {1, 3}, .stride = {1, 2}, .padding = {0, 0, 1, 1}});
  add("column", {.src = {Shape{2, 4, 40, 1}}, .kernel = {3, 1}, .stride = {2, 1}, .padding = {1, 1, 0, 0}});
  add("identity", {.src = {Shape{2, 3, 4, 5}}, .kernel = {1, 1}, .stride = {1, 1}});
  add("global", {.src = {Shape{2, 18, 7, 7}}, .kernel = {7, 7}, .stride = {1, 1}});
  add("global_256", {.src = {Shape{2, 3, 16, 16}}, .kernel = {16, 16}, .stride = {16, 16}});
  add("global_wide",
      {.src = {Shape{2, 17, 17, 19}}, .kernel = {17, 19}, .stride = {17, 19}});  // places above 255
  add("alexnet", {.src = {Shape{1, 4, 55, 55}}, .kernel = {3, 3}, .stride = {2, 2}});
  add("lenet1", {.src = {Shape{4, 6, 28, 28}}, .kernel = {2, 2}, .stride = {2, 2}});
  add("lenet2", {.src = {Shape{4, 16, 10, 10}}, .kernel = {2, 2}, .stride = {2, 2}});
  // GoogLeNet's, and windows that hang over one, both or (padding) no edge.
  for (const int64_t w : {6, 7, 8, 9, 14, 28, 41}) {
    Pool2dDesc ceil{.src = {Shape{2, 3, w + 1, w}}, .kernel = {3, 3}, .stride = {2, 2}, .ceil = true};
    add("ceil" + std::to_string(w), ceil);
    ceil.padding = {1, 1, 1, 1};
    add("ceil_pad" + std::to_string(w), ceil);
    ceil.stride = {3, 4};
    ceil.padding = {0, 2, 1, 0};
    add("ceil_uneven" + std::to_string(w), ceil);
    ceil.kernel = ceil.stride = {2, 2};
    ceil.padding = {};
    add("ceil_tiles" + std::to_string(w), ceil);
  }
  for (const int64_t t : {1, 5, 16, 17, 40})
    add("sequence" + std::to_string(t),
        {.src = {Shape{3, 18, t + 2}}, .kernel = {9, 3}, .stride = {9, t % 2 + 1}, .padding = {0, 0, 1, 1}});
  for (const auto& [p, q] : {std::pair<int64_t, int64_t>{1, 1}, {7, 7}, {3, 2}, {6, 4}, {5, 12}, {14, 11}})
    for (const Shape& shape : {Shape{2, 18, 7, 12}, Shape{2, 3, 12, 4}}) {
      const Pool2dDesc desc{.src = {shape}, .pooling = Pooling::kAverage, .adaptive = {p, q}};
      cases.push_back(
          {"adaptive" + std::to_string(p) + "x" + std::to_string(q) + "of" + std::to_string(shape[2]), desc});
    }
  cases.push_back(
      {"adaptive_sequence", {.src = {Shape{2, 5, 13}}, .pooling = Pooling::kAverage, .adaptive = {9, 4}}});
  cases.push_back(
      {"global4", {.src = {Shape{3, 33, 4, 4}}, .pooling = Pooling::kAverage, .adaptive = {1, 1}}});
  add("pixel", {.src = {Shape{1, 1, 1, 1}}, .kernel = {1, 1}, .stride = {1, 1}});
  return cases;
}

/// The same pooling of the same values in every type, in this form.
void compare_types(Pool2dDesc desc, Form form) {
  for (const DType dtype : kTypes) {
    desc.src = in_form(desc.src.shape, form, dtype);
    const auto op = make_pool2d(config_of(dtype), desc);
    OpInputs in{.src = {short_tensor(desc.src.shape, 1, dtype)}};
    const reference::Pool2d ref{desc, in.src[0].values};
    const Values expected = ref.forward();
    in.diff_dst = {short_values(static_cast<int64_t>(expected.size()), 2)};
    const OpOutputs out = run_op(*op, in);
    const double tolerance = tolerance_of(dtype, kTolerance);
    expect_close(out.dst[0], expected, desc.pooling == Pooling::kMax ? 0 : tolerance, "dst");
    expect_close(out.diff_src[0], ref.backward(in.diff_dst[0]), tolerance, "diff_src");
    EXPECT_TRUE(op->info().dst[0].same_form(in_form(op->info().dst[0].shape, form, dtype)));
  }
}

/// Compares forward and backward with the reference. Few distinct values: many ties.
void compare(const Pool2dDesc& desc, const Values& src) {
  const reference::Pool2d ref{desc, src};
  const auto op = make_pool2d(test_config(), desc);
  Shape pooled = desc.src.shape;
  if (pooled.rank() == 4) pooled[2] = ref.p();
  pooled[pooled.rank() - 1] = ref.q();
  ASSERT_EQ(op->info().dst[0].shape, pooled);
  OpInputs in;
  in.src = {{desc.src.shape, src}};
  const std::vector<double> expected = ref.forward();
  in.diff_dst = {random_values(static_cast<int64_t>(expected.size()), 2)};
  const OpOutputs out = run_op(*op, in);
  const double exact_if_max = desc.pooling == Pooling::kMax ? 0 : kTolerance;
  expect_close(out.dst[0], expected, exact_if_max, "dst");
  expect_close(out.diff_src[0], ref.backward(in.diff_dst[0]), kTolerance, "diff_src");
}

class Pool2dTest : public OpTestWith<Case> {};

TEST_P(Pool2dTest, AgreesWithReference) {
  const Pool2dDesc& desc = GetParam().desc;
  compare(desc, random_values(desc.src.n_elements(), 1));
}

TEST_P(Pool2dTest, GivesTiesToTheFirst) {
  Pool2dDesc desc = GetParam().desc;
  for (const Form form : kForms) {
    desc.src = in_form(desc.src.shape, form);
    compare(desc, integer_values(desc.src.n_elements(), 3, -1, 1));
  }
  desc.src = desc.src.dense();
  compare(desc, Values(static_cast<size_t>(desc.src.n_elements()), -2.0));
}

TEST_P(Pool2dTest, EveryTypeInEveryForm) {
  for (const Form form : kForms) compare_types(GetParam().desc, form);
}

#ifndef LOCKSTEP_TEST_CUDA

std::shared_ptr<const Layout> layout_of(const Shape& shape, dnnl::memory::format_tag tag) {
  return std::make_shared<cpu::OneDnnLayout>(
      cpu::MemoryDesc({shape.begin(), shape.end()}, dnnl::memory::data_type::f32, tag));
}

TEST_P(Pool2dTest, KeepsBlockedLayouts) {
  using Tag = dnnl::memory::format_tag;
  if (GetParam().desc.src.shape.rank() != 4)
    GTEST_SKIP() << "EveryTypeInEveryForm has the layouts of sequences";
  for (const Tag tag : {Tag::nChw16c, Tag::nChw8c, Tag::nChw4c, Tag::nhwc, Tag::Abcd16a}) {
    Pool2dDesc desc = GetParam().desc;
    desc.src.layout = layout_of(desc.src.shape, tag);
    const auto op = make_pool2d(test_config(), desc);
    EXPECT_TRUE(op->info().src[0].same_layout(desc.src));
    // Compared as oneDNN does: nhwc of one channel or one pixel is dense.
    const TensorDesc expected{op->info().dst[0].shape, DType::kFloat32,
                              layout_of(op->info().dst[0].shape, tag)};
    EXPECT_EQ(cpu::to_onednn(op->info().dst[0]), cpu::to_onednn(expected));
    compare(desc, random_values(desc.src.n_elements(), 1));
    compare(desc, integer_values(desc.src.n_elements(), 3, -1, 1));
  }
}

#endif

INSTANTIATE_TEST_SUITE_P(Sweep, Pool2dTest, testing::ValuesIn(all_cases()),
                         [](const auto& param_info) { return param_info.param.name; });

class Pool2dOnce : public OpTest {};

#ifndef LOCKSTEP_TEST_CUDA
TEST_F(Pool2dOnce, WantsUnknownLayoutsDense) {
  const Pool2dDesc desc{.src = {Shape{2, 3, 4, 5}, DType::kFloat32,
                                layout_of(Shape{2, 3, 4, 5}, dnnl::memory::format_tag::chwn)}};
  const auto op = make_pool2d(test_config(), desc);
  EXPECT_EQ(op->info().src[0].layout, nullptr);
  EXPECT_EQ(op->info().dst[0].layout, nullptr);
  compare(desc, random_values(desc.src.n_elements(), 1));
}
#endif

TEST_F(Pool2dOnce, FiniteDifferences) {
  for (const Pooling pooling : {Pooling::kMax, Pooling::kAverage})
    for (const int64_t channels : {1, 18}) {
      const Pool2dDesc desc{.src = {Shape{1, channels, 7, 6}},
                            .pooling = pooling,
                            .kernel = {3, 2},
                            .stride = {2, 1},
                            .padding = {1, 1, 0, 1}};
      OpInputs in;
      // All values differ by more than h, so that no step changes which one is the largest.
      Values values(static_cast<size_t>(desc.src.n_elements()));
      for (size_t i = 0; i < values.size(); ++i)
        values[i] = 0.05 * static_cast<double>(i * 37 % values.size()) - 1.0;
      in.src = {{desc.src.shape, values}};
      check_gradients(*make_pool2d(test_config(), desc), in, {.h = 1.0 / 64, .relative = 1e-3});
    }
}

Values forward_of(Pool2dDesc desc, const Values& src) {
  OpInputs in{.src = {{desc.src.shape, src}}, .run_backward = false};
  return run_op(*make_pool2d(test_config(), desc), in).dst[0];
}

// The worked examples of lecture slides.
TEST_F(Pool2dOnce, ExamplesOfCourses) {
  const TensorDesc image{Shape{1, 1, 4, 4}};
  expect_close(forward_of({.src = image}, {1, 3, 6, 2, 3, 8, 1, 1, 2, 9, 2, 1, 5, 1, 3, 1}), {8, 6, 9, 3}, 0,
               "max");
  const Values numbers = {5, 2, -3, 0, 2, -1, 4, -1, -4, -4, -3, 0, 3, 5, 0, -1};
  expect_close(forward_of({.src = image}, numbers), {5, 4, 5, 0}, 0, "max");
  expect_close(forward_of({.src = image, .pooling = Pooling::kAverage}, numbers), {2, 0, 0, -1}, 0,
               "average");
  const Pool2dDesc weighted{
      .src = image, .pooling = Pooling::kWeighted, .weights = {2, 1, 1, 0.5f}, .normalize = false};
  expect_close(forward_of(weighted, numbers), {13.5, -2.5, -6.5, -6.5}, 0, "weighted");
}

TEST_F(Pool2dOnce, WeightedFiniteDifferences) {
  const Pool2dDesc desc{.src = {Shape{1, 2, 6, 11}},
                        .pooling = Pooling::kWeighted,
                        .kernel = {3, 3},
                        .stride = {2, 1},
                        .padding = {1, 1, 1, 1},
                        .ceil = true,
                        .weights = {1, 2, 1, 2, 4, 2, 1, 2, 1}};
  check_gradients(*make_pool2d(test_config(), desc), {.src = {random_tensor(desc.src.shape, 1)}},
                  {.h = 1.0 / 64, .relative = 1e-3});
}

TEST_F(Pool2dOnce, ExtentsOfPyTorch) {
  // torch.nn.MaxPool2d(3, 2, ceil_mode=True) and (2, 2, ceil_mode=True) on 112, 7, 8; the last window must
  // begin inside: kernel 1, stride 2 on 4 gives 2.
  EXPECT_EQ(pool_output_extent(112, 3, 2, 0, 0, true), 56);
  EXPECT_EQ(pool_output_extent(112, 3, 2, 0, 0, false), 55);
  EXPECT_EQ(pool_output_extent(7, 2, 2, 0, 0, true), 4);
  EXPECT_EQ(pool_output_extent(8, 2, 2, 0, 0, true), 4);
  EXPECT_EQ(pool_output_extent(4, 1, 2, 0, 0, true), 2);
  EXPECT_EQ(pool_output_extent(5, 3, 4, 1, 1, true), 2);
  EXPECT_EQ(pool_output_extent(3, 3, 4, 1, 1, true), 1);
  count_comparisons(7);
}

TEST_F(Pool2dOnce, PassesNanAndInfinityOn) {
  const double inf = std::numeric_limits<double>::infinity();
  for (const int64_t stride : {1, 2})
    for (const int64_t w : {4, 40}) {
      const Pool2dDesc desc{.src = {Shape{1, 1, 2, w}}, .kernel = {2, 2}, .stride = {1, stride}};
      OpInputs in;
      in.run_backward = false;
      Values values(static_cast<size_t>(2 * w), -inf);
      values[1] = std::nan("");
      values[2] = inf;
      in.src = {{desc.src.shape, values}};
      const Values dst = run_op(*make_pool2d(test_config(), desc), in).dst[0];
      EXPECT_TRUE(std::isnan(dst[0]));           // columns 0 and 1
      EXPECT_EQ(dst[stride == 1 ? 2 : 1], inf);  // columns 2 and 3
      for (size_t q = 3; q < dst.size(); ++q) EXPECT_EQ(dst[q], -inf);
      count_comparisons(static_cast<int64_t>(dst.size()));
    }
}

#ifndef LOCKSTEP_TEST_CUDA
TEST_F(Pool2dOnce, BitsDoNotDependOnThreads) {
  const int before = compute_threads();
  for (const Pooling pooling : {Pooling::kMax, Pooling::kAverage}) {
    const Pool2dDesc desc{
        .src = {Shape{9, 13, 40, 41}}, .pooling = pooling, .kernel = {3, 3}, .stride = {2, 2}};
    OpInputs in;
    in.src = {random_tensor(desc.src.shape, 1)};
    in.diff_dst = {random_values(9 * 13 * 19 * 20, 2)};
    std::vector<OpOutputs> outputs;
    for (const int threads : {1, 2, 5}) {
      set_compute_threads(threads);
      outputs.push_back(run_op(*make_pool2d(test_config(), desc), in));
    }
    for (const OpOutputs& out : outputs) {
      expect_close(out.dst[0], outputs[0].dst[0], 0, "dst");
      expect_close(out.diff_src[0], outputs[0].diff_src[0], 0, "diff_src");
    }
  }
  set_compute_threads(before);
}
#endif

TEST_F(Pool2dOnce, EvaluationKeepsNoWorkspace) {
  OpConfig config = test_config();
  config.training = false;
  const Pool2dDesc desc{.src = {Shape{2, 3, 9, 21}}, .kernel = {3, 3}, .stride = {1, 1}};
  const auto op = make_pool2d(config, desc);
  EXPECT_EQ(op->info().workspace_bytes, 0);
  OpInputs in;
  in.src = {random_tensor(desc.src.shape, 1)};
  in.run_backward = false;
  expect_close(run_op(*op, in).dst[0], reference::Pool2d{desc, in.src[0].values}.forward(), 0, "dst");
}

TEST_F(Pool2dOnce, RefusesWhatHasNoMeaning) {
  const auto refuses = [](const Pool2dDesc& desc) {
    EXPECT_THROW(make_pool2d(test_config(), desc), Error);
    count_comparisons(1);
  };
  const TensorDesc image{Shape{1, 1, 4, 4}};
  refuses({.src = {Shape{1, 16}}});
  refuses({.src = image, .kernel = {0, 2}});
  refuses({.src = image, .stride = {2, 0}});
  refuses({.src = image, .padding = {-1, 0, 0, 0}});
  refuses({.src = image, .padding = {2, 0, 0, 0}});
  refuses({.src = image, .padding = {0, 0, 0, 2}});
  refuses({.src = image, .kernel = {5, 1}});
  refuses({.src = {image.shape, DType::kInt32, nullptr}});
  refuses({.src = image, .adaptive = {2, 2}});  // a maximum
  refuses({.src = image, .pooling = Pooling::kAverage, .adaptive = {-1, 2}});
  refuses({.src = image, .pooling = Pooling::kWeighted, .weights = {1, 1, 1}});
  refuses({.src = image, .pooling = Pooling::kWeighted, .weights = {1, 1, 1, 0}});
}

}  // namespace
}  // namespace lockstep
