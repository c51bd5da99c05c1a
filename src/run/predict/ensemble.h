// Ensemble: several trained networks that answer together (Hansen and Salamon 1990). Probabilities are
// averaged, not scores: what comes out are scores whose softmax (or sigmoid) is the mean of the members'
// probabilities. Losses without probabilities (l2, hinge …) have the mean of the members' outputs.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "comm/communicator.h"
#include "io/loader/loader.h"
#include "src/plan/plan.h"
#include "src/run/evaluate.h"
#include "src/run/trained_model.h"

namespace lockstep {

class Ensemble {
 public:
  /// `first` decides job, data and normalisation and must outlive it; `others`: paths of the further
  /// checkpoints, or none. Reads them. Does not communicate. Throws Error naming the checkpoint that does not
  /// fit: other classes, another input or output, and networks of several inputs, ids, or carried states.
  Ensemble(const TrainedModel& first, const std::vector<std::string>& others, bool average);

  int64_t n_members() const { return static_cast<int64_t>(members_.size()); }
  Plan& plan() { return *plans_.front(); }  // of `first`
  /// Scores (micro-batch, output), dense float32, valid until the next call. The batch's first field is the
  /// input as `first` normalises it; members that normalise otherwise get it so, by way of float64.
  const float* run(const MicroBatch& batch);

 private:
  const float* input_of(size_t member, const MicroBatch& batch);

  const TrainedModel& first_;
  std::vector<TrainedModel> others_;
  std::vector<const TrainedModel*> members_;
  std::vector<std::unique_ptr<Plan>> plans_;
  LossRule::Probability probability_;
  int64_t size_ = 0;  // numbers of an output
  std::vector<double> sums_, row_;
  std::vector<float> scores_, input_;
};

/// Collective. evaluate() of several checkpoints together; job, data and metrics are those of the first, the
/// loss its main one.
Evaluation evaluate_ensemble(const std::vector<std::string>& checkpoints, const EvaluateOptions& options,
                             Communicator& comm);

}  // namespace lockstep
