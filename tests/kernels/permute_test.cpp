// Permutations of axes against coordinates, for every order of up to five axes.
#include "kernels/permute.h"

#include <algorithm>
#include <numeric>

#include "kernels/error.h"
#include "tests/reference/concat.h"
#include "tests/support/layouts.h"

namespace lockstep {
namespace {

class PermuteTest : public OpTest {
 protected:
  void judge(const Shape& shape, const std::vector<int>& axes, DType dtype) {
    Shape dst = shape;
    for (int i = 0; i < dst.rank(); ++i) dst[i] = shape[axes[static_cast<size_t>(i)]];
    OpInputs in{.src = {short_tensor(shape, 1, dtype)}, .diff_dst = {short_values(shape.n_elements(), 2)}};
    const OpOutputs out = run_op(*make_permute(config_of(dtype), {shape, dtype}, axes), in);
    Values expected, diff_src(in.src[0].values.size());
    reference::for_each_element(dst, [&](const std::vector<int64_t>& at) {
      std::vector<int64_t> from(at.size());
      for (size_t i = 0; i < at.size(); ++i) from[static_cast<size_t>(axes[i])] = at[i];
      const auto place = static_cast<size_t>(reference::position(shape, from));
      diff_src[place] = in.diff_dst[0][expected.size()];
      expected.push_back(in.src[0].values[place]);
    });
    expect_close(out.dst[0], expected, 0, "dst " + shape.str());
    expect_close(out.diff_src[0], diff_src, 0, "diff_src " + shape.str());
  }
};

TEST_F(PermuteTest, EveryOrder) {
  for (const DType dtype : kTypes)
    for (const Shape& shape : {Shape{5}, Shape{3, 7}, Shape{2, 5, 3}, Shape{3, 1, 4}, Shape{2, 3, 1, 5},
                               Shape{2, 3, 4, 5}, Shape{1, 1, 1, 1}, Shape{2, 3, 2, 3, 4}}) {
      std::vector<int> axes(static_cast<size_t>(shape.rank()));
      std::iota(axes.begin(), axes.end(), 0);
      do judge(shape, axes, dtype);
      while (std::next_permutation(axes.begin() + 1, axes.end()));
    }
}

TEST_F(PermuteTest, LargerThanTilesAndOneThread) {
  for (const DType dtype : kTypes) {
    judge({3, 33, 65}, {0, 2, 1}, dtype);
    judge({20, 100, 70}, {0, 2, 1}, dtype);
    judge({3, 40, 8, 64}, {0, 2, 1, 3}, dtype);  // heads of attention
    judge({2, 31, 32, 34}, {0, 3, 1, 2}, dtype);
  }
}

TEST_F(PermuteTest, RefusesWhatIsNoOrder) {
  const TensorDesc src{Shape{2, 3, 4}};
  for (const std::vector<int>& axes : {std::vector<int>{0, 1}, {1, 0, 2}, {0, 1, 1}, {0, 1, 3}, {0, -1, 1}}) {
    EXPECT_THROW(make_permute(test_config(), src, axes), Error);
    count_comparisons(1);
  }
}

}  // namespace
}  // namespace lockstep
