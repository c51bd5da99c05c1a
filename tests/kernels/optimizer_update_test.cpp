// Optimizer updates against PyTorch's numbers, a float64 reference, and for every length.
#include "kernels/optimizer_update.h"

#include <functional>

#include "tests/reference/optimizer.h"
#include "tests/support/op_test.h"

namespace lockstep {
namespace {

// Ten float32 steps: rounding of the weights in each, relative to their rms.
constexpr double kTolerance = 1e-6;

UpdateRanges whole(int64_t n) { return UpdateRanges(test_device(), {{0, n}}); }

class OptimizerUpdateTest : public OpTest {
 protected:
  std::unique_ptr<Stream> stream_ = make_stream(test_device());

  using Update =
      std::function<void(int64_t step, int64_t n, const float* grad, float* weights, float* s, float* t)>;

  /// Steps 1 and 10 from the weights below with the gradients ((7 step + 5 i) mod 11 - 5) / 4.
  void expect_pytorch(const Update& update, const Values& after_1, const Values& after_10,
                      double relative = kTolerance) {
    SharedVector<float> weights = {0.5f, -1.25f, 2.0f, -0.0625f, 3.0f}, s(5), t(5), grad(5);
    for (int64_t step = 0; step < 10; ++step) {
      for (int64_t i = 0; i < 5; ++i)
        grad[static_cast<size_t>(i)] = static_cast<float>((step * 7 + i * 5) % 11 - 5) / 4.0f;
      update(step + 1, 5, grad.data(), weights.data(), s.data(), t.data());
      if (step == 0) expect_close(Values(weights.begin(), weights.end()), after_1, relative, "step 1");
    }
    expect_close(Values(weights.begin(), weights.end()), after_10, relative, "step 10");
  }

  Update sgd(SgdUpdate rule) {
    return [this, rule](int64_t, int64_t n, const float* grad, float* weights, float* velocity, float*) {
      sgd_update(*stream_, rule, whole(n), grad, weights, rule.momentum == 0 ? nullptr : velocity);
      stream_->synchronize();
    };
  }
  Update adam(AdamUpdate rule) {
    return [this, rule](int64_t step, int64_t n, const float* grad, float* weights, float* m, float* v) {
      AdamUpdate now = rule;
      now.step = step;
      adam_update(*stream_, now, whole(n), grad, weights, m, v);
      stream_->synchronize();
    };
  }
};

// Expected: PyTorch 2.15, float64 weights, lr = 0.1 (SGD) and 0.05 (Adam), nine digits.
TEST_F(OptimizerUpdateTest, PyTorchSgd) {
  expect_pytorch(sgd({.lr = 0.1f}), {0.625, -1.25, 1.875, -0.0375, 2.9}, {0.475, -1.15, 1.95, 0.0125, 2.925});
}
TEST_F(OptimizerUpdateTest, PyTorchSgdWeightDecay) {
  expect_pytorch(sgd({.lr = 0.1f, .weight_decay = 0.01f}), {0.6245, -1.24875, 1.873, -0.0374375, 2.897},
                 {0.469724608, -1.13827853, 1.93113505, 0.0126500129, 2.89533292});
}
TEST_F(OptimizerUpdateTest, PyTorchMomentum) {
  expect_pytorch(sgd({.lr = 0.1f, .momentum = 0.9f}), {0.625, -1.25, 1.875, -0.0375, 2.9},
                 {0.601592464, -0.692500556, 1.34498466, 0.240988684, 2.85701116});
}
TEST_F(OptimizerUpdateTest, PyTorchMomentumWeightDecay) {
  expect_pytorch(sgd({.lr = 0.1f, .momentum = 0.9f, .weight_decay = 0.01f}),
                 {0.6245, -1.24875, 1.873, -0.0374375, 2.897},
                 {0.57403729, -0.648762591, 1.27731318, 0.234863824, 2.7395908});
}
TEST_F(OptimizerUpdateTest, PyTorchNesterov) {
  expect_pytorch(sgd({.lr = 0.1f, .momentum = 0.9f, .nesterov = true, .weight_decay = 0.01f}),
                 {0.73655, -1.247625, 1.7587, -0.01488125, 2.8043},
                 {0.534041531, -0.601517089, 1.28774583, 0.276678082, 2.66341095});
}
TEST_F(OptimizerUpdateTest, PyTorchAdam) {
  expect_pytorch(adam({.lr = 0.05f}), {0.55, -1.25, 1.95, -0.012500002, 2.95},
                 {0.567602205, -1.14340128, 1.84603573, 0.0651722779, 2.92221668});
}
TEST_F(OptimizerUpdateTest, PyTorchAdamWeightDecay) {
  expect_pytorch(adam({.lr = 0.05f, .beta1 = 0.8f, .beta2 = 0.95f, .epsilon = 1e-6f, .weight_decay = 0.1f}),
                 {0.549999958, -1.2000004, 1.95000003, -0.0125001951, 2.95000004},
                 {0.521057626, -1.04718332, 1.79248047, 0.044457517, 2.79288474});
}
TEST_F(OptimizerUpdateTest, PyTorchAdamW) {
  expect_pytorch(adam({.lr = 0.05f, .weight_decay = 0.1f, .decoupled = true}),
                 {0.5475, -1.24375, 1.94, -0.012187502, 2.935},
                 {0.539873915, -1.08525505, 1.7538126, 0.0630925431, 2.77894243});
}

struct Arrays {
  Values grad, weights, first, second;
  explicit Arrays(int64_t n)
      : grad(random_values(n, 1)),
        weights(random_values(n, 2)),
        first(random_values(n, 3, -0.1, 0.1)),
        second(random_values(n, 4, 1e-4, 0.1)) {}
};

/// One step on random state between guards, compared with the float64 reference for many lengths;
/// an array cut in two updates gives the same bits as the whole: shards do not show.
void sweep(const std::function<void(int64_t, const float*, float*, float*, float*)>& update,
           const std::function<void(Arrays&)>& reference) {
  constexpr size_t pad = 17;
  constexpr float guard = -777.0f;
  for (const int64_t n : {0, 1, 3, 4, 7, 8, 15, 16, 17, 33, 100, 1023, 70001}) {
    Arrays expected(n);
    const auto guarded = [&](const Values& values) {
      SharedVector<float> result(pad, guard);
      result.insert(result.end(), values.begin(), values.end());
      result.insert(result.end(), pad, guard);
      return result;
    };
    const SharedVector<float> grad = guarded(expected.grad);
    auto weights = guarded(expected.weights), first = guarded(expected.first),
         second = guarded(expected.second);
    auto cut_weights = weights, cut_first = first, cut_second = second;
    update(n, grad.data() + pad, weights.data() + pad, first.data() + pad, second.data() + pad);
    const int64_t cut = n / 3;
    const size_t at = pad + static_cast<size_t>(cut);
    update(cut, grad.data() + pad, cut_weights.data() + pad, cut_first.data() + pad, cut_second.data() + pad);
    update(n - cut, grad.data() + at, cut_weights.data() + at, cut_first.data() + at, cut_second.data() + at);
    EXPECT_EQ(weights, cut_weights) << n;
    EXPECT_EQ(first, cut_first) << n;
    EXPECT_EQ(second, cut_second) << n;

    reference(expected);
    const auto inside = [&](const SharedVector<float>& values) {
      for (size_t i = 0; i < pad; ++i) {
        EXPECT_EQ(values[i], guard);
        EXPECT_EQ(values[values.size() - 1 - i], guard);
      }
      return Values(values.begin() + pad, values.end() - pad);
    };
    const Values got_weights = inside(weights), got_first = inside(first), got_second = inside(second);
    if (n == 0) continue;
    expect_close(got_weights, expected.weights, kTolerance, "weights");
    expect_close(got_first, expected.first, kTolerance, "first state");
    expect_close(got_second, expected.second, kTolerance, "second state");
  }
}

TEST_F(OptimizerUpdateTest, SgdOfAnyLength) {
  for (const float momentum : {0.0f, 0.9f})
    for (const bool nesterov : {false, true})
      for (const float decay : {0.0f, 0.05f}) {
        const SgdUpdate rule{.lr = 0.1f,
                             .momentum = momentum,
                             .nesterov = nesterov,
                             .weight_decay = decay,
                             .grad_scale = 0.125f};
        sweep([&](int64_t n, const float* grad, float* weights, float* velocity,
                  float*) { sgd_update(*stream_, rule, whole(n), grad, weights, velocity); },
              [&](Arrays& a) {
                Values untouched = a.first;
                reference::sgd_update(rule, a.grad, a.weights, a.first);
                if (momentum == 0.0f)
                  a.first = untouched;  // no momentum: velocity is neither read nor written
              });
      }
}

TEST_F(OptimizerUpdateTest, AdamOfAnyLength) {
  for (const bool decoupled : {false, true})
    for (const float decay : {0.0f, 0.05f})
      for (const int64_t step : {1, 2, 1000, 1000000}) {
        const AdamUpdate rule{
            .lr = 0.01f, .weight_decay = decay, .decoupled = decoupled, .grad_scale = 0.125f, .step = step};
        sweep([&](int64_t n, const float* grad, float* weights, float* m,
                  float* v) { adam_update(*stream_, rule, whole(n), grad, weights, m, v); },
              [&](Arrays& a) { reference::adam_update(rule, a.grad, a.weights, a.first, a.second); });
      }
}

TEST_F(OptimizerUpdateTest, BitsDoNotDependOnThreads) {
  const int64_t n = 100003;
  const int before = compute_threads();
  std::vector<SharedVector<float>> results;
  for (const int threads : {1, 2, 5}) {
    set_compute_threads(threads);
    const Arrays start(n);
    const SharedVector<float> grad(start.grad.begin(), start.grad.end());
    SharedVector<float> weights(start.weights.begin(), start.weights.end()), m(grad.size()), v(grad.size()),
        velocity(grad.size());
    sgd_update(*stream_, {.momentum = 0.9f, .weight_decay = 0.1f}, whole(n), grad.data(), weights.data(),
               velocity.data());
    stream_->synchronize();
    adam_update(*stream_, {.weight_decay = 0.1f, .decoupled = true}, whole(n), grad.data(), weights.data(),
                m.data(), v.data());
    stream_->synchronize();
    for (const auto& state : {velocity, m, v}) weights.insert(weights.end(), state.begin(), state.end());
    results.push_back(weights);
  }
  set_compute_threads(before);
  for (const auto& result : results) EXPECT_EQ(result, results[0]);
  count_comparisons(8 * n);
}

// Ranges with factors and states of their own, aligned or not, in one call: the bits of a call each,
// and nothing beside them changes.
TEST_F(OptimizerUpdateTest, RangesWithStatesElsewhere) {
  const int64_t n = 30000, n_states = 21000;
  const std::vector<std::vector<UpdateRange>> cases = {
      {{64, 9064, 0, 1}, {9088, 9088, 9000, 1}, {9216, 21216, 9000, 0.5f}},
      {{3, 5000, 7, 0}, {5001, 5002, 5005, 1}, {10000, 25001, 5999, 0.25f}}};
  const Arrays start(n);
  const SharedVector<float> grad(start.grad.begin(), start.grad.end());
  const SharedVector<float> states(start.second.begin(), start.second.begin() + n_states);
  for (const std::vector<UpdateRange>& list : cases) {
    struct Result {
      SharedVector<float> sgd_weights, velocity, adam_weights, m, v;
      bool operator==(const Result&) const = default;
    };
    const auto fresh = [&] {
      const SharedVector<float> weights(start.weights.begin(), start.weights.end());
      return Result{weights, states, weights, states, states};
    };
    const SgdUpdate sgd{.lr = 0.1f, .momentum = 0.9f, .weight_decay = 0.25f};
    const AdamUpdate adam{.lr = 0.01f, .weight_decay = 0.25f, .decoupled = true, .step = 3};
    Result together = fresh(), apart = fresh();
    const UpdateRanges all(test_device(), list);
    sgd_update(*stream_, sgd, all, grad.data(), together.sgd_weights.data(), together.velocity.data());
    adam_update(*stream_, adam, all, grad.data(), together.adam_weights.data(), together.m.data(),
                together.v.data());
    for (const UpdateRange& range : list) {
      SgdUpdate one = sgd;
      AdamUpdate two = adam;
      one.weight_decay *= range.factor;
      two.weight_decay *= range.factor;
      const UpdateRanges alone = whole(range.end - range.begin);
      const auto at = [](SharedVector<float>& values, int64_t i) { return values.data() + i; };
      sgd_update(*stream_, one, alone, grad.data() + range.begin, at(apart.sgd_weights, range.begin),
                 at(apart.velocity, range.state));
      adam_update(*stream_, two, alone, grad.data() + range.begin, at(apart.adam_weights, range.begin),
                  at(apart.m, range.state), at(apart.v, range.state));
    }
    stream_->synchronize();
    EXPECT_TRUE(together == apart);
    EXPECT_FALSE(together == fresh());
    count_comparisons(2 * n + 3 * n_states);
  }
}

TEST_F(OptimizerUpdateTest, RunningAverages) {
  const UpdateRanges ranges(test_device(), {{1, 4, 1, 0.1f}, {8, 10, 8, 1.0f}});
  SharedVector<float> sums = {8, 16, 24, 32, 8, 8, 8, 8, 40, 48, 8}, averages(11, 2.0f);
  average_update(*stream_, 0.125f, ranges, sums.data(), averages.data());
  stream_->synchronize();
  // 0.9 * 2 + 0.1 * (2, 3, 4); then the step's averages alone
  expect_close(Values(averages.begin(), averages.end()), {2, 2, 2.1, 2.2, 2, 2, 2, 2, 5, 6, 2}, kTolerance,
               "averages");
  EXPECT_EQ(sums, (SharedVector<float>{8, 0, 0, 0, 8, 8, 8, 8, 0, 0, 8}));
}

// A power of two as scale moves exponents only: scaling the gradient by 8 and grad_scale by
// 1/8 gives equal bits.
TEST_F(OptimizerUpdateTest, GradScaleIsAppliedFirst) {
  SharedVector<float> grad = {0.3f, -0.7f, 1.1f}, large = {2.4f, -5.6f, 8.8f};
  for (size_t i = 0; i < 3; ++i) large[i] = grad[i] * 8;
  SharedVector<float> a = {1, 2, 3}, b = a, va(3), vb(3);
  sgd_update(*stream_, {.momentum = 0.9f, .weight_decay = 0.1f}, whole(3), grad.data(), a.data(), va.data());
  stream_->synchronize();
  sgd_update(*stream_, {.momentum = 0.9f, .weight_decay = 0.1f, .grad_scale = 0.125f}, whole(3), large.data(),
             b.data(), vb.data());
  stream_->synchronize();
  EXPECT_EQ(a, b);
  EXPECT_EQ(va, vb);
  count_comparisons(6);
}

}  // namespace
}  // namespace lockstep
