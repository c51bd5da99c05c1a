// What an encoder and a decoder write for every sample of a dataset, beside what was to be written.
#pragma once

#include <string>
#include <vector>

#include "comm/communicator.h"
#include "src/run/generate/bleu.h"
#include "src/run/generate/sequence_decoder.h"

namespace lockstep {

struct WrittenDataset {
  std::vector<std::string> written, targets;  // texts, in the dataset's order
  int64_t n_exact = 0;                        // samples whose tokens are all right
  Bleu bleu;
};

/// Collective. The first `limit` samples of a dataset (0: all), a micro-batch at a time, shared by the ranks:
/// root gets them all, other ranks nothing. `data`: a path, or train or validation for the job's own. The
/// result does not depend on the number of ranks. Throws Error where vocabularies are others than those of
/// training.
WrittenDataset write_dataset(const std::string& checkpoint, const std::string& data, int64_t limit,
                             const DecodingOptions& decoding, Communicator& comm);

}  // namespace lockstep
