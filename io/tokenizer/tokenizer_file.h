// What a file of a byte-pair tokenizer says, read and checked: Hugging Face's tokenizer.json with byte-level
// BPE (those of GPT-2, RoBERTa, Llama 3, Qwen), or GPT-2's vocab.json and merges.txt.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace lockstep {

/// GPT-2's pattern.
inline constexpr std::string_view kGpt2Pattern =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

/// A token that is found in the text before it is split.
struct AddedToken {
  std::string content;
  int32_t id = -1;
  bool special = false;                 // left out when ids become text
  bool single_word = false;             // only where no word character stands beside it
  bool lstrip = false, rstrip = false;  // takes the white space beside it
  bool normalized = false;              // looked for after the others
};

/// One step of splitting text into pieces.
struct SplitStep {
  std::string pattern;
  bool is_literal = false;  // a text, not a regular expression
  /// Matches and what lies between them are pieces; of one kind only, if the other is removed.
  bool keeps_matches = true, keeps_others = true;
};

struct Merge {
  int32_t left = 0, right = 0, result = 0;  // ids
};

struct TokenizerSpec {
  std::vector<std::string> tokens;  // by id, bytes as their characters (byte_level.h)
  std::vector<bool> in_model;       // by id: false for those that are added tokens alone
  std::vector<Merge> merges;        // by rank
  std::vector<AddedToken> added;    // by id
  std::vector<SplitStep> splits;
  bool add_prefix_space = false;  // a blank before a piece that begins with none
  bool splits_as_gpt2 = true;     // by kGpt2Pattern, after the other steps and that blank
  bool ignore_merges = false;     // a piece that is a token is not merged
  int32_t unknown = -1;           // id for bytes without token; -1: none
  bool fuse_unknown = false;
};

/// `path`: a tokenizer.json, a folder that holds one or vocab.json and merges.txt, or one of these two files.
/// Throws Error naming the file, what is wrong or not supported, and the remedy.
TokenizerSpec read_tokenizer_file(const std::string& path);
/// The text of a tokenizer.json. `where`: for errors.
TokenizerSpec parse_tokenizer(std::string_view json, const std::string& where);
/// Texts of GPT-2's two files.
TokenizerSpec parse_vocabulary_and_merges(std::string_view vocabulary, std::string_view merges,
                                          const std::string& where_vocabulary,
                                          const std::string& where_merges);

/// The same as the text of a tokenizer.json, equal for equal tokenizers.
std::string tokenizer_json(const TokenizerSpec& spec);

}  // namespace lockstep
