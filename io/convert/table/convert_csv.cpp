// CSV -> shards in two parallel passes. The first cuts the file into one byte range per rank
// and finds every row, the kind of its values and the class labels; the second parses the rows
// of a shard again while it is written. Nothing but 8 bytes per row stays in memory.
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cstring>
#include <map>
#include <memory>
#include <set>

#include "comm/agreement.h"
#include "io/convert/convert_rows.h"
#include "io/convert/table/csv_file.h"
#include "io/convert/table/csv_row.h"
#include "io/convert/table/csv_scan.h"
#include "io/files/checksum.h"
#include "io/files/gzip.h"
#include "kernels/error.h"
#include "kernels/printable.h"

namespace lockstep {

namespace {

void check_options(const CsvOptions& csv) {
  if (csv.target_column < -2)
    throw Error("convert csv", fmt::format("target column {} is not possible", csv.target_column),
                "count columns from 0; -1 is the last, -2 none");
  if (std::strchr("\"\r\n.+-0123456789", csv.separator) != nullptr)  // finds '\0' too
    throw Error("convert csv", "this character cannot separate columns",
                "use a comma, a semicolon, a tab or a blank");
  int64_t product = 1;
  for (const int64_t extent : csv.shape)
    if (extent < 1 || __builtin_mul_overflow(product, extent, &product))
      throw Error("convert csv", "the extents of a shape are at least 1 and their product fits 64 bits",
                  "give a shape such as 1,8,8");
  if (csv.shape.size() > Shape::kMaxRank - 1)
    throw Error("convert csv", "the shape has too many dimensions", "use at most 7");
  const std::set<std::string> distinct(csv.class_names.begin(), csv.class_names.end());
  if (distinct.size() != csv.class_names.size())
    throw Error("convert csv", "two class names are equal", "name each class once");
}

/// Class names in id order: given, or text labels sorted, or the numbers up to the largest.
std::vector<std::string> find_classes(const InputFile& file, const CsvOptions& csv, const CsvScan& scan) {
  if (!scan.text_labels) {
    if (scan.bad_id >= 0)
      throw located(file, scan.bad_id,
                    CsvFault{0, "the class label is not a whole number from 0 to 16,777,215",
                             "number the classes from 0, or make it a regression target"});
    const auto n_classes = static_cast<int64_t>(csv.class_names.size());
    if (n_classes > 0 && scan.max_id >= n_classes)
      throw Error(file.name(),
                  fmt::format("has class {}, but {} class names are given", scan.max_id, n_classes),
                  "name all classes; the first name is that of class 0");
    return n_classes > 0 ? csv.class_names : numbered_classes(scan.max_id);
  }
  if (scan.labels.size() > kMaxCsvClasses)
    throw Error(file.name(), fmt::format("has more than {} different class labels", kMaxCsvClasses),
                "give the right target column");
  for (const auto& [label, n] : scan.labels)
    if (!is_utf8(label))
      throw Error(file.name(),
                  "has the class label " + quote_for_message(label) + ", which is not UTF-8 text",
                  "save it as UTF-8 (in a spreadsheet: CSV UTF-8), or: iconv -f latin1 -t utf8 < FILE > NEW");
  if (csv.class_names.empty()) return sorted_labels(scan.labels);
  for (const auto& [label, n] : scan.labels)
    if (std::find(csv.class_names.begin(), csv.class_names.end(), label) == csv.class_names.end())
      throw Error(
          file.name(),
          "has the class label " + quote_for_message(label) + ", which is not among the given class names",
          "name all classes, or none to take them from the file");
  return csv.class_names;
}

/// The same number for the same text; never below 0.
int64_t group_number(const std::string& text) {
  int64_t number = -1;
  const char* end = text.data() + text.size();
  const auto read = std::from_chars(text.data(), end, number);
  if (read.ec == std::errc{} && read.ptr == end && number >= 0) return number;
  return static_cast<int64_t>(piece_checksum(text.data(), static_cast<int64_t>(text.size())) >> 1);
}

/// Parses rows of the file on demand.
class CsvReader {
 public:
  CsvReader(InputFile file, const CsvOptions& csv, const CsvLayout& layout, CsvScan scan,
            const std::vector<std::string>& class_names)
      : file_(std::move(file)),
        parser_(csv.separator, layout.n_columns, layout.target_column, dropped_columns(csv, layout)),
        row_begin_(std::move(scan.row_begin)),
        as_bytes_(scan.all_bytes),
        has_target_(layout.target_column != kNoColumn),
        target_is_class_(csv.target_is_class),
        separator_(csv.separator),
        group_column_(csv.group_column),
        values_(static_cast<size_t>(parser_.n_inputs())) {
    if (scan.text_labels)
      for (size_t i = 0; i < class_names.size(); ++i) ids_[class_names[i]] = static_cast<int64_t>(i);
  }

  void read(std::span<const int64_t> rows, std::span<std::byte* const> dst) {
    for (size_t first = 0; first < rows.size();) {
      size_t last = first + 1;  // a run of neighbours is one read
      while (last < rows.size() && rows[last] == rows[last - 1] + 1) ++last;
      const int64_t begin = row_begin_[rows[first]];
      const auto next = static_cast<size_t>(rows[last - 1]) + 1;
      const int64_t end = next < row_begin_.size() ? row_begin_[next] : file_.n_bytes();
      size_t at = first;
      for_each_line(file_, begin, end, [&](std::string_view line, int64_t line_begin) {
        if (is_blank_line(line)) return true;
        try {
          store(parser_.parse(line, values_.data()), at, dst);
          if (group_column_ >= 0) store_group(line, at, dst.back());
          ++at;
        } catch (const CsvFault& fault) {
          throw located(file_, line_begin, fault);
        }
        return at < last;
      });
      if (at < last) throw changed();
      first = last;
    }
  }

 private:
  Error changed() const { return Error(file_.name(), "has changed while it was read", "convert it again"); }

  void store_group(std::string_view line, size_t at, std::byte* dst) {
    split_csv_row(line, separator_, fields_);
    const CsvField& field = fields_[static_cast<size_t>(group_column_)];
    if (field.text.empty())
      throw CsvFault{field.position, "the group is empty", "fill it in or remove the row"};
    const int64_t group = group_number(field.text);
    std::memcpy(dst + at * sizeof group, &group, sizeof group);
  }

  void store(std::string_view target, size_t at, std::span<std::byte* const> dst) const {
    const size_t n = values_.size();
    if (as_bytes_) {
      auto* bytes = reinterpret_cast<uint8_t*>(dst[0]) + at * n;
      for (size_t i = 0; i < n; ++i) bytes[i] = static_cast<uint8_t>(values_[i]);
    } else {
      std::memcpy(dst[0] + at * n * sizeof(float), values_.data(), n * sizeof(float));
    }
    if (!has_target_) return;
    float number = 0;
    if (ids_.empty()) parse_number(target, &number);
    if (target_is_class_) {
      const auto found = ids_.find(target);
      if (!ids_.empty() && found == ids_.end()) throw changed();
      const int64_t id = ids_.empty() ? class_id(number) : found->second;
      std::memcpy(dst[1] + at * sizeof id, &id, sizeof id);
    } else {
      std::memcpy(dst[1] + at * sizeof number, &number, sizeof number);
    }
  }

  InputFile file_;
  CsvRowParser parser_;
  std::vector<int64_t> row_begin_;
  bool as_bytes_, has_target_, target_is_class_;
  char separator_;
  int64_t group_column_;
  std::map<std::string, int64_t, std::less<>> ids_;
  std::vector<float> values_;
  std::vector<CsvField> fields_;
};

}  // namespace

ConvertInput open_csv(Communicator& comm, const CsvOptions& given, const std::string& scratch) {
  CsvOptions csv = given;
  if (csv.group_column >= 0) csv.dropped.push_back(csv.group_column);
  check_on_root(comm, [&] { check_options(csv); });
  const std::string path = plain_file(comm, csv.path, scratch, "input.csv");
  InputFile file;
  CsvLayout layout;
  std::vector<std::string> names;
  check_on_root(comm, [&] {
    layout = find_layout(InputFile(path, csv.path), csv, &names);
    if (csv.target_column == -1 && layout.named_target != kNoColumn)  // the last column is only the default
      throw Error(fmt::format("{}:{}", csv.path, layout.header_line),
                  fmt::format("column {} is called {}, but the last column, {}, would be the target",
                              layout.named_target, quote_for_message(names[layout.named_target]),
                              quote_for_message(names.back())),
                  fmt::format("say --target {} or --target {}", layout.named_target, names.size() - 1));
  });
  comm.broadcast(&layout, sizeof layout);
  CsvScan scan;
  all_or_none(comm, [&] {
    file = InputFile(path, csv.path);
    const auto border = [&](int rank) {
      const int64_t n_bytes = file.n_bytes() - layout.data_begin;
      const int64_t offset = n_bytes / comm.size() * rank + n_bytes % comm.size() * rank / comm.size();
      return offset == 0 ? layout.data_begin : line_begin_from(file, layout.data_begin + offset);
    };
    const int64_t end = comm.rank() + 1 < comm.size() ? border(comm.rank() + 1) : file.n_bytes();
    scan = scan_rows(file, csv, layout, std::min(border(comm.rank()), end), end);
  });
  share_scan(comm, scan);

  ConvertInput source;
  source.source = "CSV";
  source.n_rows = static_cast<int64_t>(scan.row_begin.size());
  const int64_t n_inputs =
      CsvRowParser(csv.separator, layout.n_columns, layout.target_column, dropped_columns(csv, layout))
          .n_inputs();
  Shape shape = csv.shape.empty() ? Shape{n_inputs} : Shape(csv.shape);
  all_or_none(comm, [&] {
    if (shape.n_elements() != n_inputs)
      throw Error(csv.path,
                  fmt::format("has {} input columns, which shape {} does not hold", n_inputs, shape.str()),
                  "give a shape whose product is the number of input columns");
    if (layout.target_column != kNoColumn && csv.target_is_class)
      source.class_names = find_classes(file, csv, scan);
  });
  source.fields.push_back(
      {shape.rank() == 3 ? "image" : "input", scan.all_bytes ? DType::kUInt8 : DType::kFloat32, shape});
  if (layout.target_column != kNoColumn)
    source.fields.push_back(csv.target_is_class ? Field{"label", DType::kInt64, {}}
                                                : Field{"target", DType::kFloat32, {}});
  if (csv.group_column >= 0) source.fields.push_back({"group", DType::kInt64, {}});
  source.notes = describe_table(csv, layout, scan, names, source.fields);
  auto reader =
      std::make_shared<CsvReader>(std::move(file), csv, layout, std::move(scan), source.class_names);
  source.read = [reader](auto rows, auto dst) { reader->read(rows, dst); };
  return source;
}

ConvertResult convert_csv(Communicator& comm, const CsvOptions& csv, const ConvertOptions& options) {
  return convert_rows(comm, options,
                      [&](const std::string& scratch) { return open_csv(comm, csv, scratch); });
}

}  // namespace lockstep
