// Pooling against the naive float64 reference in every layout, finite differences and itself.
#include "kernels/pool2d.h"

#include <cmath>
#include <limits>
#include <sstream>

#include "kernels/cpu/onednn.h"
#include "kernels/error.h"
#include "tests/reference/pool2d.h"
#include "tests/support/op_test.h"

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
  add("pixel", {.src = {Shape{1, 1, 1, 1}}, .kernel = {1, 1}, .stride = {1, 1}});
  return cases;
}

std::shared_ptr<const Layout> layout_of(const Shape& shape, dnnl::memory::format_tag tag) {
  return std::make_shared<cpu::OneDnnLayout>(
      cpu::MemoryDesc({shape.begin(), shape.end()}, dnnl::memory::data_type::f32, tag));
}

/// Compares forward and backward with the reference. Few distinct values: many ties.
void compare(const Pool2dDesc& desc, const Values& src) {
  const reference::Pool2d ref{desc, src};
  const auto op = make_pool2d(cpu_config(), desc);
  ASSERT_EQ(op->info().dst[0].shape, (Shape{desc.src.shape[0], desc.src.shape[1], ref.p(), ref.q()}));
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
  const Pool2dDesc& desc = GetParam().desc;
  compare(desc, integer_values(desc.src.n_elements(), 3, -1, 1));
  compare(desc, Values(static_cast<size_t>(desc.src.n_elements()), -2.0));
}

TEST_P(Pool2dTest, KeepsBlockedLayouts) {
  using Tag = dnnl::memory::format_tag;
  for (const Tag tag : {Tag::nChw16c, Tag::nChw8c, Tag::nChw4c, Tag::nhwc, Tag::Abcd16a}) {
    Pool2dDesc desc = GetParam().desc;
    desc.src.layout = layout_of(desc.src.shape, tag);
    const auto op = make_pool2d(cpu_config(), desc);
    EXPECT_TRUE(op->info().src[0].same_layout(desc.src));
    // Compared as oneDNN does: nhwc of one channel or one pixel is dense.
    const TensorDesc expected{op->info().dst[0].shape, DType::kFloat32,
                              layout_of(op->info().dst[0].shape, tag)};
    EXPECT_EQ(cpu::to_onednn(op->info().dst[0]), cpu::to_onednn(expected));
    compare(desc, random_values(desc.src.n_elements(), 1));
    compare(desc, integer_values(desc.src.n_elements(), 3, -1, 1));
  }
}

INSTANTIATE_TEST_SUITE_P(Sweep, Pool2dTest, testing::ValuesIn(all_cases()),
                         [](const auto& param_info) { return param_info.param.name; });

class Pool2dOnce : public OpTest {};

TEST_F(Pool2dOnce, WantsUnknownLayoutsDense) {
  const Pool2dDesc desc{.src = {Shape{2, 3, 4, 5}, DType::kFloat32,
                                layout_of(Shape{2, 3, 4, 5}, dnnl::memory::format_tag::chwn)}};
  const auto op = make_pool2d(cpu_config(), desc);
  EXPECT_EQ(op->info().src[0].layout, nullptr);
  EXPECT_EQ(op->info().dst[0].layout, nullptr);
  compare(desc, random_values(desc.src.n_elements(), 1));
}

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
      check_gradients(*make_pool2d(cpu_config(), desc), in, {.h = 1.0 / 64, .relative = 1e-3});
    }
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
      const Values dst = run_op(*make_pool2d(cpu_config(), desc), in).dst[0];
      EXPECT_TRUE(std::isnan(dst[0]));           // columns 0 and 1
      EXPECT_EQ(dst[stride == 1 ? 2 : 1], inf);  // columns 2 and 3
      for (size_t q = 3; q < dst.size(); ++q) EXPECT_EQ(dst[q], -inf);
      count_comparisons(static_cast<int64_t>(dst.size()));
    }
}

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
      outputs.push_back(run_op(*make_pool2d(cpu_config(), desc), in));
    }
    for (const OpOutputs& out : outputs) {
      expect_close(out.dst[0], outputs[0].dst[0], 0, "dst");
      expect_close(out.diff_src[0], outputs[0].diff_src[0], 0, "diff_src");
    }
  }
  set_compute_threads(before);
}

TEST_F(Pool2dOnce, EvaluationKeepsNoWorkspace) {
  OpConfig config = cpu_config();
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
    EXPECT_THROW(make_pool2d(cpu_config(), desc), Error);
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
}

}  // namespace
}  // namespace lockstep
