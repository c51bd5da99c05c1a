// Text -> one stream of ids by a byte-level byte-pair tokenizer, in two passes as characters and words are:
// the first counts the ids of each block.
#include <fmt/format.h>

#include <memory>
#include <utility>

#include "comm/agreement.h"
#include "io/convert/convert_rows.h"
#include "io/convert/text/text_files.h"
#include "io/dataset/dataset.h"
#include "io/tokenizer/byte_level.h"
#include "io/tokenizer/tokenizer.h"
#include "kernels/error.h"

namespace lockstep {

namespace {

/// The character that `text` ends with.
std::string_view last_character(std::string_view text) {
  size_t begin = text.size();
  while (begin > 0 && (text[--begin] & 0xC0) == 0x80) {
  }
  return text.substr(begin);
}

std::string_view first_character(std::string_view text) {
  size_t end = std::min<size_t>(1, text.size());
  while (end < text.size() && (text[end] & 0xC0) == 0x80) ++end;
  return text.substr(0, end);
}

/// Behind a line feed between two characters that are no white space.
bool is_between_lines(std::string_view before, std::string_view behind) {
  if (!before.ends_with('\n') || before.size() < 2 || behind.empty()) return false;
  before.remove_suffix(1);
  return !is_white_space(last_character(before)) && !is_white_space(first_character(behind));
}

std::vector<int32_t> encode_block(Tokenizer& tokenizer, const TextFiles& files, int64_t block) {
  std::vector<int32_t> ids;
  const std::string text = files.text_of(block);
  if (const int64_t at = tokenizer.encode(text, &ids); at >= 0)
    throw Error(files.place(block, at),
                fmt::format("is {:#04x}, for which the tokenizer has no token",
                            static_cast<unsigned>(static_cast<unsigned char>(text[static_cast<size_t>(at)]))),
                "remove it from the text, or train the tokenizer with all 256 bytes");
  return ids;
}

}  // namespace

std::string tokenizer_of(Communicator& comm, const TextOptions& text) {
  std::string json;
  check_on_root(comm, [&] {
    if (!text.tokenizer.empty()) {
      json = tokenizer_json(read_tokenizer_file(text.tokenizer));
    } else if (!text.vocabulary_from.empty()) {
      DatasetOptions options;
      options.fields = {"tokens"};
      options.with_others = false;
      json = Dataset::open(text.vocabulary_from, options).tokenizer("tokens");
    }
  });
  for (std::string& of_rank : comm.all_gather_strings(json))
    if (json.empty()) json = std::move(of_rank);
  return json;
}

ConvertInput open_tokenized_text(Communicator& comm, const TextOptions& text, const std::string& json) {
  std::shared_ptr<Tokenizer> tokenizer;
  std::unique_ptr<TextFiles> files;
  std::vector<int64_t> n_tokens;  // of each block
  all_or_none(comm, [&] {
    const std::string& where = text.tokenizer.empty() ? text.vocabulary_from : text.tokenizer;
    tokenizer = std::make_shared<Tokenizer>(Tokenizer::parse(json, where));
    const bool cuts = tokenizer->may_cut_between_lines();
    files = std::make_unique<TextFiles>(text.files, text.lossy,
                                        [&](std::string_view before, std::string_view behind) {
                                          return cuts && is_between_lines(before, behind);
                                        });
    n_tokens.resize(static_cast<size_t>(files->n_blocks()));
  });
  all_or_none(comm, [&] {
    for (int64_t block = comm.rank(); block < files->n_blocks(); block += comm.size())
      n_tokens[static_cast<size_t>(block)] =
          static_cast<int64_t>(encode_block(*tokenizer, *files, block).size());
  });
  comm.native_all_reduce(std::span<int64_t>(n_tokens));
  ConvertInput source;
  source.source = "text";
  std::vector<int64_t> first = first_tokens(n_tokens);
  source.n_rows = first.back();
  source.fields = {{"tokens", DType::kInt32, {}}};
  source.vocabularies = {tokenizer->spec().tokens};
  source.tokenizers = {json};
  source.notes = {fmt::format(
      "text: {} tokens, {:.3f} bytes each; vocabulary of {}", source.n_rows,
      static_cast<double>(files->n_bytes()) / static_cast<double>(std::max<int64_t>(1, source.n_rows)),
      tokenizer->size())};
  const auto ids_of = [tokenizer](const TextFiles& of, int64_t block) {
    return encode_block(*tokenizer, of, block);
  };
  const auto reader = std::make_shared<BlockIds>(std::move(*files), ids_of, std::move(first), DType::kInt32);
  source.read = [reader](auto rows, auto dst) { reader->read(rows, dst[0]); };
  return source;
}

}  // namespace lockstep
