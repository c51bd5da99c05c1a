// A trained network over rows in order: outputs, and for classifiers classes and probabilities.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "io/convert/convert_rows.h"
#include "io/loader/loader.h"
#include "src/plan/plan.h"
#include "src/run/not_finite_rows.h"
#include "src/run/trained_model.h"

namespace lockstep {

/// What an output means: which columns a prediction has.
struct PredictionKind {
  Shape output;               // of one sample
  int64_t n_classes = 0;      // 0: no classes
  bool is_probable = false;   // probabilities follow from the scores (softmax; sigmoid of one score)
  std::vector<Field> fields;  // "output" float32, "class" int64, "probability" float32 (as many as scores)
};
PredictionKind prediction_kind(const Job& job, const Shape& output);

/// Classes and probabilities of `count` outputs. classes (count), probabilities (count, scores); each written
/// where the kind has it.
void judge(const PredictionKind& kind, const float* output, int64_t count, int64_t* classes,
           float* probabilities);

/// Of a network that goes on with a series, which it sees normalised: what makes the data's own units of its
/// outputs (…, features). Empty where outputs are something else.
Normalization output_units(const TrainedModel& model);
/// n outputs of `size` numbers, in place.
void restore_units(const Normalization& units, int64_t n, int64_t size, float* output);

/// Takes `count` outputs from row `first` on.
using TakeOutputs = std::function<void(int64_t first, int64_t count, const float* output)>;

/// Runs a micro-batch and returns its outputs (N, …) for the host.
using RunBatch = std::function<const float*(const MicroBatch&)>;

/// One pass over a dataset in order: the micro-batches of this rank. `not_finite` looks at all that is read.
void predict_dataset(const RunBatch& run, DataLoader& loader, NotFiniteRows& not_finite,
                     const TakeOutputs& take);
/// One pass over the rows of a file: this rank's blocks of micro-batches.
void predict_rows(const RunBatch& run, const TrainedModel& model, const ConvertInput& source,
                  Communicator& comm, NotFiniteRows& not_finite, const TakeOutputs& take);

}  // namespace lockstep
