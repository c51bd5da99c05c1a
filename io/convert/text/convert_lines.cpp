// Pairs of lines, and labelled lines, to ragged fields of ids.
#include <fmt/format.h>

#include <cstring>
#include <map>
#include <memory>
#include <utility>

#include "comm/agreement.h"
#include "io/convert/convert_rows.h"
#include "io/convert/text/token_lines.h"
#include "kernels/error.h"

namespace lockstep {

namespace {

const std::vector<std::string>& pair_specials() {
  static const std::vector<std::string> specials{std::string(kPad), std::string(kBegin), std::string(kEnd),
                                                 std::string(kUnknown)};
  return specials;
}

void check_line_options(const std::string& converter, int64_t limit, const std::string& vocabulary_from) {
  if (limit < 0)
    throw Error(converter, fmt::format("a vocabulary of {} is not possible", limit),
                "give --vocabulary 5 or more, or leave it out");
  if (limit > 0 && !vocabulary_from.empty())
    throw Error(converter, "the size of a vocabulary that is taken from a dataset is given",
                "leave out --vocabulary or --vocabulary-from");
}

void add_ragged(ConvertInput& source, const TokenColumn& column) {
  source.fields.push_back({column.name, column.vocabulary->dtype(), {}, true});
  source.vocabularies.push_back(column.vocabulary->tokens());
  source.lengths.push_back(column.lengths);
  for (std::string& note : describe_tokens(column.name, column.level, column.counts, *column.vocabulary))
    source.notes.push_back(std::move(note));
}

/// Numbers stay as they are where all labels are such, else names are numbered in their order.
std::map<std::string, int64_t> label_ids(const LabelCounts& labels, std::vector<std::string>* class_names) {
  std::map<std::string, int64_t> ids;
  int64_t max_id = -1;
  bool are_numbers = true;
  for (const auto& [label, n] : labels) {
    float value = 0;
    const int64_t id = parse_number(label, &value) ? class_id(value) : -1;
    are_numbers = are_numbers && id >= 0;
    max_id = std::max(max_id, id);
    ids[label] = id;
  }
  *class_names = are_numbers ? numbered_classes(max_id) : sorted_labels(labels);
  for (size_t i = 0; !are_numbers && i < class_names->size(); ++i)
    ids[(*class_names)[i]] = static_cast<int64_t>(i);
  return ids;
}

ConvertInput open_pairs(Communicator& comm, const PairsOptions& pairs) {
  check_on_root(comm, [&] {
    check_line_options("convert pairs", pairs.source_vocabulary, pairs.vocabulary_from);
    check_line_options("convert pairs", pairs.target_vocabulary, pairs.vocabulary_from);
  });
  TokenColumn from{"source", pairs.source_level, pairs.source_vocabulary, false, pairs.vocabulary_from};
  TokenColumn to{"target", pairs.target_level, pairs.target_vocabulary, true, pairs.vocabulary_from};
  std::vector<std::shared_ptr<const TokenLines>> files;
  if (pairs.target.empty()) {
    files.push_back(std::make_shared<TokenLines>(comm, pairs.source, LineLayout::kPair,
                                                 std::vector<TokenColumn>{from, to}, pair_specials()));
  } else {
    files.push_back(std::make_shared<TokenLines>(comm, pairs.source, LineLayout::kWhole,
                                                 std::vector<TokenColumn>{from}, pair_specials()));
    files.push_back(std::make_shared<TokenLines>(comm, pairs.target, LineLayout::kWhole,
                                                 std::vector<TokenColumn>{to}, pair_specials()));
  }
  check_on_root(comm, [&] {
    const TokenLines &a = *files.front(), &b = *files.back();
    if (a.n_rows() == b.n_rows()) return;
    const bool is_first = a.n_rows() > b.n_rows();
    throw Error(fmt::format("{}:{}", (is_first ? a : b).path(), std::min(a.n_rows(), b.n_rows()) + 1),
                fmt::format("has no partner: {} has {} lines, but {} has {}", a.path(), a.n_rows(), b.path(),
                            b.n_rows()),
                "give files whose lines belong together one by one");
  });
  ConvertInput source;
  source.source = "pairs";
  source.n_rows = files.front()->n_rows();
  for (const auto& file : files)
    for (const TokenColumn& column : file->columns()) add_ragged(source, column);
  source.read = [files](std::span<const int64_t> rows, std::span<std::byte* const> dst) {
    for (size_t f = 0, column = 0; f < files.size(); column += files[f++]->columns().size())
      files[f]->read(rows, dst.subspan(column, files[f]->columns().size()));
  };
  return source;
}

ConvertInput open_labelled_text(Communicator& comm, const LabelledTextOptions& text) {
  check_on_root(comm,
                [&] { check_line_options("convert labelled-text", text.vocabulary, text.vocabulary_from); });
  const std::vector<std::string> specials{std::string(kPad), std::string(kUnknown)};
  const auto lines = std::make_shared<const TokenLines>(
      comm, text.path, LineLayout::kLabelled,
      std::vector<TokenColumn>{{"input", text.level, text.vocabulary, false, text.vocabulary_from}},
      specials);
  check_on_root(comm, [&] {
    if (lines->labels().size() > kMaxCsvClasses)
      throw Error(text.path, fmt::format("has more than {} different labels", kMaxCsvClasses),
                  "write LABEL TAB text in each line");
  });
  ConvertInput source;
  source.source = "labelled text";
  source.n_rows = lines->n_rows();
  add_ragged(source, lines->columns().front());
  const auto ids =
      std::make_shared<std::map<std::string, int64_t>>(label_ids(lines->labels(), &source.class_names));
  source.fields.push_back({"label", DType::kInt64, {}});
  source.vocabularies.emplace_back();
  source.lengths.emplace_back();
  std::string classes;
  constexpr size_t kShown = 12;
  const std::vector<std::string> labels = sorted_labels(lines->labels());
  for (size_t i = 0; i < std::min(labels.size(), kShown); ++i)
    classes += fmt::format("{}{} ({})", i == 0 ? "" : ", ", quote_for_message(labels[i]),
                           lines->labels().at(labels[i]));
  source.notes.push_back(
      fmt::format("classes: {}: {}{}", labels.size(), classes, labels.size() > kShown ? ", …" : ""));
  source.read = [lines, ids](std::span<const int64_t> rows, std::span<std::byte* const> dst) {
    std::vector<std::string> of_rows;
    lines->read(rows, dst.first(1), &of_rows);
    for (size_t i = 0; i < of_rows.size(); ++i) {
      const auto found = ids->find(of_rows[i]);
      if (found == ids->end())
        throw Error(lines->path(), "has changed while it was read", "convert it again");
      std::memcpy(dst[1] + i * sizeof(int64_t), &found->second, sizeof(int64_t));
    }
  };
  return source;
}

}  // namespace

ConvertResult convert_pairs(Communicator& comm, const PairsOptions& pairs, const ConvertOptions& options) {
  return convert_rows(comm, options, [&](const std::string&) { return open_pairs(comm, pairs); });
}

ConvertResult convert_labelled_text(Communicator& comm, const LabelledTextOptions& text,
                                    const ConvertOptions& options) {
  return convert_rows(comm, options, [&](const std::string&) { return open_labelled_text(comm, text); });
}

}  // namespace lockstep
