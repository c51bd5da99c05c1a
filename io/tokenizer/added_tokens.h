// Tokens that are found in the text before it is split, such as <|endoftext|>: of those that begin earliest
// the longest. First those that the file marks as not normalized, then the others in what lies between.
#pragma once

#include <cstdint>
#include <functional>
#include <string_view>
#include <vector>

#include "io/tokenizer/pattern.h"
#include "io/tokenizer/tokenizer_file.h"

namespace lockstep {

class AddedTokens {
 public:
  explicit AddedTokens(const std::vector<AddedToken>& tokens);

  /// Calls visit(piece, id) for all of `text` from left to right: the id of an added token (whose white space
  /// is dropped with it), or -1 for what lies between.
  void each_piece(std::string_view text, const std::function<void(std::string_view, int32_t)>& visit) const;

 private:
  using Visit = std::function<void(std::string_view, int32_t)>;
  struct Group {
    std::vector<AddedToken> tokens;                  // the longest first
    std::vector<std::vector<size_t>> by_first_byte;  // places in tokens; empty: there are none
  };
  void split(const Group& group, std::string_view text, const Visit& visit) const;
  bool stands_in_word(std::string_view text, size_t begin, size_t end) const;

  Group groups_[2];  // not normalized, normalized
  Pattern word_;
};

}  // namespace lockstep
