// What all converters share: a source of rows in, a folder of shards out. A converter only
// says what its rows are and how to read some of them; selection, shuffling, sharding over
// ranks, statistics, agreement on errors and the final renames happen here.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "io/convert/convert.h"
#include "io/convert/text/vocabulary.h"
#include "io/dataset/dataset.h"

namespace lockstep {

struct ConvertInput {
  std::vector<Field> fields;
  int64_t n_rows = 0;
  std::vector<std::string> class_names;
  /// One per field, or none at all; a field whose vocabulary is not empty holds ids, of which a mean says
  /// nothing.
  std::vector<std::vector<std::string>> vocabularies;
  /// One per field, or none at all: of ids, the text of a tokenizer.json (tokenizer_file.h); may be empty.
  std::vector<std::string> tokenizers;
  /// One per field, or none at all: of ragged fields the lengths of all n_rows.
  std::vector<std::vector<int32_t>> lengths;
  /// Where not empty, of all fields: written instead of those of the rows.
  std::vector<Dataset::Statistics> statistics;
  std::string source;              // for the attribute of this name: "CSV", "IDX", …
  std::vector<std::string> notes;  // for ConvertResult; on root
  /// Copies the given rows of every field to dst[f], (rows.size(), shape of field f …), of ragged fields one
  /// behind the other, in the order of `rows`. Not collective: each rank reads what its shards need.
  std::function<void(std::span<const int64_t> rows, std::span<std::byte* const> dst)> read;
  /// Collective, after all reading; throws AgreedError where `read` met what it kept to itself. May be empty.
  std::function<void()> check_read;
  std::vector<std::string> row_names;  // such as names of files; one per row or none
};

/// Collective. Prepares options.out, opens the source, and writes its selected rows as shards.
/// `open_source` is called on every rank and may communicate; errors that it finds must reach
/// all ranks as AgreedError (check_on_root, all_or_none). `scratch` is a folder on the
/// file system of options.out, emptied and removed at the end. After an error options.out is
/// as it was before.
ConvertResult convert_rows(Communicator& comm, const ConvertOptions& options,
                           const std::function<ConvertInput(const std::string& scratch)>& open_source);

/// The same, but with fraction > 0 the first int(n * (1 - fraction)) of n rows go to the folder "train" of
/// options.out and the others to "validation", with the statistics of the former. `open_source` is called for
/// each. Throws AgreedError where a part would be empty, and before anything is written where a folder is in
/// use.
ConvertResult convert_parts(Communicator& comm, double fraction, const ConvertOptions& options,
                            const std::function<ConvertInput(const std::string& scratch)>& open_source);

/// Collective. The sources of rows by themselves. `scratch`: where a compressed file is unpacked.
ConvertInput open_csv(Communicator& comm, const CsvOptions& csv, const std::string& scratch);
ConvertInput open_images(Communicator& comm, const ImagesOptions& images);
ConvertInput open_npy(Communicator& comm, const NpyOptions& npy);
ConvertInput open_text(Communicator& comm, const TextOptions& text);
/// `json`: of a tokenizer.json; text.level and vocabularies do not apply.
ConvertInput open_tokenized_text(Communicator& comm, const TextOptions& text, const std::string& json);

/// Collective. The text of the tokenizer that is asked for: text.tokenizer, or that of text.vocabulary_from;
/// empty: there is none.
std::string tokenizer_of(Communicator& comm, const TextOptions& text);

/// How many tokens a text has and how many of them are known, for ConvertResult::notes.
std::vector<std::string> describe_tokens(const std::string& what, TokenLevel level, const TokenCounts& counts,
                                         const Vocabulary& vocabulary);

/// The class names "0" … "max_id" of data whose labels are numbers, so that a dataset tells its
/// number of classes; none if that is negative or more than 65,536 classes.
std::vector<std::string> numbered_classes(int64_t max_id);

/// Collective. The path of `path`'s plain content: itself, or where it is gzip-compressed, a copy that
/// root unpacks into `scratch` under `name`.
std::string plain_file(Communicator& comm, const std::string& path, const std::string& scratch,
                       const std::string& name);

}  // namespace lockstep
