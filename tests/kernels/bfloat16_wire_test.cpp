// Rounding for the wire against the definition of bfloat16, with residuals that lose nothing; chains whose
// every sum is rounded; packing and its way back; any length and alignment, guards.
#include "kernels/bfloat16_wire.h"

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

#include "tests/support/op_test.h"

namespace lockstep {
namespace {

const std::vector<int64_t> kLengths = {0, 1, 3, 4, 5, 15, 16, 17, 257, 2047, 2048, 2049, 70001};
constexpr float kGuard = -777.0f;
constexpr int64_t kPad = 16;

/// Nearest value with 8 significant bits, ties to even, by the definition.
float rounded(double value) {
  if (value == 0 || !std::isfinite(value)) return static_cast<float>(value);
  const int exponent = std::max(std::ilogb(value), -126);
  const double unit = std::ldexp(1.0, exponent - 7);
  return static_cast<float>(std::nearbyint(value / unit) * unit);
}

class Bfloat16WireTest : public OpTest {
 protected:
  /// n values of many magnitudes between guards, `offset` elements behind an aligned place.
  struct Room {
    SharedVector<float> data;
    int64_t n, begin;
    Room(int64_t n_, int64_t offset, uint64_t seed)
        : data(static_cast<size_t>(n_ + 2 * kPad + offset), kGuard), n(n_), begin(kPad + offset) {
      const Values values = random_values(n, seed);
      for (int64_t i = 0; i < n; ++i)
        (*this)[i] =
            static_cast<float>(std::ldexp(values[static_cast<size_t>(i)], static_cast<int>(i % 13) - 6));
    }
    float& operator[](int64_t i) { return data[static_cast<size_t>(begin + i)]; }
    float* get() { return data.data() + begin; }
    void expect_guards() {
      for (int64_t k = 1; k <= kPad; ++k) {
        EXPECT_EQ((*this)[-k], kGuard);
        EXPECT_EQ((*this)[n + k - 1], kGuard);
      }
    }
  };
  std::unique_ptr<Stream> stream_ = make_stream(test_device());
};

TEST_F(Bfloat16WireTest, RoundsToTheNearest) {
  for (const int64_t n : kLengths) {
    for (const int64_t offset : {0, 1}) {
      Room values(n, offset, 1), before(n, offset, 1);
      round_to_bfloat16(*stream_, n, values.get());
      stream_->synchronize();
      for (int64_t i = 0; i < n; ++i) ASSERT_EQ(values[i], rounded(before[i])) << i;
      values.expect_guards();
      count_comparisons(n);
    }
  }
  Room special(6, 0, 1);
  const float inf = std::numeric_limits<float>::infinity();
  const float in[] = {inf, -inf, std::nanf(""), -0.0f, 3.3961775e38f, 1.00390625f};  // the last: a tie
  std::copy_n(in, 6, special.get());
  round_to_bfloat16(*stream_, 6, special.get());
  stream_->synchronize();
  EXPECT_EQ(special[0], inf);
  EXPECT_EQ(special[1], -inf);
  EXPECT_TRUE(std::isnan(special[2]));
  EXPECT_TRUE(special[3] == 0 && std::signbit(special[3]));
  EXPECT_EQ(special[4], inf);  // beyond the largest finite one
  EXPECT_EQ(special[5], 1.0f);
  count_comparisons(6);
}

TEST_F(Bfloat16WireTest, ResidualsLoseNothing) {
  for (const int64_t n : kLengths) {
    for (const int64_t offset : {0, 1}) {
      Room residual(n, offset, 9);
      std::vector<double> wanted(static_cast<size_t>(n)), sent(static_cast<size_t>(n), 0);
      for (int64_t i = 0; i < n; ++i) {
        residual[i] = 0;
        wanted[static_cast<size_t>(i)] = 0;
      }
      for (uint64_t step = 0; step < 4; ++step) {
        Room values(n, offset, step), before(n, offset, step);
        round_to_bfloat16(*stream_, n, values.get(), residual.get());
        stream_->synchronize();
        for (int64_t i = 0; i < n; ++i) {
          ASSERT_EQ(values[i], rounded(values[i])) << "bfloat16 cannot hold it";
          wanted[static_cast<size_t>(i)] += before[i];
          sent[static_cast<size_t>(i)] += values[i];
          // Float32 rounds the sum of value and residual; nothing else is lost.
          ASSERT_NEAR(sent[static_cast<size_t>(i)] + residual[i], wanted[static_cast<size_t>(i)],
                      1e-6 * (1 + std::abs(before[i])) * static_cast<double>(step + 1));
        }
        values.expect_guards();
        residual.expect_guards();
        count_comparisons(n);
      }
    }
  }
}

TEST_F(Bfloat16WireTest, EverySumOfAChainIsRounded) {
  for (const int64_t n : kLengths) {
    for (size_t count = 0; count <= 5; ++count) {
      std::vector<Room> rooms;
      for (size_t k = 0; k <= count; ++k) {
        rooms.emplace_back(n, count % 2, k);
        round_to_bfloat16(*stream_, n, rooms.back().get());
      }
      stream_->synchronize();
      std::vector<float> expected;
      for (int64_t i = 0; i < n; ++i) {
        float sum = rooms[count][i];
        for (size_t k = count; k-- > 0;) sum = rounded(double(rooms[k][i]) + sum);
        expected.push_back(sum);
      }
      std::vector<const float*> partials;
      for (size_t k = 0; k < count; ++k) partials.push_back(rooms[k].get());
      float* dst = rooms[count / 2].get();
      add_chain_bfloat16(*stream_, n, partials, rooms[count].get(), dst);
      stream_->synchronize();
      EXPECT_EQ(std::vector<float>(dst, dst + n), expected);
      rooms[count / 2].expect_guards();
      count_comparisons(n);
    }
  }
}

TEST_F(Bfloat16WireTest, PackedValuesComeBackAndAreAdded) {
  for (const int64_t n : kLengths) {
    for (const int64_t offset : {0, 3}) {
      Room a(n, offset, 1), b(n, offset, 2), back(n, offset, 3);
      SharedVector<uint16_t> packed(static_cast<size_t>(n + 2 * kPad), uint16_t{0xABCD});
      round_to_bfloat16(*stream_, n, a.get());
      round_to_bfloat16(*stream_, n, b.get());
      pack_bfloat16(*stream_, n, a.get(), packed.data() + kPad);
      unpack_bfloat16(*stream_, n, packed.data() + kPad, back.get());
      stream_->synchronize();
      std::vector<float> sums;
      for (int64_t i = 0; i < n; ++i) {
        ASSERT_EQ(packed[static_cast<size_t>(kPad + i)], std::bit_cast<uint32_t>(a[i]) >> 16);
        ASSERT_EQ(back[i], a[i]);
        sums.push_back(rounded(double(a[i]) + b[i]));
      }
      add_packed_bfloat16(*stream_, n, packed.data() + kPad, b.get());
      stream_->synchronize();
      EXPECT_EQ(std::vector<float>(b.get(), b.get() + n), sums);
      EXPECT_EQ(packed[kPad - 1], 0xABCD);
      EXPECT_EQ(packed[static_cast<size_t>(kPad + n)], 0xABCD);
      b.expect_guards();
      back.expect_guards();
      count_comparisons(2 * n);
    }
  }
}

}  // namespace
}  // namespace lockstep
