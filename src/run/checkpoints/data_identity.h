// What the numbers of a run mean: which samples it trains on, which it is validated on, and by which measure
// its best checkpoint is chosen. Kept in checkpoints and compared at a resume: other training data are
// refused, since steps would mean other samples; of another validation set or measure the best begins anew.
#pragma once

#include <string>
#include <vector>

#include "io/checkpoint/checkpoint.h"
#include "src/data/data.h"
#include "src/run/job.h"

namespace lockstep {

struct DataIdentity {
  std::string train, validation;  // identity of the samples; validation "": there is none
  std::string measure;            // of the best checkpoint
};

/// "COUNT samples, HASH": of the fields' types, shapes and values, in the dataset's order, whatever files
/// they lie in. All rows up to 64 MiB, else 256 rows spread over the dataset. Reads them.
std::string identify_samples(const Dataset& dataset, const DataFields& fields);
DataIdentity identify(const Job& job, const JobData& data);
/// "accuracy, softmax_cross_entropy {…}"
std::string measure_of(const Job& job);

void add_identity(const DataIdentity& data, CheckpointInfo& info);

/// Throws Error where the checkpoint `path` was trained on other samples, classes or values (normalisation)
/// than the job's, whose contract is given. Checkpoints of step 0 fit any data of their classes.
void check_same_training_data(const std::string& path, const CheckpointInfo& info, const DataIdentity& data,
                              int64_t steps_per_epoch, const DataContract& contract);
/// A sentence where the checkpoint's best was another measure's or of other validation data; "" where not.
std::string what_is_compared_anew(const CheckpointInfo& info, const DataIdentity& data);

}  // namespace lockstep
