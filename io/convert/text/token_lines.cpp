// Two parallel passes, as for CSV: the first cuts the file into one byte range per rank and counts, the
// second makes the ids of given rows again while they are written. Eight bytes per line and four per column
// stay in memory.
#include "io/convert/text/token_lines.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include "comm/agreement.h"
#include "io/convert/table/csv_file.h"
#include "kernels/error.h"

namespace lockstep {

namespace {

/// Collective. Every rank's values one after the other.
template <typename T>
void concatenate(Communicator& comm, std::vector<T>& values) {
  const auto n_mine = static_cast<int64_t>(values.size());
  std::vector<T> all(static_cast<size_t>(comm.all_reduce_sum(n_mine)));
  int64_t first = 0;
  for (int rank = 0; rank < comm.size(); ++rank) {
    int64_t n = n_mine;
    comm.broadcast(&n, sizeof n, rank);
    if (rank == comm.rank()) std::copy(values.begin(), values.end(), all.begin() + first);
    comm.broadcast(all.data() + first, n * static_cast<int64_t>(sizeof(T)), rank);
    first += n;
  }
  values = std::move(all);
}

int64_t begin_of_lines(const InputFile& file) {
  char mark[3] = {};
  if (file.n_bytes() < 3) return 0;
  file.read(0, mark, 3);
  return std::memcmp(mark, "\xEF\xBB\xBF", 3) == 0 ? 3 : 0;
}

}  // namespace

struct TokenLines::Parts {
  std::array<std::string_view, 2> columns;
  std::string_view label;
};

TokenLines::Parts TokenLines::cut(std::string_view line) const {
  const int64_t bad = first_invalid_byte(line);
  if (bad < static_cast<int64_t>(line.size()))
    throw CsvFault{bad, "is not UTF-8 text", "save it as UTF-8 (iconv -f latin1 -t utf8 < FILE > NEW)"};
  Parts parts;
  if (layout_ == LineLayout::kWhole) {
    parts.columns[0] = line;
    return parts;
  }
  const size_t tab = line.find('\t');
  const bool is_pair = layout_ == LineLayout::kPair;
  if (tab == line.npos)
    throw CsvFault{
        0, is_pair ? "has no tab between source and target" : "has no tab between label and text",
        is_pair ? "write source TAB target in each line, or give two files" : "write LABEL TAB text"};
  const std::string_view rest = line.substr(tab + 1);
  if (const size_t second = rest.find('\t'); is_pair && second != rest.npos)
    throw CsvFault{static_cast<int64_t>(tab + 1 + second), "has a second tab",
                   "keep source and target alone (cut -f 1,2)"};
  if (is_pair) {
    parts.columns = {line.substr(0, tab), rest};
  } else {
    parts.columns[0] = rest;
    parts.label = line.substr(0, tab);
    if (parts.label.empty()) throw CsvFault{0, "the label is empty", "write LABEL TAB text"};
  }
  return parts;
}

void TokenLines::scan(int64_t begin, int64_t end) {
  for_each_line(file_, begin, end, [&](std::string_view line, int64_t line_begin) {
    try {
      const Parts parts = cut(line);
      for (size_t c = 0; c < columns_.size(); ++c) {
        TokenColumn& column = columns_[c];
        const auto first = parts.columns[c].data() - line.data();
        int64_t length = 0;
        each_token(column.level, parts.columns[c], [&](std::string_view token, int64_t offset) {
          ++length;
          column.counts.add(token);
          if (column.vocabulary && column.vocabulary->id_of(token) < 0)
            throw CsvFault{first + offset,
                           "holds " + quote_for_message(token) + ", which is not in the vocabulary of " +
                               column.vocabulary_from,
                           "remove it, or take a vocabulary that has <unk>"};
        });
        if (length == 0)
          throw CsvFault{0, columns_.size() > 1 ? "has no " + column.name : "is empty",
                         "remove the line (of both files, where there are two)"};
        length += column.is_enclosed ? 2 : 0;
        if (length > INT32_MAX) throw CsvFault{0, "has too many tokens", "cut the line into several"};
        column.lengths.push_back(static_cast<int32_t>(length));
      }
      begins_.push_back(line_begin);
      if (layout_ == LineLayout::kLabelled && labels_.size() <= kMaxCsvClasses)
        ++labels_[std::string(parts.label)];
    } catch (const CsvFault& fault) {
      throw located(file_, line_begin, fault);
    }
    return true;
  });
}

TokenLines::TokenLines(Communicator& comm, const std::string& path, LineLayout layout,
                       std::vector<TokenColumn> columns, const std::vector<std::string>& specials)
    : layout_(layout), columns_(std::move(columns)) {
  all_or_none(comm, [&] {
    file_ = InputFile(path);
    for (TokenColumn& column : columns_) {
      if (column.vocabulary_from.empty()) continue;
      column.vocabulary =
          std::make_shared<Vocabulary>(Vocabulary::of_dataset(column.vocabulary_from, column.name));
      for (const std::string_view needed : {kBegin, kEnd})
        if (column.is_enclosed && column.vocabulary->place_of(needed) < 0)
          throw Error(column.vocabulary_from,
                      fmt::format("the vocabulary of {} has no {}", column.name, needed),
                      "take that of a dataset of pairs");
    }
  });
  all_or_none(comm, [&] {
    const int64_t first = begin_of_lines(file_), n_bytes = file_.n_bytes() - first;
    const auto border = [&](int rank) {
      const int64_t offset = n_bytes / comm.size() * rank + n_bytes % comm.size() * rank / comm.size();
      return offset == 0 ? first : line_begin_from(file_, first + offset);
    };
    const int64_t end = comm.rank() + 1 < comm.size() ? border(comm.rank() + 1) : file_.n_bytes();
    scan(std::min(border(comm.rank()), end), end);
  });
  concatenate(comm, begins_);
  TokenCounts labels;
  for (const auto& [label, n] : labels_) labels.add(label, n);
  labels.share(comm);
  labels_ = {labels.counts().begin(), labels.counts().end()};
  for (TokenColumn& column : columns_) {
    concatenate(comm, column.lengths);
    column.counts.share(comm);
  }
  all_or_none(comm, [&] {
    for (TokenColumn& column : columns_)
      if (!column.vocabulary)
        column.vocabulary = std::make_shared<Vocabulary>(
            Vocabulary::choose(column.counts, column.level, specials, column.limit));
  });
}

void TokenLines::read(std::span<const int64_t> rows, std::span<std::byte* const> dst,
                      std::vector<std::string>* labels) const {
  const auto changed = [&] {
    return Error(file_.name(), "has changed while it was read", "convert it again");
  };
  std::vector<std::byte*> at(dst.begin(), dst.end());
  for (size_t first = 0; first < rows.size();) {
    size_t last = first + 1;  // a run of neighbours is one read
    while (last < rows.size() && rows[last] == rows[last - 1] + 1) ++last;
    const auto next = static_cast<size_t>(rows[last - 1]) + 1;
    const int64_t end = next < begins_.size() ? begins_[next] : file_.n_bytes();
    size_t row = first;
    for_each_line(file_, begins_[static_cast<size_t>(rows[first])], end, [&](std::string_view line, int64_t) {
      if (row == last) throw changed();
      const Parts parts = [&] {
        try {
          return cut(line);
        } catch (const CsvFault&) {
          throw changed();
        }
      }();
      for (size_t c = 0; c < columns_.size(); ++c) {
        const TokenColumn& column = columns_[c];
        const bool as_bytes = column.vocabulary->dtype() == DType::kUInt8;
        int64_t n = 0;
        const auto put = [&](int32_t id) {
          if (id < 0 || ++n > column.lengths[static_cast<size_t>(rows[row])]) throw changed();
          if (as_bytes)
            *at[c] = static_cast<std::byte>(id);
          else
            std::memcpy(at[c], &id, sizeof id);
          at[c] += as_bytes ? 1 : sizeof id;
        };
        if (column.is_enclosed) put(column.vocabulary->id_of(kBegin));
        each_token(column.level, parts.columns[c],
                   [&](std::string_view token, int64_t) { put(column.vocabulary->id_of(token)); });
        if (column.is_enclosed) put(column.vocabulary->id_of(kEnd));
        if (n != column.lengths[static_cast<size_t>(rows[row])]) throw changed();
      }
      if (labels) labels->emplace_back(parts.label);
      ++row;
      return true;
    });
    if (row < last) throw changed();
    first = last;
  }
}

}  // namespace lockstep
