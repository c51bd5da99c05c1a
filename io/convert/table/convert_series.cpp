// Columns of a table over time -> one flat series. The table is read as any CSV file, without a target and
// without the columns that are not wanted; its values become float32 in the order that is asked for.
#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <numeric>
#include <utility>

#include "comm/agreement.h"
#include "io/convert/convert_rows.h"
#include "io/convert/table/csv_file.h"
#include "kernels/error.h"

namespace lockstep {

namespace {

/// The number of a column: its name in the header, or written as a number.
int64_t find_series_column(const SeriesOptions& series, const CsvLayout& layout,
                           const std::vector<std::string>& names, const std::string& wanted) {
  const auto named = std::find(names.begin(), names.end(), wanted);
  if (named != names.end()) return named - names.begin();
  const bool is_number =
      !wanted.empty() && wanted.size() < 10 && wanted.find_first_not_of("0123456789") == std::string::npos;
  if (is_number && std::stoll(wanted) < layout.n_columns) return std::stoll(wanted);
  std::string known;
  for (size_t i = 0; i < std::min<size_t>(names.size(), 20); ++i)
    known += (i == 0 ? "" : ", ") + quote_for_message(names[i]);
  throw Error(series.path, "has no column " + quote_for_message(wanted),
              names.empty()
                  ? fmt::format("no line names the columns: give numbers from 0 to {}", layout.n_columns - 1)
                  : "columns: " + known);
}

/// The wanted columns' numbers, in their order; root finds them.
std::vector<int64_t> find_series_columns(Communicator& comm, const SeriesOptions& series,
                                         const std::string& path, int64_t* n_columns) {
  std::vector<int64_t> columns;
  check_on_root(comm, [&] {
    CsvOptions csv;
    csv.path = series.path;
    csv.separator = series.separator;
    csv.header_lines = series.header_lines;
    csv.target_column = -2;
    std::vector<std::string> names;
    const CsvLayout layout = find_layout(InputFile(path, series.path), csv, &names);
    *n_columns = layout.n_columns;
    for (const std::string& wanted : series.columns) {
      columns.push_back(find_series_column(series, layout, names, wanted));
      if (columns.back() < layout.n_index)
        throw Error(series.path, "column " + quote_for_message(wanted) + " has no name: it is an index",
                    "name it in the header if it belongs to the series");
      if (std::count(columns.begin(), columns.end(), columns.back()) > 1)
        throw Error(series.path, "column " + quote_for_message(wanted) + " is asked for twice",
                    "name each column once");
    }
    if (!columns.empty()) return;
    columns.resize(static_cast<size_t>(layout.n_columns - layout.n_index));
    std::iota(columns.begin(), columns.end(), layout.n_index);
  });
  auto n = static_cast<int64_t>(columns.size());
  comm.broadcast(n_columns, sizeof *n_columns);
  comm.broadcast(&n, sizeof n);
  columns.resize(static_cast<size_t>(n));
  comm.broadcast(columns.data(), n * static_cast<int64_t>(sizeof(int64_t)));
  return columns;
}

ConvertInput open_series(Communicator& comm, const SeriesOptions& series, const std::string& scratch) {
  int64_t n_columns = 0;
  const std::vector<int64_t> columns =
      find_series_columns(comm, series, plain_file(comm, series.path, scratch, "header.csv"), &n_columns);
  CsvOptions csv;
  csv.path = series.path;
  csv.separator = series.separator;
  csv.header_lines = series.header_lines;
  csv.target_column = -2;
  for (int64_t column = 0; column < n_columns; ++column)
    if (std::find(columns.begin(), columns.end(), column) == columns.end()) csv.dropped.push_back(column);
  auto table = std::make_shared<ConvertInput>(open_csv(comm, csv, scratch));

  // Where the columns lie in a row of the table, which keeps their order in the file.
  std::vector<int64_t> ascending = columns, places;
  std::sort(ascending.begin(), ascending.end());
  for (const int64_t column : columns)
    places.push_back(std::lower_bound(ascending.begin(), ascending.end(), column) - ascending.begin());
  ConvertInput source;
  source.source = "series";
  source.n_rows = table->n_rows;
  source.fields = {{"series", DType::kFloat32, {static_cast<int64_t>(columns.size())}}};
  source.notes = table->notes;
  source.read = [table, places](std::span<const int64_t> rows, std::span<std::byte* const> dst) {
    const bool as_bytes = table->fields[0].dtype == DType::kUInt8;
    const size_t n_inputs = places.size();
    std::vector<std::byte> stored(rows.size() * n_inputs * (as_bytes ? 1 : sizeof(float)));
    std::byte* const to[] = {stored.data()};
    table->read(rows, to);
    for (size_t row = 0; row < rows.size(); ++row)
      for (size_t i = 0; i < n_inputs; ++i) {
        const size_t from = row * n_inputs + static_cast<size_t>(places[i]);
        float value = 0;
        if (as_bytes)
          value = static_cast<float>(std::to_integer<int>(stored[from]));
        else
          std::memcpy(&value, stored.data() + from * sizeof value, sizeof value);
        std::memcpy(dst[0] + (row * n_inputs + i) * sizeof value, &value, sizeof value);
      }
  };
  return source;
}

}  // namespace

ConvertResult convert_series(Communicator& comm, const SeriesOptions& series, const ConvertOptions& options) {
  return convert_parts(comm, series.validation_fraction, options,
                       [&](const std::string& scratch) { return open_series(comm, series, scratch); });
}

}  // namespace lockstep
