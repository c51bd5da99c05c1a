// Which tokens get an id, and which one.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "comm/communicator.h"
#include "io/convert/text/text_tokens.h"
#include "kernels/dtype.h"

namespace lockstep {

inline constexpr std::string_view kPad = "<pad>", kBegin = "<s>", kEnd = "</s>", kUnknown = "<unk>";

/// Looked up by a view.
struct TextHash {
  using is_transparent = void;
  size_t operator()(std::string_view text) const { return std::hash<std::string_view>{}(text); }
};
template <typename Value>
using TextTable = std::unordered_map<std::string, Value, TextHash, std::equal_to<>>;

/// How often each token occurs.
class TokenCounts {
 public:
  void add(std::string_view token, int64_t n = 1);
  /// Collective. The sums over all ranks.
  void share(Communicator& comm);
  const TextTable<int64_t>& counts() const { return counts_; }  // in no order

 private:
  TextTable<int64_t> counts_;
};

class Vocabulary {
 public:
  /// Tokens by their ids. Throws Error where one is there twice. `where`: for it.
  Vocabulary(std::vector<std::string> tokens, const std::string& where);
  /// `specials` first, in this order; then characters by code point, words by falling frequency (of equal
  /// ones by their bytes). limit > 0: at most so many ids in all, the most frequent ones; the others are
  /// kUnknown, which comes first then where it is not among the specials. Throws Error where the limit leaves
  /// no room.
  static Vocabulary choose(const TokenCounts& counts, TokenLevel level,
                           const std::vector<std::string>& specials, int64_t limit);
  /// Of a field of an existing dataset. Throws Error where it has none.
  static Vocabulary of_dataset(const std::string& path, const std::string& field);

  const std::vector<std::string>& tokens() const { return tokens_; }
  int64_t size() const { return static_cast<int64_t>(tokens_.size()); }
  /// The id of a token; of an unknown one that of kUnknown, or -1 where there is none.
  int32_t id_of(std::string_view token) const {
    const auto found = ids_.find(token);
    return found == ids_.end() ? unknown_ : found->second;
  }
  /// The id of a token, or -1 where it has none of its own.
  int32_t place_of(std::string_view token) const {
    const auto found = ids_.find(token);
    return found == ids_.end() ? -1 : found->second;
  }
  /// uint8 where all ids fit, else int32.
  DType dtype() const { return size() <= 256 ? DType::kUInt8 : DType::kInt32; }
  /// Occurrences that are kUnknown.
  int64_t n_unknown(const TokenCounts& counts) const;

 private:
  std::vector<std::string> tokens_;
  TextTable<int32_t> ids_;
  int32_t unknown_ = -1;
};

}  // namespace lockstep
