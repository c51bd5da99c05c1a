// A trained network judged on a dataset.
#pragma once

#include <memory>
#include <string>

#include "comm/communicator.h"
#include "src/data/data.h"
#include "src/run/trained_model.h"
#include "src/run/validation.h"

namespace lockstep {

/// What evaluate() is asked, beyond the checkpoint.
struct EvaluateOptions {
  std::string data;           // path of the dataset
  std::string input, target;  // names of its fields; empty: as in training
  std::string layout;         // of images: NCHW or NHWC; empty: as in training
  std::string metrics;        // in place of the job's, "accuracy, top_5"; empty: the job's
  bool average = false;       // the running averages of the weights in their place
};

/// The dataset of an evaluation, and which of its fields are meant.
struct OpenedEvaluation {
  std::unique_ptr<Dataset> dataset;
  DataFields fields;
};
/// Reads the checkpoint to `model`, with the metrics that are asked for, and opens the dataset. Does not
/// communicate. Throws Error naming the file that does not fit.
OpenedEvaluation open_evaluation(const std::string& checkpoint, const EvaluateOptions& options,
                                 TrainedModel& model);

struct Evaluation {
  TrainedModel model;
  ValidationResult result;
};

/// Collective. Loss, metrics and confusion of a checkpoint on a dataset, equal on all ranks and the same on
/// any number of them. Throws AgreedError naming the file that does not fit.
Evaluation evaluate(const std::string& checkpoint, const EvaluateOptions& options, Communicator& comm);

}  // namespace lockstep
