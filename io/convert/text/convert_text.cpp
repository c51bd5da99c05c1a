// Text -> one stream of ids in two parallel passes over its blocks. The first counts tokens, each rank in
// blocks of its own; so the vocabulary and the first token of each block are known, and the second makes the
// ids of a block again while shards are written.
#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <utility>

#include "comm/agreement.h"
#include "io/convert/convert_output.h"
#include "io/convert/convert_rows.h"
#include "io/convert/table/csv_row.h"
#include "io/convert/text/text_files.h"
#include "io/convert/text/vocabulary.h"
#include "kernels/error.h"

namespace lockstep {

namespace {

void check_text_options(const TextOptions& text) {
  if (text.files.empty()) throw Error("convert text", "no file is given", "name one or more text files");
  if (!text.tokenizer.empty() && (text.vocabulary != 0 || !text.vocabulary_from.empty()))
    throw Error("convert text", "a vocabulary is given, though the tokenizer has its own",
                "leave out --vocabulary and --vocabulary-from, or --tokenizer");
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
  if (std::string json = tokenizer_of(comm, text); !json.empty())
    return open_tokenized_text(comm, text, json);
  std::unique_ptr<TextFiles> files;
  std::unique_ptr<Vocabulary> vocabulary;
  TokenCounts counts;
  std::vector<int64_t> n_tokens;  // of each block
  all_or_none(comm, [&] {
    files = std::make_unique<TextFiles>(
        text.files, text.lossy,
        [&](std::string_view, std::string_view behind) { return may_cut_before(text.level, behind[0]); });
    if (!text.vocabulary_from.empty())
      vocabulary = std::make_unique<Vocabulary>(Vocabulary::of_dataset(text.vocabulary_from, "tokens"));
    n_tokens.resize(static_cast<size_t>(files->n_blocks()));
  });
  all_or_none(comm, [&] {
    for (int64_t block = comm.rank(); block < files->n_blocks(); block += comm.size())
      each_token(text.level, files->text_of(block), [&](std::string_view token, int64_t offset) {
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
  std::vector<int64_t> first = first_tokens(n_tokens);
  source.n_rows = first.back();
  source.fields = {{"tokens", vocabulary->dtype(), {}}};
  source.vocabularies = {vocabulary->tokens()};
  source.notes = describe_tokens("text", text.level, counts, *vocabulary);
  const DType dtype = vocabulary->dtype();
  const auto ids_of = [level = text.level, known = std::make_shared<const Vocabulary>(
                                               std::move(*vocabulary))](const TextFiles& of, int64_t block) {
    std::vector<int32_t> ids;
    each_token(level, of.text_of(block),
               [&](std::string_view token, int64_t) { ids.push_back(known->id_of(token)); });
    return ids;
  };
  const auto reader = std::make_shared<BlockIds>(std::move(*files), ids_of, std::move(first), dtype);
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
