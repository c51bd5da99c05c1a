// One row of a CSV file (RFC 4180, but a row is one line): numbers parsed straight from the
// bytes, quoted fields unquoted. Faults carry their position; the file and line are added by
// the caller, who knows them.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace lockstep {

struct CsvFault {
  int64_t position = 0;  // byte in the line, from 0
  std::string what, remedy;
};

struct CsvField {
  int64_t position = 0;  // byte in the line, from 0
  std::string text;      // without quotes, and without blanks around it unless they were quoted
  bool quoted = false;
};

/// Splits a line at separators outside quotes. Throws CsvFault for quotes that do not pair up.
void split_csv_row(std::string_view line, char separator, std::vector<CsvField>& fields);

/// A finite decimal number that fills all of `text`, rounded to the nearest float32. False if
/// it is not one.
bool parse_number(std::string_view text, float* value);

/// True of what programs write where a value is missing or no number: the words that pandas reads as such,
/// "?", and infinities; and of an empty text.
bool is_missing_value(std::string_view text);

/// `text` in quotes for messages, shortened and printable.
std::string quote_for_message(std::string_view text);

/// Parses rows of a fixed number of columns into values and the text of the target.
class CsvRowParser {
 public:
  /// target_column: from 0, or -1: there is none. `dropped`: columns whose text does not matter; the others
  /// are inputs.
  CsvRowParser(char separator, int64_t n_columns, int64_t target_column,
               const std::vector<int64_t>& dropped = {});

  int64_t n_inputs() const { return n_inputs_; }

  /// values: (n_inputs) float32. Returns the text of the target, valid until the next call and
  /// while `line` lives. Throws CsvFault: wrong number of columns, empty fields, not a number.
  std::string_view parse(std::string_view line, float* values);

  /// Byte position of the target in the row parsed last, and whether it was quoted.
  int64_t target_position() const { return target_position_; }
  bool target_is_quoted() const { return target_is_quoted_; }

 private:
  bool parse_plain(std::string_view line, float* values, std::string_view* target);
  std::string_view parse_any(std::string_view line, float* values);

  char separator_;
  int64_t n_columns_, target_column_, n_inputs_;
  std::vector<bool> is_dropped_;  // (n_columns)
  int64_t target_position_ = 0;
  bool target_is_quoted_ = false;
  std::vector<CsvField> fields_;
};

}  // namespace lockstep
