// CSV -> shards in two parallel passes. The first cuts the file into one byte range per rank
// and finds every row, the kind of its values and the class labels; the second parses the rows
// of a shard again while it is written. Nothing but 8 bytes per row stays in memory.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <map>
#include <memory>
#include <set>

#include "comm/agreement.h"
#include "io/convert_rows.h"
#include "io/csv_file.h"
#include "io/csv_row.h"
#include "io/gzip.h"
#include "kernels/error.h"

namespace lockstep {

namespace {

constexpr size_t kMaxClasses = 65536;
constexpr int64_t kNone = -1;

using LabelCounts = std::map<std::string, int64_t, std::less<>>;

/// What a pass over rows finds out.
struct CsvScan {
  std::vector<int64_t> row_begin;  // byte of each row's first character
  bool all_bytes = true;           // input values are whole numbers in 0..255
  bool text_labels = false;        // some label is not a number
  int64_t max_id = 0;              // of numeric labels
  int64_t bad_id = kNone;          // byte of the first numeric label that is no class id
  LabelCounts labels;              // rows of each distinct text, of at most kMaxClasses + 1
  bool first_counts = true;        // the first input grows by 1 from row to row
};

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

/// A whole number >= 0 that int64 and every loss function can take, or kNone.
int64_t class_id(float value) {
  return value >= 0 && value < 16777216.0F && value == std::floor(value) ? static_cast<int64_t>(value)
                                                                         : kNone;
}

CsvScan scan_rows(const InputFile& file, const CsvOptions& csv, const CsvLayout& layout, int64_t begin,
                  int64_t end) {
  CsvScan scan;
  CsvRowParser parser(csv.separator, layout.n_columns, layout.target_column, dropped_columns(csv, layout));
  std::vector<float> values(static_cast<size_t>(parser.n_inputs()));
  LabelCounts::iterator last = scan.labels.end();
  float first_before = 0;
  for_each_line(file, begin, end, [&](std::string_view line, int64_t line_begin) {
    if (is_blank_line(line)) return true;
    try {
      const std::string_view target = parser.parse(line, values.data());
      scan.row_begin.push_back(line_begin);
      for (size_t i = 0; i < values.size() && scan.all_bytes; ++i)
        scan.all_bytes = values[i] >= 0 && values[i] <= 255 && values[i] == std::floor(values[i]);
      scan.first_counts = scan.first_counts && (scan.row_begin.size() == 1 || values[0] == first_before + 1);
      first_before = values[0];
      if (layout.target_column == kNoColumn) return true;
      if (last != scan.labels.end() && target == last->first) return ++last->second, true;
      float number = 0;
      const bool numeric = parse_number(target, &number);
      if (!csv.target_is_class) {
        if (!numeric)
          throw CsvFault{parser.target_position(),
                         "the target is not a finite number: " + quote_for_message(target),
                         "make it a class target or give the right target column"};
        return true;
      }
      if (!numeric && is_missing_value(target) && !parser.target_is_quoted())
        throw CsvFault{parser.target_position(), "the class label is missing: " + quote_for_message(target),
                       "remove the row, or put the label in quotes if it is a class"};
      last = scan.labels.find(target);
      if (last == scan.labels.end() && scan.labels.size() <= kMaxClasses)
        last = scan.labels.emplace(target, 0).first;
      if (last != scan.labels.end()) ++last->second;
      scan.text_labels = scan.text_labels || !numeric;
      scan.max_id = std::max(scan.max_id, numeric ? class_id(number) : 0);
      if (numeric && class_id(number) == kNone && scan.bad_id == kNone) scan.bad_id = line_begin;
    } catch (const CsvFault& fault) {
      throw located(file, line_begin, fault);
    }
    return true;
  });
  return scan;
}

/// Gives every rank the union of all ranks' scans, rows in file order.
void share_scan(Communicator& comm, CsvScan& scan) {
  const int64_t n_mine = static_cast<int64_t>(scan.row_begin.size());
  std::vector<int64_t> rows(static_cast<size_t>(comm.all_reduce_sum(n_mine)));
  int64_t first = 0;
  for (int rank = 0; rank < comm.size(); ++rank) {
    int64_t n = n_mine;
    comm.broadcast(&n, sizeof n, rank);
    if (rank == comm.rank()) std::copy(scan.row_begin.begin(), scan.row_begin.end(), rows.begin() + first);
    comm.broadcast(rows.data() + first, n * static_cast<int64_t>(sizeof(int64_t)), rank);
    first += n;
  }
  scan.row_begin = std::move(rows);
  scan.all_bytes = comm.all_reduce_max(!scan.all_bytes) == 0;
  scan.first_counts = comm.all_reduce_max(!scan.first_counts) == 0;
  scan.text_labels = comm.all_reduce_max(scan.text_labels) != 0;
  scan.max_id = comm.all_reduce_max(scan.max_id);
  const int64_t no_bad = std::numeric_limits<int64_t>::max();
  const int64_t first_bad = -comm.all_reduce_max(scan.bad_id == kNone ? -no_bad : -scan.bad_id);
  scan.bad_id = first_bad == no_bad ? kNone : first_bad;
  std::string mine;
  for (const auto& [label, n] : scan.labels)  // a label never holds a line break
    mine += fmt::format("{} {}\n", n, label);
  scan.labels.clear();
  for (const std::string& theirs : comm.all_gather_strings(mine))
    for (size_t at = 0; at < theirs.size();) {
      const size_t end = theirs.find('\n', at), blank = theirs.find(' ', at);
      scan.labels[theirs.substr(blank + 1, end - blank - 1)] += std::stoll(theirs.substr(at));
      at = end + 1;
    }
}

/// Numbers in their order, then words in byte order.
std::vector<std::string> sorted_labels(const LabelCounts& labels) {
  std::vector<std::string> words;
  std::vector<std::pair<float, std::string>> numbers;
  for (const auto& [label, n] : labels) {
    float value = 0;
    if (parse_number(label, &value))
      numbers.emplace_back(value, label);
    else
      words.push_back(label);
  }
  std::sort(numbers.begin(), numbers.end());
  std::vector<std::string> names;
  for (const auto& [value, label] : numbers) names.push_back(label);
  names.insert(names.end(), words.begin(), words.end());
  return names;
}

/// Class names in id order: given, or text labels sorted, or the numbers up to the largest.
std::vector<std::string> find_classes(const InputFile& file, const CsvOptions& csv, const CsvScan& scan) {
  if (!scan.text_labels) {
    if (scan.bad_id != kNone)
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
  if (scan.labels.size() > kMaxClasses)
    throw Error(file.name(), fmt::format("has more than {} different class labels", kMaxClasses),
                "give the right target column");
  if (csv.class_names.empty()) return sorted_labels(scan.labels);
  for (const auto& [label, n] : scan.labels)
    if (std::find(csv.class_names.begin(), csv.class_names.end(), label) == csv.class_names.end())
      throw Error(
          file.name(),
          "has the class label " + quote_for_message(label) + ", which is not among the given class names",
          "name all classes, or none to take them from the file");
  return csv.class_names;
}

std::string name_column(const std::vector<std::string>& names, int64_t column) {
  const bool named = static_cast<size_t>(column) < names.size() && !names[column].empty();
  return fmt::format("column {}{}", column, named ? " " + quote_for_message(names[column]) : "");
}

/// What is taken and what is left out, a line each.
std::vector<std::string> describe(const CsvOptions& csv, const CsvLayout& layout, const CsvScan& scan,
                                  const std::vector<std::string>& names, const std::vector<Field>& fields) {
  std::vector<std::string> notes;
  const bool has_target = layout.target_column != kNoColumn;
  notes.push_back(fmt::format(
      "taken: {} rows; {} {} {} of {} columns, counted from 0{}; {}", scan.row_begin.size(), fields[0].name,
      name_of(fields[0].dtype), fields[0].shape.str(), fields[0].shape.n_elements(),
      has_target ? fmt::format("; {} is the {}", name_column(names, layout.target_column), fields[1].name)
                 : ", no target",
      layout.header_line > 0 ? fmt::format("line {} names the columns", layout.header_line)
                             : "no line names the columns"));
  if (layout.n_index > 0)
    notes.push_back(
        fmt::format("left out: {} without a name: the index that pandas and R write, not a feature",
                    layout.n_index == 1 ? "the first column, which is"
                                        : fmt::format("the first {} columns, which are", layout.n_index)));
  if (!csv.dropped.empty()) {
    std::string columns;
    for (const int64_t column : csv.dropped)
      columns += (columns.empty() ? "" : ", ") + name_column(names, column);
    notes.push_back("left out as asked: " + columns);
  }
  if (scan.first_counts && scan.row_begin.size() >= 10) {
    const std::vector<int64_t> dropped = dropped_columns(csv, layout);
    int64_t first = 0;
    while (first == layout.target_column || std::binary_search(dropped.begin(), dropped.end(), first))
      ++first;
    notes.push_back(fmt::format("{} counts the rows and is taken as a feature; if it is an index: --drop {}",
                                name_column(names, first), first));
  }
  if (!has_target || !csv.target_is_class) return notes;
  const std::vector<std::string> labels = sorted_labels(scan.labels);
  constexpr size_t kShown = 12;
  std::string text;
  for (size_t i = 0; i < std::min(labels.size(), kShown); ++i)
    text += fmt::format("{}{} ({})", text.empty() ? "" : ", ", quote_for_message(labels[i]),
                        scan.labels.at(labels[i]));
  notes.push_back(fmt::format("classes: {}: {}{}", labels.size(), text, labels.size() > kShown ? ", …" : ""));
  const int64_t n_classes = scan.text_labels ? 0 : scan.max_id + 1,
                n_found = static_cast<int64_t>(labels.size());
  if (n_classes > n_found && csv.class_names.empty())
    notes.push_back(
        fmt::format("class labels go up to {}: the network needs {} classes, {} of which have no row",
                    scan.max_id, n_classes, n_classes - n_found));
  float ignored = 0;
  if (scan.text_labels && parse_number(labels.front(), &ignored))
    notes.push_back(
        fmt::format("class labels are numbers and words, such as {}: each is a class of its own, "
                    "numbers first; check that no word is a mistake",
                    quote_for_message(labels.back())));
  return notes;
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
          store(parser_.parse(line, values_.data()), at++, dst);
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
  std::map<std::string, int64_t, std::less<>> ids_;
  std::vector<float> values_;
};

}  // namespace

ConvertInput open_csv(Communicator& comm, const CsvOptions& csv, const std::string& scratch) {
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
  source.notes = describe(csv, layout, scan, names, source.fields);
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
