// One-hot vectors against their definition.
#include "kernels/one_hot.h"

#include <cmath>

#include "kernels/error.h"
#include "tests/support/layouts.h"

namespace lockstep {
namespace {

class OneHotTest : public OpTest {};

TEST_F(OneHotTest, OneAtTheId) {
  for (const DType dtype : kTypes)
    for (const Shape& shape : {Shape{1}, Shape{5}, Shape{3, 4}, Shape{70, 9}})
      for (const int64_t classes : {1, 2, 33, 100}) {
        OpInputs in;
        in.src = {{shape, integer_values(shape.n_elements(), 1, 0, classes - 1), DType::kInt32}};
        const auto op = make_one_hot(config_of(dtype), {{shape, DType::kInt32, nullptr}, classes});
        in.diff_dst = {Values(static_cast<size_t>(shape.n_elements() * classes), 1.0)};
        const OpOutputs out = run_op(*op, in);
        Values expected;
        for (const double id : in.src[0].values)
          for (int64_t k = 0; k < classes; ++k) expected.push_back(static_cast<double>(k) == id ? 1 : 0);
        expect_close(out.dst[0], expected, 0, "dst");
      }
}

TEST_F(OneHotTest, IdsOutsideGiveNaN) {
  OpInputs in;
  in.src = {{Shape{3}, {2, -1, 1}, DType::kInt32}};
  in.run_backward = false;
  const OpOutputs out = run_op(*make_one_hot(test_config(), {{Shape{3}, DType::kInt32, nullptr}, 2}), in);
  for (const size_t i : {0, 1, 2, 3}) EXPECT_TRUE(std::isnan(out.dst[0][i])) << i;
  EXPECT_EQ(out.dst[0][4], 0);
  EXPECT_EQ(out.dst[0][5], 1);
  count_comparisons(6);
}

TEST_F(OneHotTest, RefusesWhatHasNoMeaning) {
  EXPECT_THROW(make_one_hot(test_config(), {{Shape{4, 2}}, 3}), Error);
  EXPECT_THROW(make_one_hot(test_config(), {{Shape{4, 2}, DType::kInt32, nullptr}, 0}), Error);
  count_comparisons(2);
}

}  // namespace
}  // namespace lockstep
