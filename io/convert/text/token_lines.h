// Files with one sample a line, of which each gives one or two columns of text: what pairs and labelled texts
// share.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "comm/communicator.h"
#include "io/convert/table/csv_scan.h"
#include "io/convert/text/vocabulary.h"
#include "io/files/gzip.h"

namespace lockstep {

/// What a line, or a part of it, becomes.
struct TokenColumn {
  std::string name;  // of the field; ragged
  TokenLevel level = TokenLevel::kCharacters;
  int64_t limit = 0;            // of the vocabulary; 0: none
  bool is_enclosed = false;     // kBegin … kEnd
  std::string vocabulary_from;  // a dataset; empty: of the lines

  // Found by TokenLines:
  std::shared_ptr<const Vocabulary> vocabulary;
  TokenCounts counts;
  std::vector<int32_t> lengths;  // of all rows
};

/// How the columns of a line are told apart.
enum class LineLayout : uint8_t {
  kWhole,    // one column
  kPair,     // column 0 TAB column 1
  kLabelled  // label TAB column 0
};

class TokenLines {
 public:
  /// Collective. Scans the file, each rank a part of it. Throws AgreedError naming the line: no UTF-8, no
  /// token in a column, a missing or further tab, a token that is not in a vocabulary taken from elsewhere.
  TokenLines(Communicator& comm, const std::string& path, LineLayout layout, std::vector<TokenColumn> columns,
             const std::vector<std::string>& specials);

  int64_t n_rows() const { return static_cast<int64_t>(begins_.size()); }
  const std::string& path() const { return file_.name(); }
  const std::vector<TokenColumn>& columns() const { return columns_; }
  const LabelCounts& labels() const { return labels_; }  // of kLabelled

  /// Ids of the given rows, one row behind the other, as the dtype of the column's vocabulary: column c to
  /// dst[c]. labels, where not null: of each row.
  void read(std::span<const int64_t> rows, std::span<std::byte* const> dst,
            std::vector<std::string>* labels = nullptr) const;

 private:
  struct Parts;  // of a line
  Parts cut(std::string_view line) const;
  void scan(int64_t begin, int64_t end);

  InputFile file_;
  LineLayout layout_;
  std::vector<TokenColumn> columns_;
  std::vector<int64_t> begins_;  // of the lines
  LabelCounts labels_;
};

}  // namespace lockstep
