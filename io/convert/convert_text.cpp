// Text -> one stream of ids in two parallel passes. The text is cut into blocks of about 1 MiB between
// tokens, by its bytes alone. The first pass counts tokens, each rank in blocks of its own; so the vocabulary
// and the first token of each block are known, and the second makes the ids of a block again while shards are
// written.
#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <optional>
#include <utility>

#include "comm/agreement.h"
#include "io/convert/convert_output.h"
#include "io/convert/convert_rows.h"
#include "io/convert/csv_row.h"
#include "io/convert/vocabulary.h"
#include "io/files/gzip.h"
#include "kernels/error.h"

namespace lockstep {

namespace {

constexpr int64_t kTextBlockBytes = int64_t{1} << 20;

struct TextBlock {
  size_t file = 0;
  int64_t begin = 0, end = 0;  // bytes
};

/// The first place at or behind `position` where the text may be cut, or the end of the file.
int64_t cut_from(const InputFile& file, int64_t position, TokenLevel level) {
  std::vector<char> piece(1 << 14);
  for (int64_t at = position; at < file.n_bytes();) {
    const int64_t n = std::min<int64_t>(static_cast<int64_t>(piece.size()), file.n_bytes() - at);
    file.read(at, piece.data(), n);
    for (int64_t i = 0; i < n; ++i)
      if (may_cut_before(level, piece[static_cast<size_t>(i)])) return at + i;
    at += n;
  }
  return file.n_bytes();
}

bool has_byte_order_mark(const InputFile& file) {
  char mark[3] = {};
  if (file.n_bytes() < 3) return false;
  file.read(0, mark, 3);
  return std::memcmp(mark, "\xEF\xBB\xBF", 3) == 0;
}

/// The files of a text, read block by block.
class TextFiles {
 public:
  TextFiles(const TextOptions& options) : level_(options.level), lossy_(options.lossy) {
    for (const std::string& path : options.files) {
      files_.emplace_back(path);
      const InputFile& file = files_.back();
      for (int64_t begin = has_byte_order_mark(file) ? 3 : 0; begin < file.n_bytes();) {
        const int64_t end = cut_from(file, begin + kTextBlockBytes, level_);
        blocks_.push_back({files_.size() - 1, begin, std::min(end, file.n_bytes())});
        begin = blocks_.back().end;
      }
    }
  }

  int64_t n_blocks() const { return static_cast<int64_t>(blocks_.size()); }

  /// Throws Error with the byte that is no text.
  void each_token_of(int64_t block, const std::function<void(std::string_view, int64_t)>& visit) {
    const TextBlock& of = blocks_[static_cast<size_t>(block)];
    const InputFile& file = files_[of.file];
    std::string text(static_cast<size_t>(of.end - of.begin), '\0');
    file.read(of.begin, text.data(), of.end - of.begin);
    if (const int64_t bad = first_invalid_byte(text); bad < of.end - of.begin) {
      if (!lossy_)
        throw Error(
            place(block, bad),
            text[static_cast<size_t>(bad)] == '\0' ? "holds a zero byte, which no text does"
                                                   : "is not UTF-8 text",
            "save it as UTF-8 (iconv -f latin1 -t utf8 < FILE > NEW; gunzip FILE.gz), or say --lossy, "
            "which puts U+FFFD for such bytes");
      text = with_replacements(text);
    }
    each_token(level_, text, visit);
  }
  /// "text.txt: byte 17"
  std::string place(int64_t block, int64_t offset) const {
    const TextBlock& of = blocks_[static_cast<size_t>(block)];
    return fmt::format("{}: byte {}", files_[of.file].name(), of.begin + offset);
  }

 private:
  TokenLevel level_;
  bool lossy_;
  std::vector<InputFile> files_;
  std::vector<TextBlock> blocks_;
};

/// Ids of given tokens, from their blocks.
class TextReader {
 public:
  TextReader(TextFiles files, Vocabulary vocabulary, std::vector<int64_t> first_tokens)
      : files_(std::move(files)), vocabulary_(std::move(vocabulary)), first_(std::move(first_tokens)) {}

  void read(std::span<const int64_t> rows, std::byte* dst) {
    const bool as_bytes = vocabulary_.dtype() == DType::kUInt8;
    for (size_t i = 0; i < rows.size(); ++i) {
      if (block_ < 0 || rows[i] < first_[block_] || rows[i] >= first_[block_ + 1]) load(rows[i]);
      const int32_t id = ids_[static_cast<size_t>(rows[i] - first_[block_])];
      if (as_bytes)
        dst[i] = static_cast<std::byte>(id);
      else
        std::memcpy(dst + i * sizeof id, &id, sizeof id);
    }
  }

 private:
  void load(int64_t token) {
    const auto next = std::upper_bound(first_.begin(), first_.end(), token);
    block_ = next - first_.begin() - 1;
    ids_.clear();
    files_.each_token_of(block_,
                         [&](std::string_view text, int64_t) { ids_.push_back(vocabulary_.id_of(text)); });
    const bool is_same = static_cast<int64_t>(ids_.size()) == first_[block_ + 1] - first_[block_] &&
                         std::find(ids_.begin(), ids_.end(), -1) == ids_.end();
    if (!is_same)
      throw Error(files_.place(block_, 0), "the text has changed while it was read", "convert it again");
  }

  TextFiles files_;
  Vocabulary vocabulary_;
  std::vector<int64_t> first_;  // of each block; behind them the number of all tokens
  int64_t block_ = -1;
  std::vector<int32_t> ids_;  // of block_
};

void check_text_options(const TextOptions& text) {
  if (text.files.empty()) throw Error("convert text", "no file is given", "name one or more text files");
  if (text.vocabulary < 0)
    throw Error("convert text", fmt::format("a vocabulary of {} is not possible", text.vocabulary),
                "give --vocabulary 2 or more, or leave it out");
  if (text.vocabulary > 0 && !text.vocabulary_from.empty())
    throw Error("convert text", "the size of a vocabulary that is taken from a dataset is given",
                "leave out --vocabulary or --vocabulary-from");
  if (!(text.validation_fraction >= 0 && text.validation_fraction < 1))
    throw Error("convert text",
                fmt::format("the fraction {} for validation is not possible", text.validation_fraction),
                "give --validation-fraction from 0 to less than 1, such as 0.1");
}

}  // namespace

ConvertInput open_text(Communicator& comm, const TextOptions& text) {
  check_on_root(comm, [&] { check_text_options(text); });
  std::unique_ptr<TextFiles> files;
  std::unique_ptr<Vocabulary> vocabulary;
  TokenCounts counts;
  std::vector<int64_t> n_tokens;  // of each block
  all_or_none(comm, [&] {
    files = std::make_unique<TextFiles>(text);
    if (!text.vocabulary_from.empty())
      vocabulary = std::make_unique<Vocabulary>(Vocabulary::of_dataset(text.vocabulary_from, "tokens"));
    n_tokens.resize(static_cast<size_t>(files->n_blocks()));
  });
  all_or_none(comm, [&] {
    for (int64_t block = comm.rank(); block < files->n_blocks(); block += comm.size())
      files->each_token_of(block, [&](std::string_view token, int64_t offset) {
        ++n_tokens[static_cast<size_t>(block)];
        counts.add(token);
        if (vocabulary && vocabulary->id_of(token) < 0)
          throw Error(
              files->place(block, offset),
              "holds " + quote_for_message(token) + ", which is not in the vocabulary of " +
                  text.vocabulary_from + " (" + std::to_string(vocabulary->size()) + " tokens)",
              "remove it from the text, or convert both with a vocabulary that has <unk> (--vocabulary)");
      });
  });
  comm.native_all_reduce(std::span<int64_t>(n_tokens));
  counts.share(comm);
  all_or_none(comm, [&] {
    const std::vector<std::string> specials = text.level == TokenLevel::kWords
                                                  ? std::vector<std::string>{std::string(kUnknown)}
                                                  : std::vector<std::string>{};
    if (!vocabulary)
      vocabulary =
          std::make_unique<Vocabulary>(Vocabulary::choose(counts, text.level, specials, text.vocabulary));
  });

  ConvertInput source;
  source.source = "text";
  std::vector<int64_t> first{0};
  for (const int64_t n : n_tokens) first.push_back(first.back() + n);
  source.n_rows = first.back();
  source.fields = {{"tokens", vocabulary->dtype(), {}}};
  source.vocabularies = {vocabulary->tokens()};
  source.notes = describe_tokens("text", text.level, counts, *vocabulary);
  auto reader = std::make_shared<TextReader>(std::move(*files), std::move(*vocabulary), std::move(first));
  source.read = [reader](auto rows, auto dst) { reader->read(rows, dst[0]); };
  return source;
}

std::vector<std::string> describe_tokens(const std::string& what, TokenLevel level, const TokenCounts& counts,
                                         const Vocabulary& vocabulary) {
  int64_t n = 0;
  for (const auto& [token, n_here] : counts.counts()) n += n_here;
  const int64_t n_unknown = vocabulary.n_unknown(counts);
  return {fmt::format("{}: {} {}, {} different ones; vocabulary of {}{}", what, n,
                      level == TokenLevel::kWords ? "words and marks" : "characters", counts.counts().size(),
                      vocabulary.size(),
                      n_unknown > 0 ? fmt::format("; {} are <unk>", n_unknown) : std::string())};
}

ConvertResult convert_text(Communicator& comm, const TextOptions& text, const ConvertOptions& options) {
  std::optional<ConvertInput> opened;  // once for both parts
  return convert_parts(comm, text.validation_fraction, options, [&](const std::string&) {
    if (!opened) opened = open_text(comm, text);
    return *opened;
  });
}

}  // namespace lockstep
