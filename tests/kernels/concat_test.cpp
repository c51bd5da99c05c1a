// Concatenation and slices: exact copies, in every layout and type and along every axis.
#include "kernels/concat.h"

#include <numeric>

#include "kernels/error.h"
#include "tests/reference/concat.h"
#include "tests/support/layouts.h"

namespace lockstep {
namespace {

class ConcatTest : public OpTest {
 protected:
  /// Parts of `shape` with these extents along `axis`; returns whether the layout was kept.
  bool judge(Shape shape, int axis, const std::vector<int64_t>& extents, Form form, DType dtype) {
    ConcatDesc desc{.axis = axis};
    OpInputs in;
    Shape whole = shape;
    whole[axis] = std::accumulate(extents.begin(), extents.end(), int64_t{0});
    Values expected(static_cast<size_t>(whole.n_elements()));
    int64_t begin = 0;
    for (const int64_t extent : extents) {
      shape[axis] = extent;
      desc.src.push_back(in_form(shape, form, dtype));
      in.src.push_back(short_tensor(shape, static_cast<uint64_t>(begin), dtype));
      reference::paste(shape, in.src.back().values, axis, begin, whole, expected);
      begin += extent;
    }
    in.diff_dst = {short_values(whole.n_elements(), 99)};
    const auto op = make_concat(config_of(dtype), desc);
    const OpOutputs out = run_op(*op, in);
    expect_close(out.dst[0], expected, 0, "dst");
    begin = 0;
    for (size_t k = 0; k < extents.size(); begin += extents[k++])
      expect_close(out.diff_src[k], reference::slice(whole, in.diff_dst[0], in.src[k].shape, axis, begin), 0,
                   "diff_src");
    return op->info().dst[0].same_form(in_form(whole, form, dtype));
  }
};

TEST_F(ConcatTest, EveryAxisLayoutAndType) {
  for (const DType dtype : kTypes) {
    for (const Form form : kForms) {
      const auto keeps = [&](int axis, const std::vector<int64_t>& extents) {
        EXPECT_TRUE(judge(Shape{3, 21, 5, 4}, axis, extents, form, dtype)) << axis;
      };
      keeps(1, {16, 32, 5});
      keeps(1, {16, 16});
      keeps(2, {1, 7, 2});
      keeps(3, {3, 1});
      keeps(2, {4});
      judge(Shape{3, 1, 5, 4}, 1, {8, 3, 24, 1}, form, dtype);  // cuts blocks
      judge(Shape{2, 19, 1, 1}, 1, {16, 19}, form, dtype);
      judge(Shape{2, 16, 6}, 1, {16, 32}, form, dtype);
      judge(Shape{2, 16, 6}, 2, {6, 1, 13}, form, dtype);
    }
    judge(Shape{5, 3}, 1, {3, 1, 17}, Form::kDense, dtype);
    judge(Shape{2, 3, 2, 3, 2}, 3, {3, 2}, Form::kDense, dtype);
    judge(Shape{40, 33, 31}, 1, {33, 20, 7}, Form::kDense, dtype);  // several threads
  }
}

TEST_F(ConcatTest, SourcesOfSeveralLayouts) {
  const Shape shape{2, 16, 3, 3};
  ConcatDesc desc{.src = {in_form(shape, kForms[0]), in_form(shape, kForms[1])}};
  const auto op = make_concat(test_config(), desc);
  for (const TensorDesc& src : op->info().src) EXPECT_TRUE(src.same_form(desc.src[1]));
  OpInputs in{.src = {random_tensor(shape, 1), random_tensor(shape, 2)}};
  in.diff_dst = {random_values(2 * shape.n_elements(), 3)};
  const OpOutputs out = run_op(*op, in);
  const Shape whole{2, 32, 3, 3};
  expect_close(reference::slice(whole, out.dst[0], shape, 1, 16), in.src[1].values, 0, "dst");
}

TEST_F(ConcatTest, KeepsIntegers) {
  const TensorDesc src{Shape{2, 3}, DType::kInt64, nullptr};
  OpInputs in{.src = {{src.shape, {1, 2, 3, 4, 5, 6}, DType::kInt64},
                      {src.shape, {7, 8, 9, 10, 11, 12}, DType::kInt64}}};
  in.run_backward = false;
  const OpOutputs out = run_op(*make_concat(test_config(), {{src, src}, 1}), in);
  expect_close(out.dst[0], {1, 2, 3, 7, 8, 9, 4, 5, 6, 10, 11, 12}, 0, "dst");
}

class SliceTest : public OpTest {
 protected:
  bool judge(const Shape& shape, int axis, int64_t begin, int64_t end, Form form, DType dtype) {
    Shape part = shape;
    part[axis] = end - begin;
    OpInputs in{.src = {short_tensor(shape, 1, dtype)}, .diff_dst = {short_values(part.n_elements(), 2)}};
    const auto op = make_slice(config_of(dtype), {in_form(shape, form, dtype), axis, begin, end});
    const OpOutputs out = run_op(*op, in);
    expect_close(out.dst[0], reference::slice(shape, in.src[0].values, part, axis, begin), 0, "dst");
    Values expected(in.src[0].values.size());
    reference::paste(part, in.diff_dst[0], axis, begin, shape, expected);
    expect_close(out.diff_src[0], expected, 0, "diff_src");
    return op->info().dst[0].same_form(in_form(part, form, dtype));
  }
};

TEST_F(SliceTest, EveryAxisLayoutAndType) {
  for (const DType dtype : kTypes) {
    for (const Form form : kForms) {
      const Shape shape{3, 53, 5, 4};
      EXPECT_TRUE(judge(shape, 1, 16, 48, form, dtype));
      EXPECT_TRUE(judge(shape, 1, 32, 53, form, dtype));
      EXPECT_TRUE(judge(shape, 1, 0, 53, form, dtype));
      EXPECT_TRUE(judge(shape, 2, 1, 3, form, dtype));
      EXPECT_TRUE(judge(shape, 3, 3, 4, form, dtype));
      judge(shape, 1, 0, 5, form, dtype);  // the block goes on behind the end
      judge(shape, 1, 7, 20, form, dtype);
      judge({2, 16, 9}, 1, 8, 16, form, dtype);
      judge({2, 16, 9}, 2, 2, 9, form, dtype);
      judge({2, 1, 9, 2}, 1, 0, 1, form, dtype);
    }
    judge({7, 12}, 1, 5, 6, Form::kDense, dtype);
    judge({50, 60, 30}, 1, 3, 44, Form::kDense, dtype);  // several threads
  }
}

TEST_F(SliceTest, RefusesWhatIsNoPart) {
  const TensorDesc src{Shape{2, 8, 3}};
  for (const SliceDesc& desc :
       {SliceDesc{src, 0, 0, 1}, {src, 3, 0, 1}, {src, 1, -1, 2}, {src, 1, 3, 3}, {src, 1, 2, 9}}) {
    EXPECT_THROW(make_slice(test_config(), desc), Error);
    count_comparisons(1);
  }
  EXPECT_THROW(make_concat(test_config(), {}), Error);
  EXPECT_THROW(make_concat(test_config(), {{src, {Shape{2, 8, 4}}}, 1}), Error);
  EXPECT_THROW(make_concat(test_config(), {{src, {Shape{2, 24}}}, 1}), Error);
  EXPECT_THROW(make_concat(test_config(), {{src, src}, 0}), Error);
}

}  // namespace
}  // namespace lockstep
