// What `predict` takes besides datasets: people's own files, read as the network's input.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "io/convert/convert_rows.h"
#include "src/run/trained_model.h"

namespace lockstep {

enum class DataKind { kDataset, kImages, kCsv, kNpy };

/// What a path holds: a folder with HDF5 files or one such file, an image or a folder of them, a .csv, .tsv
/// or .txt (also .gz), a .npy. Throws Error where it is none of these.
DataKind find_data_kind(const std::string& path);

struct PredictionInputOptions {
  std::string path;
  DataKind kind = DataKind::kImages;
  char separator = ',';
  std::vector<int64_t> dropped;  // columns of a CSV that are no inputs, from 0
  int64_t bits = 0;              // of images, as the training data had; 0: after the network's normalisation
  OnError on_error = OnError::kStop;
};

/// Collective. Rows of one field whose samples fit the network: images are resized to its input, a column of
/// a CSV more than it reads is taken for the label and left out. `scratch`: a folder for what must be
/// unpacked. Throws AgreedError where the data do not fit.
ConvertInput open_prediction_input(Communicator& comm, const TrainedModel& model,
                                   const PredictionInputOptions& options, const std::string& scratch);

}  // namespace lockstep
