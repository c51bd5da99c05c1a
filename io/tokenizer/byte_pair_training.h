// Merges learned from text (Sennrich et al., 2016): again and again the most frequent pair of neighbours
// becomes a token. Its result is that of Hugging Face's BpeTrainer with the byte-level alphabet, reading the
// same lines.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "io/tokenizer/tokenizer.h"

namespace lockstep {

struct BytePairTrainingOptions {
  int64_t n_tokens = 0;       // of the vocabulary: special ones, 256 bytes and merges; at least the former
  int64_t min_frequency = 2;  // of a pair that becomes a token
  std::vector<std::string> specials;  // the first ids
};

class BytePairTraining {
 public:
  /// Splits text as GPT-2 does.
  BytePairTraining();
  /// Counts the pieces of a line with its line feed: valid UTF-8.
  void add(std::string_view line);
  int64_t n_pieces() const { return n_pieces_; }
  int64_t n_different() const { return static_cast<int64_t>(counts_.size()); }
  /// Throws Error where n_tokens has no room for bytes and specials, or a special token is there twice, empty
  /// or one of the bytes' characters. May give fewer tokens than asked for, where no pair is frequent enough.
  TokenizerSpec train(const BytePairTrainingOptions& options) const;

 private:
  PreTokenizer pieces_;
  std::unordered_map<std::string, int64_t> counts_;
  int64_t n_pieces_ = 0;
};

}  // namespace lockstep
