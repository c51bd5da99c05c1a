// Labels are counted by their texts: what they mean is decided when all of them are known.
#include "io/convert/table/csv_scan.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "io/convert/table/csv_row.h"

namespace lockstep {

namespace {

constexpr int64_t kNone = -1;

std::string name_column(const std::vector<std::string>& names, int64_t column) {
  const bool named = static_cast<size_t>(column) < names.size() && !names[column].empty();
  return fmt::format("column {}{}", column, named ? " " + quote_for_message(names[column]) : "");
}

}  // namespace

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
      for (const float value : values) scan.has_large |= std::abs(value) >= 16777216.0F;
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
      if (last == scan.labels.end() && scan.labels.size() <= kMaxCsvClasses)
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
  scan.has_large = comm.all_reduce_max(scan.has_large) != 0;
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

std::vector<std::string> describe_table(const CsvOptions& csv, const CsvLayout& layout, const CsvScan& scan,
                                        const std::vector<std::string>& names,
                                        const std::vector<Field>& fields) {
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
  if (scan.has_large)
    notes.push_back(
        "some inputs are 16,777,216 or more and keep seven digits (float32): where the last ones count, "
        "as in times, subtract a beginning; identifiers are no features (--drop)");
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

}  // namespace lockstep
