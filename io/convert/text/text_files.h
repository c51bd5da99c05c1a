// Text files read in blocks of about 1 MiB, cut between tokens by their bytes alone, and ids of given tokens
// of such blocks: what converters of one stream of tokens share.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "io/files/gzip.h"
#include "kernels/dtype.h"

namespace lockstep {

/// Whether a text may be cut between these two, of which a few bytes are shown, without cutting a token.
using MayCut = std::function<bool(std::string_view before, std::string_view behind)>;

class TextFiles {
 public:
  /// lossy: U+FFFD for bytes that are no UTF-8, which are an error otherwise. A file that may be cut nowhere
  /// is one block. Throws Error where a file cannot be opened.
  TextFiles(const std::vector<std::string>& paths, bool lossy, const MayCut& may_cut);

  int64_t n_blocks() const { return static_cast<int64_t>(blocks_.size()); }
  int64_t n_bytes() const;  // of all blocks
  /// UTF-8 without zero bytes and byte order mark. Throws Error with the byte that is no text.
  std::string text_of(int64_t block) const;
  /// "text.txt: byte 17"
  std::string place(int64_t block, int64_t offset) const;

 private:
  struct Block {
    size_t file = 0;
    int64_t begin = 0, end = 0;  // bytes
  };
  bool lossy_;
  std::vector<InputFile> files_;
  std::vector<Block> blocks_;
};

/// Ids of given tokens, whose blocks are made again when they are asked for.
class BlockIds {
 public:
  /// ids_of: all ids of a block, -1 for what is none; first: of each block the first token, and behind them
  /// the number of all tokens. dtype: uint8 or int32.
  BlockIds(TextFiles files, std::function<std::vector<int32_t>(const TextFiles&, int64_t)> ids_of,
           std::vector<int64_t> first, DType dtype);
  /// Throws Error where a file has changed.
  void read(std::span<const int64_t> tokens, std::byte* dst);

 private:
  void load(int64_t token);

  TextFiles files_;
  std::function<std::vector<int32_t>(const TextFiles&, int64_t)> ids_of_;
  std::vector<int64_t> first_;
  DType dtype_;
  int64_t block_ = -1;
  std::vector<int32_t> ids_;  // of block_
};

/// The first token of each block, and the number of all tokens.
std::vector<int64_t> first_tokens(const std::vector<int64_t>& n_tokens);

}  // namespace lockstep
