// Does the first line name the columns? pandas, R and spreadsheets leave signs: a word where numbers are
// expected, an unnamed first column (their index), a name less than the rows have columns, or names that
// count from 0. A first line that lacks a value is a row, so that the scan refuses it by its place.
#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "io/convert/table/csv_file.h"

namespace lockstep {

namespace {

struct Line {
  int64_t begin = 0, number = 0;  // byte; from 1
  std::vector<CsvField> fields;
};

bool is_number(const CsvField& field) {
  float ignored;
  return parse_number(field.text, &ignored);
}

/// A text that can only be a name where a number is expected.
bool is_name(const CsvField& field) {
  return !is_number(field) && (field.quoted ? !field.text.empty() : !is_missing_value(field.text));
}

bool is_unnamed(std::string_view name) {
  return name.empty() || name.starts_with("Unnamed: ");  // what pandas calls such a column
}

int64_t target_of(const CsvOptions& csv, size_t n_columns) {
  return csv.target_column == -1 ? static_cast<int64_t>(n_columns) - 1
                                 : std::max(csv.target_column, kNoColumn);
}

/// How many fields from `first` on are "0", "1", "2" …, as pandas names the columns of an array.
int64_t n_counting(const std::vector<CsvField>& fields, size_t first) {
  int64_t n = 0;
  while (first + n < fields.size() && fields[first + n].text == std::to_string(n)) ++n;
  return n;
}

/// `second` is the line below; null where there is none.
bool is_header(const InputFile& file, const CsvOptions& csv, const Line& first, const Line* second) {
  const std::vector<CsvField>& fields = first.fields;
  const auto n = static_cast<int64_t>(fields.size());
  const int64_t target = target_of(csv, fields.size());
  const bool has_class = csv.target_is_class && target != kNoColumn && target < n && n > 1;
  for (int64_t c = 0; c < n; ++c)
    if (!(has_class && c == target) && is_name(fields[c])) return true;
  const bool target_named = has_class && is_name(fields[target]);
  if (target_named && second && target < static_cast<int64_t>(second->fields.size()) &&
      is_number(second->fields[target]))
    return true;
  const int64_t n_unnamed = fields[0].text.empty() && n > 1;
  const int64_t counted = n_counting(fields, n_unnamed);
  const bool all_count = n_unnamed + counted == n;
  const bool inputs_count = target_named && target == n - 1 && n_unnamed + counted == n - 1;
  if (n_unnamed && (all_count || (inputs_count && counted > 0))) return true;
  if (inputs_count && counted >= 2) return true;
  if (all_count && n == 3)
    throw located(file, first.begin,
                  {0, "the first line, 0,1,2, may be a row or the names of the columns",
                   "say --header 0 if it is a row, --header 1 if it names the columns"});
  return all_count && n > 3;
}

std::string other_separator(const Line& line, char separator) {
  for (const char other : {',', ';', '\t', '|', ' '}) {
    if (other == separator) continue;
    for (const CsvField& field : line.fields)
      if (field.text.find(other) != std::string::npos)
        return fmt::format("check the separator: --separator {}",
                           other == '\t' ? "tab" : fmt::format("'{}'", other));
  }
  return "check the separator";
}

/// One name per column of the rows. A header that is one short does not name the index (R's write.table).
std::vector<std::string> column_names(const InputFile& file, const Line& header, size_t n_columns,
                                      char separator) {
  std::vector<std::string> names;
  if (header.fields.size() + 1 == n_columns) names.emplace_back();
  for (const CsvField& field : header.fields) names.push_back(field.text);
  if (names.size() != n_columns)
    throw located(
        file, header.begin,
        {0, fmt::format("the header names {} columns, but the rows have {}", header.fields.size(), n_columns),
         other_separator(header, separator) + "; or correct the header, or skip it with --header"});
  return names;
}

void check_layout(const InputFile& file, const CsvOptions& csv, const CsvLayout& layout, const Line& row) {
  if (layout.target_column >= layout.n_columns)
    throw Error(
        file.name(),
        fmt::format("has {} columns, but the target is column {}", layout.n_columns, layout.target_column),
        fmt::format("give a target column from 0 to {}; {}", layout.n_columns - 1,
                    other_separator(row, csv.separator)));
  if (layout.n_columns == 1 && layout.target_column == 0)
    throw Error(file.name(), "has one column, the target, and so no inputs",
                other_separator(row, csv.separator));
  for (const int64_t column : csv.dropped) {
    if (column < 0 || column >= layout.n_columns)
      throw Error(file.name(), fmt::format("has no column {} to leave out: they are counted from 0", column),
                  fmt::format("give columns from 0 to {}", layout.n_columns - 1));
    if (column == layout.target_column)
      throw Error(file.name(), fmt::format("column {} is the target and cannot be left out", column),
                  "name another target, or -2 for none");
  }
  if (static_cast<int64_t>(dropped_columns(csv, layout).size()) + (layout.target_column != kNoColumn) >=
      layout.n_columns)
    throw Error(file.name(), "leaves no column for the inputs", "leave out fewer columns");
}

/// The first column that the header calls as people call targets; kNoColumn where the last is called so, or
/// none.
int64_t find_named_target(const std::vector<std::string>& names) {
  const auto is_target = [](std::string name) {
    for (char& c : name) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
    return name == "label" || name == "labels" || name == "target" || name == "class" || name == "y";
  };
  if (names.empty() || is_target(names.back())) return kNoColumn;
  const auto found = std::find_if(names.begin(), names.end(), is_target);
  return found == names.end() ? kNoColumn : found - names.begin();
}

/// Bytes of a UTF-8 mark; other encodings are refused, and so is what spreadsheets write otherwise.
int64_t mark_bytes(const InputFile& file) {
  unsigned char mark[4] = {};
  file.read(0, mark, std::min<int64_t>(4, file.n_bytes()));
  const bool is_zip = std::memcmp(mark, "PK\3\4", 4) == 0;
  if (is_zip || std::memcmp(mark, "\xd0\xcf\x11\xe0", 4) == 0)
    throw Error(file.name(),
                is_zip ? "is a ZIP archive, as .xlsx and .ods files are" : "is an old Excel file (.xls)",
                "save the table as CSV (in a spreadsheet: CSV UTF-8), or unpack the archive");
  if ((mark[0] == 0xff && mark[1] == 0xfe) || (mark[0] == 0xfe && mark[1] == 0xff))
    throw Error(file.name(), "is UTF-16 text", "save it as UTF-8 (in a spreadsheet: CSV UTF-8)");
  return std::memcmp(mark, "\xef\xbb\xbf", 3) == 0 ? 3 : 0;
}

}  // namespace

std::vector<int64_t> dropped_columns(const CsvOptions& csv, const CsvLayout& layout) {
  std::vector<int64_t> columns = csv.dropped;
  for (int64_t column = 0; column < layout.n_index; ++column) columns.push_back(column);
  std::sort(columns.begin(), columns.end());
  columns.erase(std::unique(columns.begin(), columns.end()), columns.end());
  return columns;
}

namespace {

/// "sep=;", with which Excel says what separates the columns below.
bool is_separator_line(const InputFile& file, std::string_view text, char separator) {
  if (text.size() != 5 || !text.starts_with("sep=")) return false;
  if (text[4] != separator)
    throw Error(file.name(),
                fmt::format("says in its first line that {} separates the columns",
                            quote_for_message(text.substr(4))),
                text[4] == '\t' ? "say --separator tab" : fmt::format("say --separator '{}'", text[4]));
  return true;
}

Error no_rows(const InputFile& file) {
  std::string start(static_cast<size_t>(std::min<int64_t>(file.n_bytes(), 4096)), '\0');
  file.read(0, start.data(), static_cast<int64_t>(start.size()));
  if (start.find('\r') != start.npos && start.find('\n') == start.npos)
    return Error(file.name(), "has lines that end with a carriage return alone, as on old Macintoshes",
                 "save it with line ends of Windows or Unix: tr '\\r' '\\n' < FILE > NEW");
  return Error(file.name(), "holds no rows", "check the path and the number of header lines");
}

}  // namespace

CsvLayout find_layout(const InputFile& file, const CsvOptions& csv, std::vector<std::string>* names) {
  CsvLayout layout;
  layout.data_begin = mark_bytes(file);
  const int64_t n_skipped = std::max(csv.header_lines, 0);
  Line skipped;             // the last line that the options skip
  std::vector<Line> lines;  // the first two of the others
  int64_t number = 0;
  for_each_line(file, layout.data_begin, file.n_bytes(), [&](std::string_view text, int64_t begin) {
    if (++number < n_skipped || is_blank_line(text)) return true;
    if (number == 1 && is_separator_line(file, text, csv.separator)) return true;
    Line line{begin, number, {}};
    try {
      split_csv_row(text, csv.separator, line.fields);
    } catch (const CsvFault& fault) {
      if (number > n_skipped) throw located(file, begin, fault);
      line.fields.clear();  // no names, but a comment
    }
    if (number > n_skipped)
      lines.push_back(std::move(line));
    else
      skipped = std::move(line);
    return lines.size() < 2;
  });
  if (lines.empty()) throw no_rows(file);
  Line header;
  if (csv.header_lines < 0 && is_header(file, csv, lines[0], lines.size() > 1 ? &lines[1] : nullptr)) {
    if (lines.size() < 2) throw no_rows(file);
    header = std::move(lines[0]);
    lines.erase(lines.begin());
  } else if (skipped.fields.size() == lines[0].fields.size()) {
    header = std::move(skipped);
  }
  const Line& row = lines[0];
  layout.data_begin = row.begin;
  layout.n_columns = static_cast<int64_t>(row.fields.size());
  layout.target_column = target_of(csv, row.fields.size());
  layout.header_line = header.number;
  if (header.number > 0) {
    const std::vector<std::string> found = column_names(file, header, row.fields.size(), csv.separator);
    layout.named_target = find_named_target(found);
    while (layout.n_index + 1 < layout.n_columns && layout.n_index != layout.target_column &&
           is_unnamed(found[layout.n_index]))
      ++layout.n_index;
    if (names) *names = found;
  }
  check_layout(file, csv, layout, row);
  return layout;
}

}  // namespace lockstep
