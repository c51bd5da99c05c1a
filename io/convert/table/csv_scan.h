// What a first pass over a CSV file finds out: its rows, the kind of its values, its class labels.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "comm/communicator.h"
#include "io/convert/table/csv_file.h"
#include "io/dataset/dataset.h"

namespace lockstep {

inline constexpr size_t kMaxCsvClasses = 65536;

using LabelCounts = std::map<std::string, int64_t, std::less<>>;

/// What a pass over rows finds out.
struct CsvScan {
  std::vector<int64_t> row_begin;  // byte of each row's first character
  bool all_bytes = true;           // input values are whole numbers in 0..255
  bool text_labels = false;        // some label is not a number
  int64_t max_id = 0;              // of numeric labels
  int64_t bad_id = -1;             // byte of the first numeric label that is no class id
  LabelCounts labels;              // rows of each distinct text, of at most kMaxClasses + 1
  bool first_counts = true;        // the first input grows by 1 from row to row
  bool has_large = false;          // some input is 2^24 or more, where float32 leaves out whole numbers
};

/// A whole number >= 0 that int64 and every loss function can take, or -1.
int64_t class_id(float value);

/// The rows that begin in bytes [begin, end). Throws Error at the first that is malformed.
CsvScan scan_rows(const InputFile& file, const CsvOptions& csv, const CsvLayout& layout, int64_t begin,
                  int64_t end);

/// Collective. Gives every rank the union of all ranks' scans, rows in file order.
void share_scan(Communicator& comm, CsvScan& scan);

/// Numbers in their order, then words in byte order.
std::vector<std::string> sorted_labels(const LabelCounts& labels);

/// What is taken and what is left out, a line each. names: of the columns, or none.
std::vector<std::string> describe_table(const CsvOptions& csv, const CsvLayout& layout, const CsvScan& scan,
                                        const std::vector<std::string>& names,
                                        const std::vector<Field>& fields);

}  // namespace lockstep
