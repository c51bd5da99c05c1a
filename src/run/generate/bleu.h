// BLEU (Papineni et al. 2002) of written texts against one reference each: the numbers of sacrebleu's corpus
// BLEU as it is by itself (tokenisation 13a, exponential smoothing, n-grams of 1 to 4 tokens).
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

namespace lockstep {

inline constexpr int kBleuOrder = 4;  // the longest n-grams

struct Bleu {
  double score = 0;                               // 0 to 100
  std::array<double, kBleuOrder> precisions{};    // of n-grams of 1 to 4 tokens, 0 to 100, smoothed
  double brevity_penalty = 1;                     // 0 to 1
  int64_t written_length = 0, target_length = 0;  // tokens of all texts together
};

/// The tokens of mteval-v13a, by which newspapers' marks stand apart: "10-year, 1,000.5" is 10 - year ,
/// 1,000.5.
std::vector<std::string> tokens_13a(const std::string& text);

/// Of texts and what was to be written, pair by pair: vectors of one size. Score 0 where no token is right.
Bleu corpus_bleu(const std::vector<std::string>& written, const std::vector<std::string>& targets);

}  // namespace lockstep
