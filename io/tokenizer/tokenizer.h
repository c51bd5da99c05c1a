// Text as ids and back, by a byte-level byte-pair tokenizer: added tokens are found, the rest is split into
// pieces (words with the blank before them, numbers, runs of marks), and the bytes of each piece are merged.
// The ids are those of Hugging Face's tokenizers library with add_special_tokens=False.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "io/tokenizer/added_tokens.h"
#include "io/tokenizer/byte_pairs.h"
#include "io/tokenizer/pattern.h"
#include "io/tokenizer/tokenizer_file.h"

namespace lockstep {

/// Splits text into the pieces within which bytes are merged.
class PreTokenizer {
 public:
  /// `where`: for errors of patterns.
  PreTokenizer(const TokenizerSpec& spec, const std::string& where);
  /// Calls visit(piece, offset) from left to right; offset: of its first byte in `text`, -1 where that is the
  /// blank put before a text. `text`: valid UTF-8 without added tokens.
  void each_piece(std::string_view text, const std::function<void(std::string_view, int64_t)>& visit) const;

 private:
  using Visit = std::function<void(std::string_view, int64_t)>;
  struct Step {
    Pattern pattern;
    bool keeps_matches, keeps_others;
  };
  void apply(size_t step, std::string_view text, int64_t offset, const Visit& visit) const;

  std::vector<Step> steps_;
  size_t n_before_blank_ = 0;  // steps before a blank is put before a piece
  bool add_prefix_space_;
};

/// Pieces are remembered, so that an object is not for several threads at a time.
class Tokenizer {
 public:
  /// Throws Error with `where` where a pattern is not supported.
  Tokenizer(TokenizerSpec spec, const std::string& where);
  /// As read_tokenizer_file() says.
  static Tokenizer load(const std::string& path) { return {read_tokenizer_file(path), path}; }
  static Tokenizer parse(std::string_view json, const std::string& where) {
    return {parse_tokenizer(json, where), where};
  }

  /// Throws Error naming the byte that is not UTF-8, or that is no token where there is no unknown token.
  std::vector<int32_t> encode(std::string_view text);
  /// Appends the ids of valid UTF-8. Returns the offset of the first byte that is no token (ids are those
  /// before its piece then); -1: there is none.
  int64_t encode(std::string_view text, std::vector<int32_t>* ids);

  /// The bytes that an id stands for, in which a character may be cut; none for a special token.
  std::string bytes_of(int32_t id) const;
  /// Text of ids, U+FFFD for bytes that are no UTF-8, without special tokens. Throws Error where an id is
  /// none.
  std::string decode(std::span<const int32_t> ids) const;

  int64_t size() const { return static_cast<int64_t>(spec_.tokens.size()); }
  const TokenizerSpec& spec() const { return spec_; }
  /// Whether a text may be cut behind a line feed between two characters that are no white space without
  /// changing an id: known of the patterns in use.
  bool may_cut_between_lines() const;

 private:
  TokenizerSpec spec_;
  std::vector<bool> is_special_;  // by id
  AddedTokens added_;
  PreTokenizer pre_tokenizer_;
  BytePairs pairs_;
};

}  // namespace lockstep
