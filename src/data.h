// The data of a job: which fields of a dataset are input and target, their sample shapes,
// the classes, and the normalisation that belongs to the trained network.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "io/dataset.h"
#include "io/loader.h"
#include "src/job.h"

namespace lockstep {

/// Subtracted and divided per channel after conversion to float32. Measured on the training
/// data, stored in checkpoints, applied to validation and prediction data alike.
struct Normalization {
  std::vector<float> mean, stddev;  // equal sizes: channels, 1 for all elements, or empty
};

/// What a network expects of its data; travels in checkpoints.
struct DataContract {
  Shape input;                           // of one sample, as stored
  int64_t n_classes = 0;                 // 0: the data does not say
  std::vector<std::string> class_names;  // may be empty
  Normalization normalization;
};

struct DataFields {
  std::string input, target;  // target empty: the dataset has none
};

/// Picks the fields: those named, else "image", "input", "data", "x" and "label", "target", "y".
/// Throws Error listing the dataset's fields. `needs_target` false: a missing target is fine.
DataFields find_fields(const Dataset& dataset, const DataSource& source, bool needs_target);

DataContract make_contract(const Dataset& training_data, const DataFields& fields, const Job& job);

/// The opened datasets of a job and what follows from them.
struct JobData {
  std::unique_ptr<Dataset> train, validation;  // validation may be null
  DataFields train_fields, validation_fields;
  DataContract contract;
};

/// Opens and checks the data of a job. Throws Error; does not communicate.
JobData open_data(const Job& job);

/// Loader options for this rank's share of the micro-batches of a job.
///   input     sample shape the network reads
///   target    sample shape of the target; n_classes > 0: int64 class ids
LoaderOptions make_loader_options(const Job& job, const Dataset& dataset, const DataFields& fields,
                                  const Shape& input, const Shape& target, int64_t n_classes,
                                  const Normalization& normalization, int rank, int size);

}  // namespace lockstep
