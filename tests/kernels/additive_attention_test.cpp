// Additive attention against the naive reference and its central differences in float64.
#include "kernels/additive_attention.h"

#include <algorithm>
#include <numeric>

#include "kernels/error.h"
#include "tests/reference/additive_attention.h"
#include "tests/support/layouts.h"

namespace lockstep {
namespace {

struct Trial {
  int64_t n = 3, steps = 4, features = 5, width = 6;
  std::vector<int> lengths = {};  // empty: none
  int64_t n_valid = 0;
  DType dtype = DType::kFloat32;

  std::unique_ptr<Op> make() const {
    AdditiveAttentionDesc desc{{Shape{n, features}}, {Shape{n, steps, features}}, {Shape{n, steps, width}}};
    desc.has_lengths = !lengths.empty();
    return make_additive_attention(config_of(dtype), desc);
  }
  OpInputs inputs() const {
    OpInputs in;
    in.src = {short_tensor(Shape{n, features}, 1, dtype), short_tensor(Shape{n, steps, features}, 2, dtype),
              short_tensor(Shape{n, steps, width}, 3, dtype)};
    if (!lengths.empty()) in.src.push_back({Shape{n}, Values(lengths.begin(), lengths.end()), DType::kInt32});
    in.params = {{Shape{features}, short_values(features, 4, -2, 2)}};
    in.diff_dst = {short_values(n * width, 5), short_values(n * steps, 6)};
    in.batch.n_valid = n_valid;
    return in;
  }
  reference::AdditiveAttention reference(const OpInputs& in) const {
    reference::AdditiveAttention r{
        n, steps, features, width, in.src[0].values, in.src[1].values, in.src[2].values, in.params[0].values,
        {}};
    for (int64_t row = 0; row < n; ++row) {
      const int64_t given =
          lengths.empty() ? steps : std::clamp<int64_t>(lengths[static_cast<size_t>(row)], 0, steps);
      r.lengths.push_back(n_valid > 0 && row >= n_valid ? 0 : given);
    }
    return r;
  }
};

class AdditiveAttentionTest : public OpTest {
 protected:
  static void judge(const Trial& trial, double tolerance = 1e-5) {
    SCOPED_TRACE(std::to_string(trial.n) + "x" + std::to_string(trial.steps) + "x" +
                 std::to_string(trial.features) + " values " + std::to_string(trial.width));
    OpInputs in = trial.inputs();
    const OpOutputs out = run_op(*trial.make(), in);
    const auto expected = trial.reference(in).forward();
    expect_close(out.dst[0], expected.context, tolerance, "context");
    expect_close(out.dst[1], expected.weights, tolerance, "weights");
    const auto loss = [&](const OpInputs& at) {
      const auto result = trial.reference(at).forward();
      const auto dot = [](const Values& a, const Values& b) {
        return std::inner_product(a.begin(), a.end(), b.begin(), 0.0);
      };
      return dot(result.context, in.diff_dst[0]) + dot(result.weights, in.diff_dst[1]);
    };
    const auto compare = [&](Values& values, const Values& gradient, const std::string& what) {
      Values actual, differences;
      const size_t stride = std::max<size_t>(1, values.size() / 50);
      for (size_t i = 0; i < values.size(); i += stride) {
        const double center = values[i], h = 1e-5;
        values[i] = center + h;
        const double above = loss(in);
        values[i] = center - h;
        differences.push_back((above - loss(in)) / (2 * h));
        values[i] = center;
        actual.push_back(gradient[i]);
      }
      expect_close(actual, differences, 4 * tolerance, what);
    };
    for (size_t i = 0; i < 3; ++i)
      compare(in.src[i].values, out.diff_src[i], "diff_src " + std::to_string(i));
    compare(in.params[0].values, out.diff_params[0], "diff_v");
  }
};

TEST_F(AdditiveAttentionTest, EverySize) {
  for (const int64_t features : {1, 5, 16, 33})
    for (const int64_t steps : {1, 3, 17})
      for (const int64_t width : {1, 8, 19})
        judge({.n = 2, .steps = steps, .features = features, .width = width});
  judge({.n = 37, .steps = 40, .features = 20, .width = 24});
}

TEST_F(AdditiveAttentionTest, LengthsAndPadding) {
  judge({.lengths = {2, 0, 9}});
  judge({.n_valid = 2});
  judge({.n = 5, .lengths = {1, 4, -1, 3, 2}, .n_valid = 4});
}

// Weights are rounded before backward reads them.
TEST_F(AdditiveAttentionTest, NarrowTypes) {
  for (const DType dtype : kNarrowTypes)
    judge({.n = 4, .steps = 6, .features = 12, .width = 10, .dtype = dtype}, 0.02);
}

TEST_F(AdditiveAttentionTest, EmptyGradientsAreZero) {
  const Trial trial{.lengths = {2, 0, 4}};
  for (const size_t d : {0, 1}) {
    OpInputs zero = trial.inputs(), empty = zero;
    std::fill(zero.diff_dst[d].begin(), zero.diff_dst[d].end(), 0.0);
    empty.diff_dst[d].clear();
    const OpOutputs a = run_op(*trial.make(), zero), b = run_op(*trial.make(), empty);
    for (size_t i = 0; i < 3; ++i) expect_close(b.diff_src[i], a.diff_src[i], 0, "diff_src");
    expect_close(b.diff_params[0], a.diff_params[0], 0, "diff_v");
  }
  OpInputs unwanted = trial.inputs();
  unwanted.wants_diff_src = false;
  expect_close(run_op(*trial.make(), unwanted).diff_params[0],
               run_op(*trial.make(), trial.inputs()).diff_params[0], 0, "diff_v");
}

// torch.softmax((torch.tanh(q[:, None] + k) * v).sum(-1), 1) and its weighted sum, worked by hand: equal
// scores.
TEST_F(AdditiveAttentionTest, EqualScoresGiveTheMean) {
  const Trial trial{.n = 1, .steps = 4, .features = 2, .width = 2};
  OpInputs in = trial.inputs();
  in.params[0].values = {0, 0};
  in.src[2].values = {1, 2, 3, 4, 5, 6, 7, 8};
  const OpOutputs out = run_op(*trial.make(), in);
  expect_close(out.dst[1], {0.25, 0.25, 0.25, 0.25}, 0, "weights");
  expect_close(out.dst[0], {4, 5}, 0, "context");
}

TEST_F(AdditiveAttentionTest, RefusesWhatDoesNotFit) {
  const TensorDesc query{Shape{3, 5}}, keys{Shape{3, 4, 5}}, values{Shape{3, 4, 6}};
  EXPECT_THROW(make_additive_attention(test_config(), {{Shape{2, 5}}, keys, values}), Error);
  EXPECT_THROW(make_additive_attention(test_config(), {{Shape{3, 4}}, keys, values}), Error);
  EXPECT_THROW(make_additive_attention(test_config(), {query, keys, {Shape{3, 5, 6}}}), Error);
  EXPECT_THROW(make_additive_attention(test_config(), {query, {Shape{3, 5}}, values}), Error);
  count_comparisons(4);
}

}  // namespace
}  // namespace lockstep
