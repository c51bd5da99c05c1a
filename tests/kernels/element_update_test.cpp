// Updates by formula: every element is the formula's, bit for bit, whatever the length, the ranges and the
// threads; what the formulas say is judged by tests/src/rules_test.cpp. Updates by norms against float64.
#include "kernels/element_update.h"

#include <cmath>
#include <functional>

#include "kernels/norm_update.h"
#include "tests/support/op_test.h"

namespace lockstep {
namespace {

SharedVector<float> shared(const Values& values) { return {values.begin(), values.end()}; }

class ElementUpdateTest : public OpTest {
 protected:
  std::unique_ptr<Stream> stream_ = make_stream(test_device());

  /// One update of ranges in arrays of 30000 elements with states of 21000, all of them compared.
  template <typename Formula>
  void expect_formula(const Formula& formula, const char* name) {
    const int64_t n = 30000, n_states = 21000;
    const std::vector<std::vector<UpdateRange>> cases = {
        {{64, 9064, 0, 1}, {9088, 9088, 9000, 1}, {9216, 21216, 9000, 0.5f}},
        {{3, 5000, 7, 0}, {5001, 5002, 5005, 1}, {10000, 25001, 5999, 0.25f}}};
    for (const auto decay :
         {ElementUpdate::Decay::kL2, ElementUpdate::Decay::kDecoupled, ElementUpdate::Decay::kFormula})
      for (const std::vector<UpdateRange>& list : cases) {
        const ElementUpdate update{.grad_scale = 0.125f, .weight_decay = 0.25f, .decay = decay, .lr = 0.1};
        const SharedVector<float> grad = shared(random_values(n, 1));
        SharedVector<float> weights = shared(random_values(n, 2)), states[3];
        std::vector<float*> pointers;
        for (int k = 0; k < 3; ++k) {
          states[k] = shared(random_values(n_states, 3 + static_cast<uint64_t>(k), 1e-3, 0.5));
          pointers.push_back(states[k].data());
        }
        SharedVector<float> expected = weights, expected_states[3] = {states[0], states[1], states[2]};
        for (const UpdateRange& range : list)
          for (int64_t i = range.begin; i < range.end; ++i) {
            const auto at = static_cast<size_t>(i), s = static_cast<size_t>(range.state + i - range.begin);
            float of_element[3] = {expected_states[0][s], expected_states[1][s], expected_states[2][s]};
            expected[at] =
                ElementScalars(update, range.factor).apply(formula, expected[at], grad[at], of_element);
            for (int k = 0; k < Formula::kSlots; ++k) expected_states[k][s] = of_element[k];
          }
        const SharedVector<float> before = weights;
        element_update(*stream_, update, formula, UpdateRanges(test_device(), list), grad.data(),
                       weights.data(), pointers);
        stream_->synchronize();
        EXPECT_EQ(weights, expected) << name;
        EXPECT_NE(weights, before) << name;
        for (int k = 0; k < 3; ++k) EXPECT_EQ(states[k], expected_states[k]) << name << " state " << k;
        count_comparisons(n + 3 * n_states);
      }
  }
};

TEST_F(ElementUpdateTest, EveryFormulaOfEveryElement) {
  MomentumFormula nesterov;
  nesterov.from_gradient = 1;
  nesterov.from_velocity = 0.9f;
  expect_formula(nesterov, "nesterov");
  NadamFormula nadam;
  nadam.of_gradient = 0.01f;
  nadam.of_mean = 0.02f;
  expect_formula(nadam, "nadam");
  RadamFormula radam;
  radam.step_size = 0.01f;
  expect_formula(radam, "radam");
  radam.of_root = 0;
  radam.constant = 1;
  expect_formula(radam, "radam without a root");
  expect_formula(DescentFormula(), "descent");
  expect_formula(MomentumFormula(), "momentum");
  expect_formula(AdagradFormula(), "adagrad");
  expect_formula(PlainRmspropFormula(), "rmsprop");
  expect_formula(RmspropMomentumFormula{.momentum = 0.9f}, "rmsprop with momentum");
  expect_formula(CenteredRmspropFormula(), "centered rmsprop");
  expect_formula(CenteredRmspropMomentumFormula{.momentum = 0.9f}, "centered rmsprop with momentum");
  expect_formula(AdadeltaFormula(), "adadelta");
  expect_formula(LionFormula(), "lion");
  AmsgradFormula amsgrad;
  amsgrad.step_size = 0.01f;
  expect_formula(amsgrad, "amsgrad");
  expect_formula(AdamaxFormula{.step_size = 0.01f}, "adamax");
  ScheduleFreeFormula schedule_free;
  schedule_free.c = 0.25f;
  schedule_free.one_minus_c = 0.75f;
  expect_formula(schedule_free, "schedule-free");
}

TEST_F(ElementUpdateTest, BitsDoNotDependOnThreads) {
  const int64_t n = 100003;
  const int before = compute_threads();
  std::vector<SharedVector<float>> results;
  for (const int threads : {1, 2, 5}) {
    set_compute_threads(threads);
    const SharedVector<float> grad = shared(random_values(n, 1));
    SharedVector<float> weights = shared(random_values(n, 2)), m(grad.size()), v(grad.size());
    float* const states[2] = {m.data(), v.data()};
    element_update(*stream_, {}, AdadeltaFormula(), UpdateRanges(test_device(), {{0, n}}), grad.data(),
                   weights.data(), states);
    Memory scratch(test_device(), norm_update_scratch_bytes(n));
    norm_update(*stream_, {.weight_decay = 0.1f}, LambFormula(), n, grad.data(), weights.data(), states,
                scratch);
    limit_row_norms(*stream_, 1, n, 20.0f, weights.data());
    stream_->synchronize();
    results.push_back(weights);
  }
  set_compute_threads(before);
  for (const auto& result : results) EXPECT_EQ(result, results[0]);
  count_comparisons(2 * n);
}

TEST_F(ElementUpdateTest, SignsOfWeights) {
  SharedVector<float> weights = {1, -2, 0, -0.0f, 3, -4, 5}, gradients(7, 1.0f);
  add_sign(*stream_, 0.5f, UpdateRanges(test_device(), {{0, 5}, {5, 6, 5, 0.0f}}), weights.data(),
           gradients.data());
  stream_->synchronize();
  EXPECT_EQ(gradients, (SharedVector<float>{1.5f, 0.5f, 1, 1, 1.5f, 1, 1}));
  count_comparisons(7);
}

TEST_F(ElementUpdateTest, RowsUpToANorm) {
  for (const int64_t columns : {1, 3, 250, 5000}) {
    const int64_t rows = 7;
    Values expected = random_values(rows * columns, 5);
    for (int64_t i = 0; i < columns; ++i) expected[static_cast<size_t>(i)] = 0;  // a row of norm 0
    SharedVector<float> weights = shared(expected);
    const double most = std::sqrt(static_cast<double>(columns) / 3);  // near the usual norm of a row
    int64_t n_limited = 0;
    for (int64_t r = 0; r < rows; ++r) {
      double sum = 0;
      for (int64_t i = 0; i < columns; ++i)
        sum +=
            expected[static_cast<size_t>(r * columns + i)] * expected[static_cast<size_t>(r * columns + i)];
      if (std::sqrt(sum) <= static_cast<double>(static_cast<float>(most))) continue;
      ++n_limited;
      for (int64_t i = 0; i < columns; ++i)
        expected[static_cast<size_t>(r * columns + i)] *= most / (std::sqrt(sum) + 1e-7);
    }
    EXPECT_GT(n_limited, 0);
    EXPECT_LT(n_limited, rows);
    limit_row_norms(*stream_, rows, columns, static_cast<float>(most), weights.data());
    stream_->synchronize();
    expect_close(Values(weights.begin(), weights.end()), expected, 1e-6, "rows");
  }
}

/// One step of LAMB in float64, by the paper.
void reference_lamb(const LambFormula& f, double scale, double decay, double decoupled, const Values& grad,
                    Values& weights, Values& m, Values& v) {
  Values u(grad.size());
  double of_weights = 0, of_u = 0;
  for (size_t i = 0; i < grad.size(); ++i) {
    const double g = grad[i] * scale;
    weights[i] *= 1 - decoupled;
    m[i] = double{f.beta1} * m[i] + (1 - double{f.beta1}) * g;
    v[i] = double{f.beta2} * v[i] + (1 - double{f.beta2}) * g * g;
    u[i] = m[i] * double{f.mean_scale} / (std::sqrt(v[i]) * double{f.root_scale} + double{f.epsilon}) +
           decay * weights[i];
    of_weights += weights[i] * weights[i];
    of_u += u[i] * u[i];
  }
  const double ratio = of_weights > 0 && of_u > 0 ? std::sqrt(of_weights / of_u) : 1;
  for (size_t i = 0; i < grad.size(); ++i) weights[i] -= double{f.lr} * ratio * u[i];
}

TEST_F(ElementUpdateTest, LambOfAnyLength) {
  for (const int64_t n : {1, 3, 17, 4096, 4097, 70001})
    for (const bool is_zero : {false, true}) {
      LambFormula f;
      f.lr = 0.05f;
      f.mean_scale = 2;
      f.root_scale = 3;
      const Values grad = random_values(n, 1);
      Values weights = is_zero ? Values(static_cast<size_t>(n), 0.0) : random_values(n, 2);
      Values m = random_values(n, 3), v = random_values(n, 4, 0.1, 1);
      const SharedVector<float> g = shared(grad);
      SharedVector<float> w = shared(weights), a = shared(m), b = shared(v);
      reference_lamb(f, 0.5, 0.25, 0.125, grad, weights, m, v);
      Memory scratch(test_device(), norm_update_scratch_bytes(n));
      float* const states[2] = {a.data(), b.data()};
      norm_update(*stream_, {0.5f, 0.25f, 0.125}, f, n, g.data(), w.data(), states, scratch);
      stream_->synchronize();
      expect_close(Values(w.begin(), w.end()), weights, 1e-6, "weights");
      expect_close(Values(a.begin(), a.end()), m, 1e-6, "m");
      expect_close(Values(b.begin(), b.end()), v, 1e-6, "v");
    }
}

TEST_F(ElementUpdateTest, LarsOfAnyLength) {
  for (const int64_t n : {1, 3, 17, 4096, 4097, 70001})
    for (const bool is_separate : {false, true}) {
      LarsFormula f;
      f.is_separate = is_separate;
      f.epsilon = 0.5f;
      f.from_gradient = 1;
      f.from_velocity = 0.75f;
      f.gain = 2;
      const Values grad = random_values(n, 1);
      Values weights = random_values(n, 2), velocity = random_values(n, 3);
      const SharedVector<float> g = shared(grad);
      SharedVector<float> w = shared(weights), a = shared(velocity);
      double of_weights = 0, of_u = 0;
      for (size_t i = 0; i < grad.size(); ++i) {
        const double u = 0.5 * grad[i] + (is_separate ? 0 : 0.25 * weights[i]);
        of_weights += weights[i] * weights[i];
        of_u += u * u;
      }
      const double norm = std::sqrt(of_weights);
      const double ratio = double{f.trust} * norm / (std::sqrt(of_u) + (is_separate ? 0.25 * norm : 0) + 0.5);
      for (size_t i = 0; i < grad.size(); ++i) {
        const double step = 2 * ratio * (0.5 * grad[i] + 0.25 * weights[i]);
        velocity[i] = double{f.momentum} * velocity[i] + step;
        weights[i] -= double{f.rate} * (step + 0.75 * velocity[i]);
      }
      Memory scratch(test_device(), norm_update_scratch_bytes(n));
      float* const states[1] = {a.data()};
      norm_update(*stream_, {0.5f, 0.25f, 0}, f, n, g.data(), w.data(), states, scratch);
      stream_->synchronize();
      expect_close(Values(w.begin(), w.end()), weights, 1e-6, "weights");
      expect_close(Values(a.begin(), a.end()), velocity, 1e-6, "velocity");
    }
}

}  // namespace
}  // namespace lockstep
