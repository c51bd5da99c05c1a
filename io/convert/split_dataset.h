// A dataset into several: lockstep split.
#pragma once

#include <string>
#include <vector>

#include "io/convert/convert.h"
#include "io/convert/split_parts.h"

namespace lockstep {

struct SplitOptions {
  std::string path, layout;  // of the dataset; layout: DatasetOptions::layout
  std::vector<SplitPart> parts;
  SplitRule rule = SplitRule::kRandom;
  uint64_t seed = 0;
  std::string label;     // field of the classes; empty: there is none
  std::string group_by;  // field whose equal values stay together, of kGrouped
  bool may_be_empty = false;
};

/// Collective. Writes a dataset per part to the folder options.out/NAME, with all fields that fit, class
/// names, vocabularies and tokenizers; rows stay in their order, or with options.shuffle are mixed within
/// each part. All parts carry the mean and stddev of the part "train", or of the first one where none is
/// called so. Returns one result per part. Throws AgreedError: as split_rows() does; a stream (which
/// --validation-fraction cuts at conversion), labels or groups that are no whole numbers, one a row; an
/// output folder in use, before anything is written.
std::vector<ConvertResult> split_dataset(Communicator& comm, const SplitOptions& split,
                                         const ConvertOptions& options);

}  // namespace lockstep
