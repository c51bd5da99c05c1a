// Mixed samples and mixed losses against float64, the distribution of what is drawn, and which rows partners
// are.
#include "kernels/mix.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <set>
#include <vector>

#include "kernels/error.h"
#include "kernels/loss.h"

namespace lockstep {
namespace {

constexpr int64_t kN = 6, kC = 3, kH = 8, kW = 5;

struct Batch {
  std::vector<int64_t> ids;
  BatchContext context;
  explicit Batch(int64_t n_valid, int64_t step = 0, int64_t first = 17) : ids(kN, -1) {
    for (int64_t i = 0; i < n_valid; ++i) ids[static_cast<size_t>(i)] = first + 31 * i;
    context.seed = 5;
    context.step = step;
    context.n_valid = n_valid;
    context.sample_ids = ids.data();
  }
};

std::vector<float> numbers(int64_t n, uint64_t key) {
  std::vector<float> values;
  for (int64_t i = 0; i < n; ++i)
    values.push_back(static_cast<float>(std::sin(static_cast<double>(i * 37 + static_cast<int64_t>(key)))));
  return values;
}

OpConfig cpu() { return {.device = {}, .training = true}; }

std::vector<float> mixed(const MixOptions& options, const BatchContext& batch, std::vector<float> src) {
  const TensorDesc desc{Shape{kN, kC, kH, kW}, DType::kFloat32, nullptr};
  const std::unique_ptr<Op> op = make_mix(cpu(), options, desc);
  std::vector<float> dst(src.size(), NAN);
  const Tensor in{src.data(), desc}, out{dst.data(), desc};
  OpArgs args;
  args.src = {&in, 1};
  args.dst = {&out, 1};
  args.batch = &batch;
  op->forward(*make_stream({}), args);
  return dst;
}

TEST(Mix, OfSamplesIsTheFormula) {
  int n_mixup = 0, n_cutmix = 0, n_none = 0;
  const MixOptions options{.mixup_p = 0.4, .mixup_alpha = 0.4, .cutmix_p = 0.4, .cutmix_alpha = 1};
  for (int64_t step = 0; step < 60; ++step) {
    const int64_t n_valid = step % 5 == 0 ? 4 : kN;
    const Batch batch(n_valid, step);
    std::vector<float> src = numbers(kN * kC * kH * kW, static_cast<uint64_t>(step));
    std::fill(src.begin() + n_valid * kC * kH * kW, src.end(), 0.0f);
    const Mixture m = draw_mixture(options, batch.context, kH, kW);
    const std::vector<float> dst = mixed(options, batch.context, src);
    (m.kind == Mixture::Kind::kMixup ? n_mixup : m.kind == Mixture::Kind::kCutmix ? n_cutmix : n_none)++;
    int64_t n_pasted = 0;
    for (int64_t n = 0; n < kN; ++n)
      for (int64_t c = 0; c < kC; ++c)
        for (int64_t y = 0; y < kH; ++y)
          for (int64_t x = 0; x < kW; ++x) {
            const auto at = [&](int64_t row) {
              return static_cast<size_t>(((row * kC + c) * kH + y) * kW + x);
            };
            const int64_t partner = n < n_valid ? (n + m.shift) % n_valid : n;
            double expected = src[at(n)];
            if (m.kind == Mixture::Kind::kMixup && n < n_valid)
              expected = m.share * src[at(n)] + (1 - m.share) * src[at(partner)];
            const bool in_box = y >= m.top && y < m.bottom && x >= m.left && x < m.right;
            if (m.kind == Mixture::Kind::kCutmix && in_box) expected = src[at(partner)];
            n_pasted += n == 0 && c == 0 && in_box;
            ASSERT_NEAR(dst[at(n)], expected, 2e-7) << "step " << step;
          }
    if (m.kind == Mixture::Kind::kCutmix) {
      EXPECT_NEAR(m.share, 1 - static_cast<double>(n_pasted) / (kH * kW), 1e-15);
    }
  }
  EXPECT_GT(n_mixup, 10);
  EXPECT_GT(n_cutmix, 10);
  EXPECT_GT(n_none, 3);
}

TEST(Mix, PartnersAreAPermutationWithoutFixedRows) {
  std::set<int64_t> shifts;
  for (int64_t step = 0; step < 50; ++step) {
    const Mixture m = draw_mixture({.mixup_p = 1}, Batch(kN, step).context, 1, 1);
    EXPECT_GE(m.shift, 1);
    EXPECT_LT(m.shift, kN);
    shifts.insert(m.shift);
  }
  EXPECT_EQ(shifts.size(), static_cast<size_t>(kN - 1));
  EXPECT_EQ(draw_mixture({.mixup_p = 1}, Batch(1).context, 1, 1).kind, Mixture::Kind::kNone);
  EXPECT_EQ(draw_mixture({.mixup_p = 1}, Batch(0).context, 1, 1).kind, Mixture::Kind::kNone);
}

TEST(Mix, DependsOnSeedStepAndFirstSampleAlone) {
  const MixOptions options{.mixup_p = 1};
  const double share = draw_mixture(options, Batch(kN).context, 1, 1).share;
  EXPECT_EQ(draw_mixture(options, Batch(kN).context, 1, 1).share, share);
  EXPECT_NE(draw_mixture(options, Batch(kN, 1).context, 1, 1).share, share);
  EXPECT_NE(draw_mixture(options, Batch(kN, 0, 18).context, 1, 1).share, share);
  Batch other(kN);
  other.context.seed = 6;
  EXPECT_NE(draw_mixture(options, other.context, 1, 1).share, share);
}

// Kolmogorov-Smirnov of 20,000 draws: alpha 1 is uniform, 1/2 the arcsine distribution, 2 has the
// distribution function 3 x^2 - 2 x^3. The bound is that of a probability of 1e-4.
TEST(Mix, SharesHaveTheBetaDistribution) {
  constexpr int kDraws = 20'000;
  const auto distance = [&](double alpha, auto cdf) {
    std::vector<double> x;
    for (uint64_t key = 0; key < kDraws; ++key) x.push_back(draw_beta(alpha, key));
    std::sort(x.begin(), x.end());
    double most = 0;
    for (size_t i = 0; i < x.size(); ++i) {
      EXPECT_TRUE(x[i] >= 0 && x[i] <= 1);
      most = std::max(most, std::abs(cdf(x[i]) - (static_cast<double>(i) + 0.5) / kDraws));
    }
    return most * std::sqrt(static_cast<double>(kDraws));
  };
  EXPECT_LT(distance(1, [](double x) { return x; }), 2.23);
  EXPECT_LT(distance(0.5, [](double x) { return 2 / M_PI * std::asin(std::sqrt(x)); }), 2.23);
  EXPECT_LT(distance(2, [](double x) { return 3 * x * x - 2 * x * x * x; }), 2.23);
  EXPECT_GT(distance(1, [](double x) { return x * x; }), 2.23);  // the test sees another one
  double variance = 0;
  for (uint64_t key = 0; key < kDraws; ++key) variance += std::pow(draw_beta(0.1, key) - 0.5, 2) / kDraws;
  EXPECT_NEAR(variance, 1 / (4 * 1.2), 0.003);
}

/// One row of softmax cross-entropy with smoothing and class weights, in float64.
struct Row {
  double loss, weight;
  std::vector<double> gradient;
};
Row cross_entropy(const float* x, int64_t k, int64_t target, double smoothing, const std::vector<float>& w) {
  double most = -INFINITY, sum = 0, w_total = 0;
  for (int64_t j = 0; j < k; ++j) most = std::max<double>(most, x[j]);
  for (int64_t j = 0; j < k; ++j) sum += std::exp(x[j] - most), w_total += w[static_cast<size_t>(j)];
  Row row{0, w[static_cast<size_t>(target)], {}};
  const auto kd = static_cast<double>(k);
  for (int64_t j = 0; j < k; ++j) {
    const double log_p = x[j] - most - std::log(sum), wj = w[static_cast<size_t>(j)];
    row.loss -= smoothing / kd * wj * log_p;
    if (j == target) row.loss -= (1 - smoothing) * wj * log_p;
    row.gradient.push_back(std::exp(log_p) * ((1 - smoothing) * row.weight + smoothing * w_total / kd) -
                           smoothing * wj / kd - (j == target ? (1 - smoothing) * row.weight : 0));
  }
  return row;
}

TEST(Mix, OfLossesIsTheFormula) {
  constexpr int64_t kClasses = 5;
  const MixOptions options{.mixup_p = 0.8, .mixup_alpha = 1};
  const std::vector<float> weights{1, 2, 0.5f, 1.5f, 3};
  int n_mixed = 0, n_compared = 0;
  for (int64_t step = 0; step < 40; ++step) {
    const int64_t n_valid = step % 4 == 0 ? 3 : kN;
    Batch batch(n_valid, step);
    batch.context.loss_scale = step % 3 == 0 ? 8 : 1;
    std::vector<float> x = numbers(kN * kClasses, static_cast<uint64_t>(step));
    std::vector<int64_t> target;
    for (int64_t i = 0; i < kN; ++i) target.push_back((i * 7 + step) % kClasses);
    SoftmaxCrossEntropyDesc desc;
    desc.prediction = {Shape{kN, kClasses}, DType::kFloat32, nullptr};
    desc.label_smoothing = 0.1;
    desc.class_weights = weights;
    const std::unique_ptr<Op> op = make_mixed_loss(options, make_softmax_cross_entropy(cpu(), desc), 1, 1);
    const OpInfo& info = op->info();
    std::vector<double> sums(kLossValues);
    std::vector<float> diff(x.size(), NAN);
    std::vector<std::byte> workspace(static_cast<size_t>(info.workspace_bytes + 64)),
        scratchpad(static_cast<size_t>(info.scratchpad_bytes + 64));
    const std::vector<Tensor> src{{x.data(), info.src[0]}, {target.data(), info.src[1]}};
    const Tensor dst{sums.data(), info.dst[0]};
    const std::vector<Tensor> diff_src{{diff.data(), info.src[0]}, {}};
    OpArgs args;
    args.src = src;
    args.dst = {&dst, 1};
    args.batch = &batch.context;
    const auto aligned = [](std::vector<std::byte>& memory) {
      return reinterpret_cast<std::byte*>((reinterpret_cast<uintptr_t>(memory.data()) + 63) / 64 * 64);
    };
    args.workspace = aligned(workspace);
    args.scratchpad = aligned(scratchpad);
    const auto stream = make_stream({});
    op->forward(*stream, args);
    args.diff_src = diff_src;
    op->backward(*stream, args);

    const Mixture m = draw_mixture(options, batch.context, 1, 1);
    n_mixed += m.kind == Mixture::Kind::kMixup;
    double loss = 0, weight = 0;
    for (int64_t n = 0; n < kN; ++n) {
      const float* row = x.data() + n * kClasses;
      const int64_t partner = m.kind == Mixture::Kind::kNone ? n : (n + m.shift) % n_valid;
      const Row own = cross_entropy(row, kClasses, target[static_cast<size_t>(n)], 0.1, weights);
      const Row other =
          cross_entropy(row, kClasses, target[static_cast<size_t>(n < n_valid ? partner : n)], 0.1, weights);
      if (n < n_valid) {
        loss += m.share * own.loss + (1 - m.share) * other.loss;
        weight += m.share * own.weight + (1 - m.share) * other.weight;
      }
      for (int64_t j = 0; j < kClasses; ++j, ++n_compared) {
        const auto at = static_cast<size_t>(j);
        const double gradient =
            n < n_valid
                ? batch.context.loss_scale * (m.share * own.gradient[at] + (1 - m.share) * other.gradient[at])
                : 0;
        EXPECT_NEAR(diff[static_cast<size_t>(n * kClasses + j)], gradient, 3e-6) << "step " << step;
      }
    }
    EXPECT_NEAR(sums[kLossSum], loss, 1e-5);
    EXPECT_NEAR(sums[kWeightSum], weight, 1e-6);
    EXPECT_EQ(sums[kNCounted], n_valid);
  }
  EXPECT_GT(n_mixed, 20);
  EXPECT_EQ(n_compared, 40 * kN * kClasses);
}

TEST(Mix, RefusesWhatCannotBeCut) {
  const TensorDesc flat{Shape{kN, 9}, DType::kFloat32, nullptr};
  EXPECT_THROW(make_mix(cpu(), {.cutmix_p = 1}, flat), Error);
  EXPECT_NO_THROW(make_mix(cpu(), {.mixup_p = 1}, flat));
}

}  // namespace
}  // namespace lockstep
