// Predictions as a CSV file, for spreadsheets and pandas.
#pragma once

#include <string>
#include <vector>

#include "src/run/predict/prediction.h"

namespace lockstep {

/// Reads `predictions` (what `predict` wrote as HDF5) and writes `path`, one row a sample: "file" (row_names)
/// or "row", then for classifiers "class", "class_name" where there are names, and a column of each
/// probability "p_NAME" (else of each output "output_0" …). RFC 4180, numbers with the digits that bring
/// float32 back.
void write_prediction_table(const std::string& predictions, const PredictionKind& kind,
                            const std::vector<std::string>& class_names,
                            const std::vector<std::string>& row_names, const std::string& path);

}  // namespace lockstep
