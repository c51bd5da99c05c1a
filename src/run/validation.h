// Validator: a network's loss, accuracy and confusion matrix on a dataset. Micro-batches are
// shared by the ranks; their sums are gathered before they are added in micro-batch order, so
// the result does not depend on the number of ranks.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "comm/communicator.h"
#include "io/loader/loader.h"
#include "src/data/data.h"
#include "src/metrics/confusion.h"
#include "src/plan/plan_set.h"
#include "src/run/attention_maps.h"
#include "src/run/job.h"
#include "src/run/not_finite_rows.h"
#include "src/step/carried_states.h"

namespace lockstep {

struct ValidationResult {
  int64_t n_samples = 0;
  double loss = 0;              // mean over the samples, or over what the loss counts (weights, pixels)
  std::vector<double> metrics;  // of the job, in its order
  std::vector<AttentionMap> attention;  // of a few samples, on rank 0, where the network shows some
  std::string not_finite;  // which rows hold values that are not finite, or that only the loss is not
  Confusion
      confusion;  // of no classes where there are none, or the loss judges another layer than the output
};

class Validator {
 public:
  /// `dataset`, `graph`, `arena`, `contract` and `comm` must outlive it. `fields.target` must be there.
  Validator(const Job& job, const Graph& graph, const ParameterArena& arena, const Dataset& dataset,
            const DataFields& fields, const DataContract& contract, Communicator& comm);

  /// Collective. One pass over the dataset with the arena's present weights.
  ValidationResult run();
  /// What a result says of a measure.
  double value(const ValidationResult& result, const Measure& measure) const;

 private:
  const Job& job_;
  const ParameterArena& arena_;
  const DataContract& contract_;
  Communicator& comm_;
  int64_t n_samples_ = 0;
  LoaderOptions loading_;
  std::vector<Graph> graphs_;  // of sequences of unequal lengths, in the order of the loader's buckets
  const Graph& graph_;
  PlanSet plans_;
  CarriedStates states_;
  bool judges_output_;  // the reported loss is of the graph's output, against the dataset
  NotFiniteRows rows_;
  DataLoader loader_;  // goes round the dataset, one epoch per run()
};

/// Index of the first maximum.
int64_t arg_max(const float* values, int64_t n);

}  // namespace lockstep
