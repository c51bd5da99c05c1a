// The word that a user may have meant: near in spelling, or what another framework calls the same thing.
#pragma once

#include <string>
#include <vector>

namespace lockstep {

/// The candidate that is another name of `word` (gpu: cuda, dense: affine, mse: l2), else the one with the
/// smallest edit distance; empty if none is close.
std::string nearest_word(const std::string& word, const std::vector<std::string>& candidates);

}  // namespace lockstep
