// Whether a network has more classes than its training data.
#pragma once

#include <string>

#include "src/data/data.h"

namespace lockstep {

/// One line where the loss tells more classes apart than the data hold, by their class names or, without
/// those, by their largest label; "" where not, and where the labels are too many to be looked at. Reads
/// them.
std::string surplus_classes(const DataOptions& job, const JobData& data, const Graph& graph);

}  // namespace lockstep
