#include "io/convert/text/text_files.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "io/convert/text/text_tokens.h"
#include "kernels/error.h"

namespace lockstep {

namespace {

constexpr int64_t kTextBlockBytes = int64_t{1} << 20;
constexpr int64_t kShownBytes = 8;  // on both sides of a cut

/// The first place at or behind `position` where the text may be cut, or the end of the file.
int64_t cut_from(const InputFile& file, int64_t position, const MayCut& may_cut) {
  constexpr int64_t kPieceBytes = 1 << 14;
  std::vector<char> piece;
  for (int64_t at = position; at < file.n_bytes(); at += kPieceBytes) {
    const int64_t first = std::max<int64_t>(0, at - kShownBytes);
    piece.resize(static_cast<size_t>(std::min(at + kPieceBytes + kShownBytes, file.n_bytes()) - first));
    file.read(first, piece.data(), static_cast<int64_t>(piece.size()));
    const std::string_view text(piece.data(), piece.size());
    for (int64_t cut = at; cut < std::min(at + kPieceBytes, file.n_bytes()); ++cut) {
      const auto i = static_cast<size_t>(cut - first);
      const size_t n_before = std::min<size_t>(i, kShownBytes);
      if (may_cut(text.substr(i - n_before, n_before), text.substr(i, kShownBytes))) return cut;
    }
  }
  return file.n_bytes();
}

bool has_byte_order_mark(const InputFile& file) {
  char mark[3] = {};
  if (file.n_bytes() < 3) return false;
  file.read(0, mark, 3);
  return std::memcmp(mark, "\xEF\xBB\xBF", 3) == 0;
}

}  // namespace

TextFiles::TextFiles(const std::vector<std::string>& paths, bool lossy, const MayCut& may_cut)
    : lossy_(lossy) {
  for (const std::string& path : paths) {
    files_.emplace_back(path);
    const InputFile& file = files_.back();
    for (int64_t begin = has_byte_order_mark(file) ? 3 : 0; begin < file.n_bytes();) {
      const int64_t end = cut_from(file, begin + kTextBlockBytes, may_cut);
      blocks_.push_back({files_.size() - 1, begin, std::min(end, file.n_bytes())});
      begin = blocks_.back().end;
    }
  }
}

int64_t TextFiles::n_bytes() const {
  int64_t n_bytes = 0;
  for (const Block& block : blocks_) n_bytes += block.end - block.begin;
  return n_bytes;
}

std::string TextFiles::text_of(int64_t block) const {
  const Block& of = blocks_[static_cast<size_t>(block)];
  std::string text(static_cast<size_t>(of.end - of.begin), '\0');
  files_[of.file].read(of.begin, text.data(), of.end - of.begin);
  const int64_t bad = first_invalid_byte(text);
  if (bad == of.end - of.begin) return text;
  if (!lossy_)
    throw Error(place(block, bad),
                text[static_cast<size_t>(bad)] == '\0' ? "holds a zero byte, which no text does"
                                                       : "is not UTF-8 text",
                "save it as UTF-8 (iconv -f latin1 -t utf8 < FILE > NEW; gunzip FILE.gz), or say --lossy, "
                "which puts U+FFFD for such bytes");
  return with_replacements(text);
}

std::string TextFiles::place(int64_t block, int64_t offset) const {
  const Block& of = blocks_[static_cast<size_t>(block)];
  return fmt::format("{}: byte {}", files_[of.file].name(), of.begin + offset);
}

BlockIds::BlockIds(TextFiles files, std::function<std::vector<int32_t>(const TextFiles&, int64_t)> ids_of,
                   std::vector<int64_t> first, DType dtype)
    : files_(std::move(files)), ids_of_(std::move(ids_of)), first_(std::move(first)), dtype_(dtype) {}

void BlockIds::read(std::span<const int64_t> tokens, std::byte* dst) {
  for (size_t i = 0; i < tokens.size(); ++i) {
    if (block_ < 0 || tokens[i] < first_[static_cast<size_t>(block_)] ||
        tokens[i] >= first_[static_cast<size_t>(block_) + 1])
      load(tokens[i]);
    const int32_t id = ids_[static_cast<size_t>(tokens[i] - first_[static_cast<size_t>(block_)])];
    if (dtype_ == DType::kUInt8)
      dst[i] = static_cast<std::byte>(id);
    else
      std::memcpy(dst + i * sizeof id, &id, sizeof id);
  }
}

void BlockIds::load(int64_t token) {
  const auto next = std::upper_bound(first_.begin(), first_.end(), token);
  block_ = next - first_.begin() - 1;
  ids_ = ids_of_(files_, block_);
  const auto n = static_cast<int64_t>(ids_.size());
  if (n != *next - *(next - 1) || std::find(ids_.begin(), ids_.end(), -1) != ids_.end())
    throw Error(files_.place(block_, 0), "the text has changed while it was read", "convert it again");
}

std::vector<int64_t> first_tokens(const std::vector<int64_t>& n_tokens) {
  std::vector<int64_t> first{0};
  for (const int64_t n : n_tokens) first.push_back(first.back() + n);
  return first;
}

}  // namespace lockstep
