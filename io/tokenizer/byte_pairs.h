// Byte-pair encoding of one piece of text (Sennrich et al., "Neural Machine Translation of Rare Words with
// Subword Units", 2016): its bytes are tokens; of all neighbours that may be merged those of the earliest
// merge are, the leftmost first, until none are left.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "io/tokenizer/tokenizer_file.h"

namespace lockstep {

class BytePairs {
 public:
  explicit BytePairs(const TokenizerSpec& spec);

  /// Appends the ids of a piece. Returns the first byte that is no token where there is no unknown token
  /// either, and appends nothing then; else -1. Pieces are remembered, so that it is not for several threads
  /// at a time.
  int64_t encode(std::string_view piece, std::vector<int32_t>* ids);

 private:
  struct Node {
    int32_t id = 0;
    int32_t before = -1, next = -1;  // places; -1: none
  };
  struct Rank {
    int32_t rank = 0, result = 0;
  };
  /// Looked up by a view.
  struct Hash {
    using is_transparent = void;
    size_t operator()(std::string_view text) const { return std::hash<std::string_view>{}(text); }
  };
  template <typename Value>
  using Table = std::unordered_map<std::string, Value, Hash, std::equal_to<>>;

  int64_t merge(std::string_view piece, std::vector<int32_t>* ids);
  void offer(int32_t left);

  std::array<int32_t, 256> byte_ids_{};  // -1: none
  std::unordered_map<uint64_t, Rank> merges_;
  Table<int32_t> whole_;  // tokens by their bytes, where merges are ignored
  int32_t unknown_;
  bool fuse_unknown_;
  Table<std::vector<int32_t>> remembered_;
  std::vector<Node> nodes_;           // of merge()
  std::vector<uint64_t> candidates_;  // of merge(): a heap of rank << 32 | place
};

}  // namespace lockstep
