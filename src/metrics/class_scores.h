// Scores of classes as a network gives them: (K, places) of a sample, or (places, K); one score says class 1
// where it is positive. A place is a sample, a pixel or a step.
#pragma once

#include <cstdint>
#include <optional>

#include "src/losses/loss.h"

namespace lockstep {

class ClassScores {
 public:
  /// sample: shape of a prediction.
  ClassScores(const LossRule& loss, const Shape& sample)
      : n_classes_(loss.n_classes(sample)), n_elements_(sample.n_elements()), ignored_(loss.ignored()) {
    n_scores_ = n_elements_ == 1 ? 1 : n_classes_;
    places_ = n_scores_ > 0 ? n_elements_ / n_scores_ : 0;
    score_stride_ = loss.has_classes_last() ? 1 : places_;
    place_stride_ = loss.has_classes_last() ? n_scores_ : 1;
  }

  int64_t n_classes() const { return n_classes_; }
  int64_t places() const { return places_; }  // of a sample
  /// Whether a target is a class that counts.
  bool counts(int64_t target) const {
    return target >= 0 && target < n_classes_ && !(ignored_ && target == *ignored_);
  }
  /// Score of a class at place i of all samples.
  float score(const float* predictions, int64_t i, int64_t c) const {
    const float* const scores = scores_at(predictions, i);
    if (n_scores_ == 1) return c == 1 ? scores[0] : -scores[0];
    return scores[c * score_stride_];
  }
  /// The first class with the highest score.
  int64_t predicted(const float* predictions, int64_t i) const {
    const float* const scores = scores_at(predictions, i);
    int64_t best = n_scores_ == 1 ? scores[0] > 0 : 0;
    for (int64_t c = 1; c < n_scores_; ++c) {
      if (scores[c * score_stride_] > scores[best * score_stride_]) best = c;
    }
    return best;
  }

 private:
  const float* scores_at(const float* predictions, int64_t i) const {
    return predictions + i / places_ * n_elements_ + i % places_ * place_stride_;
  }

  int64_t n_classes_, n_elements_, n_scores_ = 0, places_ = 0, score_stride_ = 0, place_stride_ = 0;
  std::optional<int64_t> ignored_;
};

}  // namespace lockstep
