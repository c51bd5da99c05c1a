// Lines are cut out of large blocks; an incomplete one moves to the front of the next block.
#include "io/csv_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <vector>

namespace lockstep {

namespace {

constexpr int64_t kReadBytes = int64_t{4} << 20;

std::string_view without_cr(std::string_view line) {
  if (line.ends_with('\r')) line.remove_suffix(1);
  return line;
}

}  // namespace

void for_each_line(const InputFile& file, int64_t begin, int64_t end,
                   const std::function<bool(std::string_view, int64_t)>& visit) {
  std::vector<char> block;
  size_t n_kept = 0;  // bytes of an incomplete line at the front of the block
  while (begin < end) {
    const int64_t n_read = std::min(kReadBytes, end - begin);
    if (block.size() < n_kept + n_read) block.resize(n_kept + n_read);
    file.read(begin, block.data() + n_kept, n_read);
    const int64_t block_begin = begin - static_cast<int64_t>(n_kept);
    begin += n_read;
    const char* const block_end = block.data() + n_kept + n_read;
    const char* line = block.data();
    const char* search = line + n_kept;
    while (const void* found = std::memchr(search, '\n', block_end - search)) {
      const char* line_end = static_cast<const char*>(found);
      if (!visit(without_cr({line, line_end}), block_begin + (line - block.data()))) return;
      search = line = line_end + 1;
    }
    n_kept = block_end - line;
    if (begin == end && n_kept > 0) {
      visit(without_cr({line, n_kept}), block_begin + (line - block.data()));
      return;
    }
    std::memmove(block.data(), line, n_kept);
  }
}

int64_t line_begin_from(const InputFile& file, int64_t position) {
  std::vector<char> block(1 << 16);
  for (int64_t at = position - 1; at < file.n_bytes();) {  // a break just before counts
    const int64_t n = std::min<int64_t>(block.size(), file.n_bytes() - at);
    file.read(at, block.data(), n);
    if (const void* found = std::memchr(block.data(), '\n', n))
      return at + (static_cast<const char*>(found) - block.data()) + 1;
    at += n;
  }
  return file.n_bytes();
}

Error located(const InputFile& file, int64_t line_begin, const CsvFault& fault) {
  int64_t line = 1;
  for_each_line(file, 0, line_begin, [&](std::string_view, int64_t) { return ++line, true; });
  return Error(fmt::format("{}:{}:{}", file.name(), line, fault.position + 1), fault.what, fault.remedy);
}

bool is_blank_line(std::string_view line) { return line.find_first_not_of(" \t") == line.npos; }

CsvLayout find_layout(const InputFile& file, const CsvOptions& csv) {
  CsvLayout layout;
  char mark[3];
  if (file.n_bytes() >= 3) {
    file.read(0, mark, 3);
    if (std::memcmp(mark, "\xef\xbb\xbf", 3) == 0) layout.data_begin = 3;
  }
  int64_t to_skip = std::max(csv.header_lines, 0);
  bool may_be_header = csv.header_lines < 0;
  bool found = false;
  std::vector<CsvField> fields;
  for_each_line(file, layout.data_begin, file.n_bytes(), [&](std::string_view line, int64_t begin) {
    if (to_skip > 0) return --to_skip, true;
    if (is_blank_line(line)) return true;
    try {
      split_csv_row(line, csv.separator, fields);
    } catch (const CsvFault& fault) {
      throw located(file, begin, fault);
    }
    layout.data_begin = begin;
    layout.n_columns = static_cast<int64_t>(fields.size());
    layout.target_column =
        csv.target_column == -1 ? layout.n_columns - 1 : std::max(csv.target_column, kNoColumn);
    if (may_be_header) {
      may_be_header = false;
      float ignored;
      for (int64_t c = 0; c < layout.n_columns; ++c) {
        const bool may_be_text = c == layout.target_column && csv.target_is_class && layout.n_columns > 1;
        if (!may_be_text && !fields[c].text.empty() && !parse_number(fields[c].text, &ignored)) return true;
      }
    }
    found = true;
    return false;
  });
  if (!found) throw Error(file.name(), "holds no rows", "check the path and the number of header lines");
  if (layout.target_column >= layout.n_columns)
    throw Error(
        file.name(),
        fmt::format("has {} columns, but the target is column {}", layout.n_columns, layout.target_column),
        fmt::format("give a target column from 0 to {}; check the separator", layout.n_columns - 1));
  if (layout.n_columns == 1 && layout.target_column == 0)
    throw Error(file.name(), "has one column, the target, and so no inputs", "check the separator");
  return layout;
}

}  // namespace lockstep
