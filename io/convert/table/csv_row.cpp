// Two paths: plain rows (no quotes) in one scan, and anything unusual, faults included, through
// split fields. Both parse numbers alike: up to seven digits exactly in float32 (Clinger,
// "How to read floating point numbers accurately", 1990), others by std::from_chars.
#include "io/convert/table/csv_row.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdlib>

namespace lockstep {

namespace {

bool is_blank(char c, char separator) { return (c == ' ' || c == '\t') && c != separator; }
bool is_digit(char c) { return c >= '0' && c <= '9'; }

const char* skip_blanks(const char* p, const char* end, char separator) {
  while (p < end && is_blank(*p, separator)) ++p;
  return p;
}

/// The number at the front of [begin, end); returns where it ends, or null if there is none.
const char* scan_number(const char* begin, const char* end, float* value) {
  static constexpr float kPowersOfTen[] = {1, 1e1F, 1e2F, 1e3F, 1e4F, 1e5F, 1e6F, 1e7F};
  const bool negative = begin < end && *begin == '-';
  const char* digits = begin < end && (*begin == '-' || *begin == '+') ? begin + 1 : begin;
  const char* p = digits;
  uint32_t mantissa = 0;
  int n_digits = 0, n_decimals = 0;
  for (; p < end && is_digit(*p) && n_digits < 8; ++p, ++n_digits) mantissa = mantissa * 10 + (*p - '0');
  if (n_digits > 0 && p < end && *p == '.')
    for (++p; p < end && is_digit(*p) && n_digits < 8; ++p, ++n_digits, ++n_decimals)
      mantissa = mantissa * 10 + (*p - '0');
  const bool ended = p == end || !(is_digit(*p) || *p == '.' || *p == 'e' || *p == 'E');
  if (n_digits > 0 && n_digits < 8 && ended) {
    // Both operands are exact in float32, so that the quotient is the correctly rounded value.
    const float magnitude = static_cast<float>(mantissa) / kPowersOfTen[n_decimals];
    *value = negative ? -magnitude : magnitude;
    return p;
  }
  if (digits == end || !(is_digit(*digits) || *digits == '.'))
    return nullptr;  // no second sign, "nan", "inf"
  const auto result = std::from_chars(digits, end, *value);
  if (result.ec == std::errc::invalid_argument) return nullptr;
  if (result.ec == std::errc::result_out_of_range) {  // too small is zero or denormal, too large is an error
    *value = static_cast<float>(std::strtod(std::string(digits, result.ptr).c_str(), nullptr));
    if (!std::isfinite(*value)) return nullptr;
  }
  if (negative) *value = -*value;
  return result.ptr;
}

}  // namespace

bool parse_number(std::string_view text, float* value) {
  const char* end = text.data() + text.size();
  return !text.empty() && scan_number(text.data(), end, value) == end;
}

bool is_missing_value(std::string_view text) {
  static constexpr std::string_view kWords[] = {
      "",         "nan", "+nan", "-nan", "na",       "n/a",       "<na>",     "#n/a",
      "#n/a n/a", "#na", "null", "none", "?",        "-1.#ind",   "-1.#qnan", "1.#ind",
      "1.#qnan",  "inf", "+inf", "-inf", "infinity", "+infinity", "-infinity"};
  if (text.size() > 12) return false;
  std::string lower(text);
  for (char& c : lower) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  return std::find(std::begin(kWords), std::end(kWords), lower) != std::end(kWords);
}

std::string quote_for_message(std::string_view text) {
  std::string shown = "'";
  for (const char c : text.substr(0, 40)) shown += static_cast<unsigned char>(c) >= ' ' && c != 127 ? c : '?';
  return shown + (text.size() > 40 ? "...'" : "'");
}

void split_csv_row(std::string_view line, char separator, std::vector<CsvField>& fields) {
  size_t n_fields = 0, at = 0;
  for (;; ++at) {
    if (n_fields == fields.size()) fields.emplace_back();
    CsvField& field = fields[n_fields++];
    while (at < line.size() && is_blank(line[at], separator)) ++at;
    field.position = static_cast<int64_t>(at);
    field.text.clear();
    field.quoted = at < line.size() && line[at] == '"';
    if (field.quoted) {
      for (++at;; ++at) {
        if (at >= line.size())
          throw CsvFault{field.position, "a quoted field does not end on this line",
                         "close the quote; line breaks within fields are not supported"};
        if (line[at] == '"' && !(at + 1 < line.size() && line[at + 1] == '"')) break;
        if (line[at] == '"') ++at;  // a doubled quote stands for one
        field.text += line[at];
      }
      for (++at; at < line.size() && is_blank(line[at], separator);) ++at;
      if (at < line.size() && line[at] != separator)
        throw CsvFault{static_cast<int64_t>(at), "text follows a closing quote",
                       "write a quote within a field twice"};
    } else {
      size_t end = std::min(line.find(separator, at), line.size());
      const size_t next = end;
      while (end > at && is_blank(line[end - 1], separator)) --end;
      field.text.assign(line.substr(at, end - at));
      at = next;
    }
    if (at >= line.size()) break;
  }
  fields.resize(n_fields);
}

CsvRowParser::CsvRowParser(char separator, int64_t n_columns, int64_t target_column,
                           const std::vector<int64_t>& dropped)
    : separator_(separator),
      n_columns_(n_columns),
      target_column_(target_column),
      is_dropped_(static_cast<size_t>(n_columns)) {
  for (const int64_t column : dropped) is_dropped_[static_cast<size_t>(column)] = true;
  n_inputs_ = std::count(is_dropped_.begin(), is_dropped_.end(), false) - (target_column >= 0 ? 1 : 0);
}

std::string_view CsvRowParser::parse(std::string_view line, float* values) {
  std::string_view target;
  if (parse_plain(line, values, &target)) return target;
  return parse_any(line, values);
}

bool CsvRowParser::parse_plain(std::string_view line, float* values, std::string_view* target) {
  const char* p = line.data();
  const char* const end = p + line.size();
  for (int64_t column = 0; column < n_columns_; ++column) {
    p = skip_blanks(p, end, separator_);
    if (column == target_column_) {
      if (p < end && *p == '"') return false;
      const char* next = std::find(p, end, separator_);
      const char* last = next;
      while (last > p && is_blank(last[-1], separator_)) --last;
      *target = {p, static_cast<size_t>(last - p)};
      target_position_ = p - line.data();
      target_is_quoted_ = false;
      if (target->empty()) return false;
      p = next;
    } else if (is_dropped_[column]) {
      if (p < end && *p == '"') return false;
      p = std::find(p, end, separator_);
    } else {
      p = scan_number(p, end, values++);
      if (!p) return false;
      p = skip_blanks(p, end, separator_);
    }
    if (column + 1 == n_columns_) return p == end;
    if (p == end || *p != separator_) return false;
    ++p;
  }
  return false;
}

std::string_view CsvRowParser::parse_any(std::string_view line, float* values) {
  split_csv_row(line, separator_, fields_);
  const auto n_fields = static_cast<int64_t>(fields_.size());
  if (n_fields != n_columns_)
    throw CsvFault{fields_[std::min(n_fields, n_columns_) - 1].position,
                   fmt::format("the row has {} columns, the rows before have {}", n_fields, n_columns_),
                   "give every row the same number of columns; check the separator"};
  for (int64_t column = 0; column < n_columns_; ++column) {
    const CsvField& field = fields_[column];
    if (is_dropped_[column]) continue;
    if (field.text.empty())
      throw CsvFault{field.position, fmt::format("column {} (counted from 0) is empty", column),
                     "fill in missing values or remove the row"};
    if (column == target_column_) {
      target_position_ = field.position;
      target_is_quoted_ = field.quoted;
    } else if (!parse_number(field.text, values++)) {
      throw CsvFault{field.position,
                     fmt::format("column {} (counted from 0) is not a finite number: {}", column,
                                 quote_for_message(field.text)),
                     "inputs must be numbers; only a class label may be text"};
    }
  }
  return target_column_ >= 0 ? std::string_view(fields_[target_column_].text) : std::string_view();
}

}  // namespace lockstep
