// Vector kernels: every length around the vector widths, exact results, guards and aliases.
#include "kernels/elementwise.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "tests/support/op_test.h"

namespace lockstep {
namespace {

constexpr float kGuard = -777.0f;

const std::vector<int64_t> kLengths = {0,   1,    2,    3,    4,    5,    7,    8,    9,     15,
                                       16,  17,   31,   32,   33,   63,   64,   65,   97,    255,
                                       257, 1000, 2047, 2048, 2049, 4095, 4096, 4097, 12289, 70001};

/// n floats with guards on both sides, at an odd offset from any alignment.
class Vector {
 public:
  explicit Vector(int64_t n, uint64_t seed = 0) : n_(n), data_(static_cast<size_t>(n + 2 * kPad), kGuard) {
    const Values values = random_values(n, seed);
    for (size_t i = 0; i < values.size(); ++i) begin()[i] = static_cast<float>(values[i]);
  }
  float* begin() { return data_.data() + kPad; }
  std::vector<float> copy() { return {begin(), begin() + n_}; }
  void expect_guards() {
    for (int64_t i = 0; i < kPad; ++i) {
      EXPECT_EQ(data_[static_cast<size_t>(i)], kGuard);
      EXPECT_EQ(data_[static_cast<size_t>(n_ + kPad + i)], kGuard);
    }
  }

 private:
  static constexpr int64_t kPad = 19;
  int64_t n_;
  SharedVector<float> data_;
};

class ElementwiseTest : public OpTest {
 protected:
  std::unique_ptr<Stream> stream_ = make_stream(test_device());

  void expect_equal(const std::vector<float>& actual, const std::vector<float>& expected) {
    EXPECT_EQ(actual, expected);
    count_comparisons(static_cast<int64_t>(expected.size()));
  }
};

TEST_F(ElementwiseTest, Add) {
  for (const int64_t n : kLengths)
    for (const int alias : {0, 1, 2}) {
      Vector a(n, 1), b(n, 2), c(n);
      std::vector<float> expected;
      for (int64_t i = 0; i < n; ++i) expected.push_back(a.begin()[i] + b.begin()[i]);
      Vector& dst = alias == 0 ? c : alias == 1 ? a : b;
      add(*stream_, n, a.begin(), b.begin(), dst.begin());
      stream_->synchronize();
      expect_equal(dst.copy(), expected);
      for (Vector* v : {&a, &b, &c}) v->expect_guards();
    }
}

// dst = p0 + (p1 + ( … + last)), each sum rounded to float32, for every count and every alias.
TEST_F(ElementwiseTest, AddChain) {
  for (const int64_t n : {0, 1, 5, 16, 33, 2047, 2048, 2049, 5000})
    for (int count = 0; count <= static_cast<int>(kMaxChain); ++count)
      for (int alias = -1; alias <= count; ++alias) {
        std::vector<Vector> partials;
        for (int k = 0; k < count; ++k) partials.emplace_back(n, 10 + static_cast<uint64_t>(k));
        Vector last(n, 3), dst(n);
        std::vector<float> expected;
        for (int64_t i = 0; i < n; ++i) {
          float sum = last.begin()[i];
          for (int k = count - 1; k >= 0; --k) sum = partials[static_cast<size_t>(k)].begin()[i] + sum;
          expected.push_back(sum);
        }
        std::vector<const float*> pointers;
        for (Vector& p : partials) pointers.push_back(p.begin());
        Vector& target = alias < 0 ? dst : alias == count ? last : partials[static_cast<size_t>(alias)];
        add_chain(*stream_, n, pointers, last.begin(), target.begin());
        stream_->synchronize();
        expect_equal(target.copy(), expected);
        for (Vector& p : partials) p.expect_guards();
        last.expect_guards();
        dst.expect_guards();
      }
}

// p0 + p1 + … from the left in float32; bfloat16 is rounded once, by the upper bits of the sum.
TEST_F(ElementwiseTest, SumGradients) {
  for (const int64_t n : kLengths)
    for (const size_t count : {1, 2, 3, 5, 9}) {
      std::vector<Vector> wide;
      std::vector<std::vector<uint16_t>> narrow;
      std::vector<void*> wide_pointers, narrow_pointers;
      for (size_t k = 0; k < count; ++k) wide.emplace_back(n, 20 + k);
      for (size_t k = 0; k < count; ++k) {
        wide_pointers.push_back(wide[k].begin());
        narrow.emplace_back(static_cast<size_t>(n + 2), uint16_t{0x7FC1});  // guards of NaN
        for (int64_t i = 0; i < n; ++i)
          narrow[k][static_cast<size_t>(1 + i)] =
              static_cast<uint16_t>(std::bit_cast<uint32_t>(wide[k].begin()[i]) >> 16);
      }
      for (std::vector<uint16_t>& v : narrow) narrow_pointers.push_back(v.data() + 1);
      const std::vector<float> first_of_the_rest = count > 1 ? wide[1].copy() : wide[0].copy();
      std::vector<float> expected;
      std::vector<uint16_t> expected_narrow(1, uint16_t{0x7FC1});
      for (int64_t i = 0; i < n; ++i) {
        float sum = wide[0].begin()[i], narrow_sum = 0;
        for (size_t k = 1; k < count; ++k) sum += wide[k].begin()[i];
        for (size_t k = 0; k < count; ++k)
          narrow_sum += std::bit_cast<float>(uint32_t{narrow[k][static_cast<size_t>(1 + i)]} << 16);
        expected.push_back(sum);
        const auto bits = std::bit_cast<uint32_t>(narrow_sum);
        const uint32_t low = bits & 0xFFFFu, even = (bits >> 16) & 1u;
        expected_narrow.push_back(
            static_cast<uint16_t>((bits >> 16) + (low > 0x8000u || (low == 0x8000u && even == 1) ? 1 : 0)));
      }
      expected_narrow.push_back(uint16_t{0x7FC1});
      sum_gradients(*stream_, DType::kFloat32, n, wide_pointers);
      stream_->synchronize();
      sum_gradients(*stream_, DType::kBFloat16, n, narrow_pointers);
      stream_->synchronize();
      expect_equal(wide[0].copy(), expected);
      EXPECT_EQ(narrow[0], expected_narrow);
      if (count > 1) expect_equal(wide[1].copy(), first_of_the_rest);  // the others stay
      for (Vector& v : wide) v.expect_guards();
    }
}

TEST_F(ElementwiseTest, Fill) {
  for (const int64_t n : kLengths) {
    Vector dst(n, 1);
    fill(*stream_, n, 2.5f, dst.begin());
    stream_->synchronize();
    expect_equal(dst.copy(), std::vector<float>(static_cast<size_t>(n), 2.5f));
    dst.expect_guards();
  }
}

TEST_F(ElementwiseTest, SumOfSquares) {
  for (const int64_t n : kLengths) {
    Vector src(n, 4);
    double exact = 0;
    for (float x : src.copy()) exact += static_cast<double>(x) * x;
    const double sum = sum_of_squares(*stream_, n, src.begin());
    EXPECT_NEAR(sum, exact, 1e-13 * exact) << n;
    EXPECT_EQ(sum, sum_of_squares(*stream_, n, src.begin()));
    count_comparisons(1);
  }
}

TEST_F(ElementwiseTest, ClipsTheNorm) {
  for (const int64_t n : kLengths) {
    for (const double most : {0.5, 1e6}) {
      Vector values(n, 6);
      const std::vector<float> before = values.copy();
      double sum = 0;
      for (float x : before) sum += static_cast<double>(x) * x;
      const Memory norm = Memory::on_host(test_device(), sizeof(double));
      clip_norm(*stream_, n, values.begin(), 0.25, most, norm.as<double>());
      stream_->synchronize();
      const double expected = 0.25 * std::sqrt(sum);
      EXPECT_NEAR(*norm.as<double>(), expected, 1e-12 * expected + 1e-300) << n;
      const auto factor = static_cast<float>(expected > most ? most / (expected + 1e-6) : 1.0);
      std::vector<float> clipped = before;
      for (float& x : clipped) x *= factor;
      const std::vector<float> found = values.copy();
      for (size_t i = 0; i < found.size(); ++i)
        EXPECT_NEAR(found[i], clipped[i], 1e-6f * std::abs(clipped[i]));
      values.expect_guards();
      count_comparisons(n + 1);
    }
  }
}

TEST_F(ElementwiseTest, ANormThatIsNotFiniteClipsNothing) {
  for (const float odd : {INFINITY, NAN}) {
    Vector values(5, 6);
    values.begin()[3] = odd;
    const std::vector<float> before = values.copy();
    const Memory norm = Memory::on_host(test_device(), sizeof(double));
    clip_norm(*stream_, 5, values.begin(), 1, 0.5, norm.as<double>());
    stream_->synchronize();
    EXPECT_FALSE(std::isfinite(*norm.as<double>()));
    for (size_t i : {0, 1, 2, 4}) EXPECT_EQ(values.copy()[i], before[i]);
    count_comparisons(5);
  }
}

TEST_F(ElementwiseTest, ClipsValues) {
  for (const int64_t n : kLengths) {
    Vector values(n, 7);
    std::vector<float> clipped = values.copy();
    for (float& x : clipped) x = std::clamp(x, -0.25f, 0.25f);
    clip_values(*stream_, n, values.begin(), 0.25f);
    stream_->synchronize();
    expect_equal(values.copy(), clipped);
    values.expect_guards();
  }
}

// Chunks of 4096 added in order: a vector's sum is the sum over its chunks, bit by bit, so that
// ranks that own whole chunks can share the work.
TEST_F(ElementwiseTest, SumOfSquaresHasAFixedOrder) {
  Vector src(70001, 5);
  double sum = 0;
  for (int64_t start = 0; start < 70001; start += 4096)
    sum += sum_of_squares(*stream_, std::min<int64_t>(4096, 70001 - start), src.begin() + start);
  const double whole = sum_of_squares(*stream_, 70001, src.begin());
  if (test_device().kind == Device::Kind::kCpu) {
    EXPECT_EQ(whole, sum);
  } else {  // GPUs add the chunks as a tree
    EXPECT_NEAR(whole, sum, 1e-14 * sum);
    EXPECT_EQ(whole, sum_of_squares(*stream_, 70001, src.begin()));
  }
  count_comparisons(1);
}

TEST_F(ElementwiseTest, SumOfSquaresDoesNotDependOnThreads) {
  const int64_t n = 4096 * 300 + 17;  // more than one group of chunks
  Vector src(n, 6);
  const int before = compute_threads();
  std::vector<double> sums;
  for (const int threads : {1, 2, 3, 5}) {
    set_compute_threads(threads);
    sums.push_back(sum_of_squares(*stream_, n, src.begin()));
  }
  set_compute_threads(before);
  for (const double sum : sums) EXPECT_EQ(sum, sums[0]);
  count_comparisons(3);
}

TEST_F(ElementwiseTest, SumOfSquaresOfLargeAndSmallNumbers) {
  Vector src(5000);
  for (int64_t i = 0; i < 5000; ++i)
    src.begin()[i] = i % 2 ? 1e-19f : 1e19f;  // squares leave float32's range
  double exact = 0;
  for (float x : src.copy()) exact += static_cast<double>(x) * x;
  EXPECT_NEAR(sum_of_squares(*stream_, 5000, src.begin()), exact, 1e-13 * exact);
  src.begin()[4321] = std::nanf("");
  EXPECT_TRUE(std::isnan(sum_of_squares(*stream_, 5000, src.begin())));
  count_comparisons(2);
}

}  // namespace
}  // namespace lockstep
