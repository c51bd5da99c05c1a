// A network that was trained to guess masked tokens (BERT) says what may stand in their places.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "src/run/trained_model.h"

namespace lockstep {

/// The mask of the network's vocabulary, its id and its text; -1 where it was not trained to guess.
struct MaskToken {
  int64_t id = -1;
  std::string text;
};
MaskToken mask_of(const TrainedModel& model);

/// What may stand in one place, the most probable first.
struct MaskGuess {
  int64_t place = 0;                                // index of the mask among the ids
  std::vector<std::pair<int64_t, double>> guesses;  // ids and their probabilities
};

/// For each of `ids` that is the mask: the `n_guesses` most probable tokens, the mask itself left out. Throws
/// Error where the network cannot take so many tokens, or does not score every one.
std::vector<MaskGuess> fill_masks(const TrainedModel& model, const std::vector<int64_t>& ids,
                                  int64_t n_guesses);

}  // namespace lockstep
