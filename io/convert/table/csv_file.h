// A CSV file as lines: where its rows begin and end, what its first rows say about the header and
// the columns (csv_header.cpp), and where in the file a fault is.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "io/convert/convert.h"
#include "io/convert/table/csv_row.h"
#include "io/files/gzip.h"
#include "kernels/error.h"

namespace lockstep {

inline constexpr int64_t kNoColumn = -1;

/// Trivially copyable: root finds it and broadcasts it.
struct CsvLayout {
  int64_t data_begin = 0;  // first byte after the header
  int64_t n_columns = 0;
  int64_t target_column = kNoColumn;
  int64_t n_index = 0;      // leading columns that are an index
  int64_t header_line = 0;  // from 1; 0: there is none
  int64_t named_target =
      kNoColumn;  // a column before the last that the header calls label, target, class or y
};

/// Reads the first lines: skips a byte order mark and the header, counts columns. Throws Error
/// if there are no rows or they do not fit the options. `names` (may be null) receives the header's texts,
/// one per column, or none.
CsvLayout find_layout(const InputFile& file, const CsvOptions& csv,
                      std::vector<std::string>* names = nullptr);

/// The columns that are neither input nor target: the index and those that the options name, ascending.
std::vector<int64_t> dropped_columns(const CsvOptions& csv, const CsvLayout& layout);

/// Calls visit(line, begin) for each line that starts in bytes [begin, end), without its line
/// break (LF or CR LF), until it returns false. `end` must begin a line or be the end of the file.
void for_each_line(const InputFile& file, int64_t begin, int64_t end,
                   const std::function<bool(std::string_view, int64_t)>& visit);

/// The first byte >= position (> 0) that begins a line, or the end of the file.
int64_t line_begin_from(const InputFile& file, int64_t position);

/// Lines that are no rows.
bool is_blank_line(std::string_view line);

/// The fault as an error at file:line:column. Counting lines only now keeps scans parallel.
Error located(const InputFile& file, int64_t line_begin, const CsvFault& fault);

}  // namespace lockstep
