#include "src/run/explain/scan.h"

#include <algorithm>
#include <cmath>

#include "src/run/validation.h"

namespace lockstep {

namespace {

/// Keeps the `most` largest; `larger(a, b)`.
template <typename T, typename Larger>
void keep_largest(std::vector<T>& kept, const T& one, size_t most, const Larger& larger) {
  if (kept.size() == most && !larger(one, kept.back())) return;
  kept.insert(std::upper_bound(kept.begin(), kept.end(), one, larger), one);
  if (kept.size() > most) kept.pop_back();
}

class Scanner {
 public:
  Scanner(const ExplainedModel& subject, const std::vector<Unit>& units, size_t most)
      : s_(subject), units_(units), most_(most), graph_(subject.model.graph) {
    for (const Unit& unit : units) {
      const int vertex = unit.layer.empty() ? graph_.output() : graph_.find(unit.layer);
      const auto found = std::find(graph_.shown().begin(), graph_.shown().end(), vertex);
      shown_.push_back(static_cast<size_t>(found - graph_.shown().begin()));
      if (found == graph_.shown().end()) graph_.show(vertex);
    }
    result_.exciting.resize(units.size());
  }

  ScannedData run(int64_t asked) {
    const int64_t micro = s_.model.job.micro_batch;
    const std::unique_ptr<Plan> plan = plan_of(micro);
    DataLoader loader(*s_.dataset, s_.loading, 0);
    for (int64_t n_left = s_.n_samples; n_left > 0;) {
      const MicroBatch& batch = loader.next();
      if (batch.n_valid == 0) break;
      run_batch(*plan, batch);
      for (int64_t i = 0; i < std::min(batch.n_valid, n_left); ++i) {
        take(judge_sample(*plan, batch, i));
        for (size_t u = 0; u < units_.size(); ++u)
          take_unit(*plan, u, i, batch.sample_ids[static_cast<size_t>(i)]);
      }
      n_left -= batch.n_valid;
    }
    if (asked >= 0) {
      const std::unique_ptr<Plan> of_one = plan_of(1);
      DataLoader one(*s_.dataset, s_.one_by_one(), asked);
      const MicroBatch& batch = one.next();
      run_batch(*of_one, batch);
      result_.asked = judge_sample(*of_one, batch, 0);
    }
    for (auto& [cell, mistake] : result_.mistakes) std::sort(mistake.first.begin(), mistake.first.end());
    return std::move(result_);
  }

 private:
  std::unique_ptr<Plan> plan_of(int64_t micro_batch) const {
    PlanOptions options;
    options.config = s_.model.job.op_config(false);
    options.micro_batch = micro_batch;
    options.keeps_shown = true;
    auto plan = std::make_unique<Plan>(graph_, *s_.model.arena, std::vector<LossSpec>{}, options);
    plan->refresh_weights();
    return plan;
  }

  static void run_batch(Plan& plan, const MicroBatch& batch) {
    BatchContext context;
    context.n_valid = batch.n_valid;
    context.sample_ids = batch.sample_ids.data();
    plan.forward({batch.data[0]}, {}, context);
  }

  JudgedSample judge_sample(Plan& plan, const MicroBatch& batch, int64_t i) const {
    const int64_t n = s_.kind.output.n_elements();
    const float* const output = plan.output() + i * n;
    JudgedSample judged{.sample = batch.sample_ids[static_cast<size_t>(i)]};
    std::vector<float> probabilities(static_cast<size_t>(n));
    if (s_.kind.n_classes > 0) {
      judge(s_.kind, output, 1, &judged.predicted, probabilities.data());
      if (s_.kind.is_probable && n > 1)
        judged.probability = probabilities[static_cast<size_t>(judged.predicted)];
    }
    if (!s_.has_targets) return judged;
    if (s_.model.job.loss.is_classification() && s_.kind.n_classes == n) {
      judged.truth = static_cast<const int64_t*>(batch.data[1])[i];
      if (judged.truth < 0 || judged.truth >= n) return judged;
      const double largest = *std::max_element(output, output + n);
      double sum = 0;
      for (int64_t c = 0; c < n; ++c) sum += std::exp(output[c] - largest);
      judged.loss = std::log(sum) + largest - output[judged.truth];
    } else if (s_.model.job.loss.rule->compares_numbers()) {
      const float* const target = static_cast<const float*>(batch.data[1]) + i * n;
      for (int64_t k = 0; k < n; ++k)
        judged.loss +=
            (static_cast<double>(output[k]) - target[k]) * (static_cast<double>(output[k]) - target[k]);
    }
    return judged;
  }

  void take(const JudgedSample& judged) {
    if (!s_.has_targets) return;
    keep_largest(result_.worst, judged, most_, [](const JudgedSample& a, const JudgedSample& b) {
      return std::pair(-a.loss, a.sample) < std::pair(-b.loss, b.sample);
    });
    if (judged.truth < 0 || judged.truth == judged.predicted) return;
    ScannedData::Mistake& mistake = result_.mistakes[{judged.truth, judged.predicted}];
    ++mistake.count;
    if (mistake.first.size() < most_) mistake.first.push_back(judged.sample);
  }

  void take_unit(Plan& plan, size_t u, int64_t i, int64_t sample) {
    const Shape shape = plan.shown_shape(shown_[u]).without_front();
    const int64_t n_positions = shape.n_elements() / shape[0];
    const float* const values =
        plan.shown(shown_[u]) + i * shape.n_elements() + units_[u].channel * n_positions;
    const std::pair<double, int64_t> one{*std::max_element(values, values + n_positions), sample};
    keep_largest(result_.exciting[u], one, most_, [](const auto& a, const auto& b) {
      return std::pair(-a.first, a.second) < std::pair(-b.first, b.second);
    });
  }

  const ExplainedModel& s_;
  const std::vector<Unit>& units_;
  size_t most_;
  Graph graph_;
  std::vector<size_t> shown_;  // of each unit: which of the shown values is its layer's
  ScannedData result_;
};

}  // namespace

ScannedData scan(const ExplainedModel& subject, const std::vector<Unit>& units, size_t most, int64_t asked) {
  return Scanner(subject, units, most).run(asked);
}

}  // namespace lockstep
