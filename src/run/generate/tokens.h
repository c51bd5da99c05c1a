// Texts as the ids that a network was trained on, and ids as text again.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "io/convert/text_tokens.h"

namespace lockstep {

class TokenText {
 public:
  /// What each id stands for. Characters, if no token but those in <…> is longer than one; else words.
  explicit TokenText(std::vector<std::string> vocabulary);

  /// Throws Error naming the first token that the vocabulary lacks, where it has no <unk>.
  std::vector<int64_t> encode(const std::string& text) const;
  /// What stands behind `before` (-1: nothing): words with the spaces that people put there, characters as
  /// they are; nothing for <s>, </s> and <pad>.
  std::string decode(int64_t id, int64_t before) const;
  std::string decode(const std::vector<int64_t>& ids) const;
  /// The id of a token; -1: there is none.
  int64_t find(const std::string& token) const;
  TokenLevel level() const { return level_; }

 private:
  std::vector<std::string> vocabulary_;
  std::vector<std::pair<std::string, int64_t>> sorted_;
  TokenLevel level_ = TokenLevel::kCharacters;
};

}  // namespace lockstep
