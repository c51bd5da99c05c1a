// Dropout: the mask is what random.h says and depends on nothing else; what is kept is scaled as asked.
#include "kernels/dropout.h"

#include <algorithm>
#include <cmath>

#include "kernels/cpu/philox_words.h"
#include "kernels/error.h"
#include "kernels/random.h"
#include "tests/support/layouts.h"

namespace lockstep {
namespace {

struct Trial {
  Shape shape{3, 50};
  double p = 0.4;
  bool test_time_scaling = false;
  uint64_t key = 12, seed = 5;
  int64_t step = 7;
  std::vector<int64_t> ids{1000, 3, -1};
  DType dtype = DType::kFloat32;
  Form form = Form::kDense;

  TensorDesc desc() const { return in_form(shape, form, dtype); }
  OpOutputs operator()(const Values& src, const Values& diff_dst) const {
    OpInputs in{.src = {{shape, src, dtype}}, .diff_dst = {diff_dst}};
    in.batch.seed = seed;
    in.batch.step = step;
    in.batch.sample_ids = ids.data();
    return run_op(*make_dropout(test_config(), {desc(), p, test_time_scaling, key}), in);
  }
  /// 1 where an element is kept, by the definition in dropout.h.
  Values mask() const {
    Values result;
    const int64_t k = shape.n_elements() / shape[0];
    for (int64_t n = 0; n < shape[0]; ++n) {
      const RandomStream stream(mix_bits(seed) ^ key, RandomPurpose::kDropout, static_cast<uint32_t>(step),
                                static_cast<uint64_t>(ids[static_cast<size_t>(n)]));
      for (int64_t e = 0; e < k; ++e)
        result.push_back(stream.bits(static_cast<uint64_t>(e)) >= std::nearbyint(p * 0x1p32) ? 1 : 0);
    }
    return result;
  }
  /// dst for a src of ones.
  Values kept() const {
    return (*this)(Values(static_cast<size_t>(shape.n_elements()), 1.0),
                   Values(static_cast<size_t>(shape.n_elements()), 1.0))
        .dst[0];
  }
};

class DropoutTest : public OpTest {
 protected:
  static void judge(const Trial& run) {
    const Values x = rounded_to_bfloat16(random_values(run.shape.n_elements(), 1)),
                 g = rounded_to_bfloat16(random_values(run.shape.n_elements(), 2));
    const OpOutputs out = run(x, g);
    const double factor = run.test_time_scaling ? 1 : 1 / (1 - run.p);
    Values dst = run.mask(), diff_src = dst;
    for (size_t i = 0; i < x.size(); ++i) dst[i] *= factor * x[i], diff_src[i] *= factor * g[i];
    const double tolerance = run.dtype == DType::kFloat32 ? 1e-6 : 1e-2;  // the product is rounded
    expect_close(out.dst[0], dst, tolerance, "dst");
    expect_close(out.diff_src[0], diff_src, tolerance, "diff_src");
  }
};

TEST_F(DropoutTest, AgreesWithItsDefinition) {
  for (const Shape& shape :
       {Shape{3}, Shape{3, 1}, Shape{3, 50}, Shape{3, 64}, Shape{3, 4, 5, 7}, Shape{3, 9001}})
    for (const double p : {0.1, 0.5, 0.9})
      for (const bool test_time_scaling : {false, true})
        for (const DType dtype : kTypes)
          judge({.shape = shape, .p = p, .test_time_scaling = test_time_scaling, .dtype = dtype});
}

TEST_F(DropoutTest, AgreesInEveryLayout) {
  for (const DType dtype : kTypes)
    for (const Form form : kElementForms)
      for (const Shape& shape : {Shape{3, 19, 3, 5}, Shape{3, 7, 6, 6}, Shape{3, 40, 8, 33}, Shape{3, 5, 12}})
        judge({.shape = shape, .dtype = dtype, .form = form});
}

TEST_F(DropoutTest, ZeroSourcesPassTheirGradient) {
  const Trial run;
  const Values zeros(150, 0.0), ones(150, 1.0);
  Values expected = run.mask();
  for (double& value : expected) value /= 0.6;
  expect_close(run(zeros, ones).diff_src[0], expected, 1e-6, "diff_src");
}

// Padding rows and other samples of the micro-batch do not matter, nor does the layout.
TEST_F(DropoutTest, MaskBelongsToTheSample) {
  const Values together = Trial{}.kept();
  const std::vector<int64_t> ids = Trial{}.ids;
  for (size_t n = 0; n < 3; ++n)
    expect_close(Trial{.shape = {1, 50}, .ids = {ids[n]}}.kept(),
                 Values(together.begin() + static_cast<int64_t>(n) * 50,
                        together.begin() + static_cast<int64_t>(n + 1) * 50),
                 0, "alone");
  const Values dense = Trial{.shape = {3, 19, 3, 5}}.kept();
  for (const Form form : kElementForms)
    expect_close(Trial{.shape = {3, 19, 3, 5}, .form = form}.kept(), dense, 0, "layout");
}

TEST_F(DropoutTest, MaskChangesWithEveryKey) {
  const Values one = Trial{}.kept();
  for (const Trial& other :
       {Trial{.key = 13}, Trial{.seed = 6}, Trial{.step = 8}, Trial{.ids = {1001, 4, 5}}}) {
    const Values different = other.kept();
    for (int64_t row = 0; row < 3; ++row)
      EXPECT_FALSE(
          std::equal(one.begin() + row * 50, one.begin() + (row + 1) * 50, different.begin() + row * 50));
    count_comparisons(3);
  }
}

TEST_F(DropoutTest, DropsTheShareAskedFor) {
  for (const double p : {0.1, 0.5, 0.75}) {
    const Values kept = Trial{.shape = {3, 40000}, .p = p}.kept();
    const double share = static_cast<double>(std::count(kept.begin(), kept.end(), 0.0)) / 120000;
    EXPECT_NEAR(share, p, 5 * std::sqrt(p * (1 - p) / 120000));
    double sum = 0;
    for (const double value : kept) sum += value;
    EXPECT_NEAR(sum / 120000, 1, 0.02);  // the mean stays
    count_comparisons(1);
  }
}

TEST_F(DropoutTest, EvaluationKeepsOrScales) {
  OpConfig config = test_config();
  config.training = false;
  for (const DType dtype : kTypes) {
    const Trial run{.dtype = dtype};
    const Values x = rounded_to_bfloat16(random_values(150, 1));
    const OpInputs in{.src = {{run.shape, x, dtype}}, .run_backward = false};
    const auto inverted = make_dropout(config, {run.desc(), 0.5});
    EXPECT_TRUE(inverted->info().aliases_src);
    expect_close(run_op(*inverted, in).dst[0], x, 0, "inverted");
    const auto scaled = make_dropout(config, {run.desc(), 0.5, true});
    EXPECT_EQ(scaled->info().workspace_bytes, 0);
    Values half = x;
    for (double& value : half) value *= 0.5;
    expect_close(run_op(*scaled, in).dst[0], half, 0, "scaled");
  }
}

TEST_F(DropoutTest, BitsDoNotDependOnThreads) {
  const int before = compute_threads();
  std::vector<Values> outputs;
  for (const int threads : {1, 2, 5}) {
    set_compute_threads(threads);
    outputs.push_back(Trial{.shape = {3, 40001}}.kept());
  }
  set_compute_threads(before);
  for (const Values& out : outputs) expect_close(out, outputs[0], 0, "dst");
}

TEST_F(DropoutTest, ManyWordsAreThoseOfTheStream) {
  const RandomStream stream(1, RandomPurpose::kDropout, 2, uint64_t{0x123456789abcdef0});
  for (const uint64_t first : {uint64_t{0}, uint64_t{4096}, (uint64_t{1} << 34) - 96})
    for (const int64_t n : {1, 3, 4, 63, 64, 65, 300}) {
      std::vector<uint32_t> words(static_cast<size_t>(n));
      cpu::philox_words(stream, first, n, words.data());
      for (int64_t i = 0; i < n; ++i)
        ASSERT_EQ(words[static_cast<size_t>(i)], stream.bits(first + static_cast<uint64_t>(i)))
            << first << "+" << i;
      count_comparisons(n);
    }
}

TEST_F(DropoutTest, RefusesWhatHasNoMeaning) {
  for (const double p : {-0.1, 1.0, std::nan("")})
    EXPECT_THROW(make_dropout(test_config(), {{Shape{4, 2}}, p}), Error);
  EXPECT_THROW(make_dropout(test_config(), {{Shape{4, 2}, DType::kInt32, nullptr}}), Error);
  count_comparisons(4);
}

}  // namespace
}  // namespace lockstep
