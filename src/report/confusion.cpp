// Reads confusion.json and computes what the report shows of it.
#include "src/report/confusion.h"

#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <limits>

#include "io/files/json_parse.h"
#include "io/files/regular_file.h"
#include "kernels/error.h"
#include "src/report/chart/series.h"

namespace lockstep {
namespace {

Error broken(const std::string& path, const std::string& what) {
  return Error(path, what, "delete the file, or evaluate the run again");
}

/// The numbers of "[[1,2],[3,4]]", and how many rows there are. One pass: a thousand classes
/// are a million numbers.
std::vector<double> parse_rows(const std::string& key, const std::string& text, size_t& n_rows,
                               const std::string& path) {
  std::vector<double> values;
  n_rows = 0;
  int depth = 0;
  const char* at = text.data();
  const char* end = at + text.size();
  while (at < end) {
    if (*at == '[') {
      if (++depth == 2) ++n_rows;
    } else if (*at == ']') {
      --depth;
    } else if (*at != ',' && *at != ' ' && *at != '\n' && *at != '\t') {
      double value = 0;
      const auto [next, status] = std::from_chars(at, end, value);
      if (status != std::errc() || depth != 2 || !(value >= 0)) {
        throw broken(path, "\"" + key + "\" is not a list of rows of counts");
      }
      values.push_back(value);
      at = next;
      continue;
    }
    if (depth < 0 || depth > 2) throw broken(path, "\"" + key + "\" is not a list of rows of counts");
    ++at;
  }
  return values;
}

std::vector<ConfusionMatrix::Cell> cells_of_matrix(const std::string& text, size_t& n_classes,
                                                   const std::string& path) {
  const std::vector<double> counts = parse_rows("matrix", text, n_classes, path);
  if (n_classes == 0 || counts.size() != n_classes * n_classes)
    throw broken(path, "\"matrix\" is not square");
  std::vector<ConfusionMatrix::Cell> cells;
  for (size_t i = 0; i < counts.size(); ++i)
    if (counts[i] > 0) cells.push_back({i / n_classes, i % n_classes, counts[i]});
  return cells;
}

std::vector<ConfusionMatrix::Cell> read_cells(const std::string& text, size_t n_classes,
                                              const std::string& path) {
  size_t n_rows = 0;
  const std::vector<double> numbers = parse_rows("cells", text, n_rows, path);
  std::vector<ConfusionMatrix::Cell> cells;
  if (numbers.size() != 3 * n_rows) throw broken(path, "\"cells\" does not give three numbers each");
  for (size_t i = 0; i < numbers.size(); i += 3) {
    if (!(numbers[i] < static_cast<double>(n_classes)) || !(numbers[i + 1] < static_cast<double>(n_classes)))
      throw broken(path, "\"cells\" names a class that \"classes\" has not");
    if (numbers[i + 2] > 0)
      cells.push_back({static_cast<size_t>(numbers[i]), static_cast<size_t>(numbers[i + 1]), numbers[i + 2]});
  }
  std::stable_sort(cells.begin(), cells.end(), [](const auto& a, const auto& b) {
    return a.truth != b.truth ? a.truth < b.truth : a.predicted < b.predicted;
  });
  return cells;
}

std::vector<std::string> read_classes(const std::string& text, const std::string& path) {
  std::vector<std::string> names;
  try {
    for (const YAML::Node& name : YAML::Load(text)) names.push_back(name.as<std::string>());
  } catch (const YAML::Exception&) {
    throw broken(path, "\"classes\" is not a list of names");
  }
  return names;
}

}  // namespace

ConfusionMatrix::ConfusionMatrix(double at_step, std::vector<std::string> names, std::vector<Cell> cells)
    : step(at_step), classes(std::move(names)), cells_(std::move(cells)), row_sums_(n()), column_sums_(n()) {
  for (const Cell& cell : cells_) {
    row_sums_[cell.truth] += cell.count;
    column_sums_[cell.predicted] += cell.count;
  }
}

double ConfusionMatrix::at(size_t truth, size_t predicted) const {
  const auto found = std::lower_bound(cells_.begin(), cells_.end(), std::pair(truth, predicted),
                                      [](const Cell& cell, const std::pair<size_t, size_t>& wanted) {
                                        return std::pair(cell.truth, cell.predicted) < wanted;
                                      });
  return found != cells_.end() && found->truth == truth && found->predicted == predicted ? found->count : 0;
}

double ConfusionMatrix::recall(size_t c) const {
  const double sum = row_sum(c);
  return sum > 0 ? at(c, c) / sum : kNaN;
}

double ConfusionMatrix::precision(size_t c) const {
  const double sum = column_sum(c);
  return sum > 0 ? at(c, c) / sum : kNaN;
}

std::vector<ConfusionMatrix::Pair> ConfusionMatrix::most_confused(size_t most) const {
  std::vector<Pair> pairs;
  for (const Cell& cell : cells_)
    if (cell.truth != cell.predicted) pairs.push_back(cell);
  std::stable_sort(pairs.begin(), pairs.end(),
                   [](const Pair& a, const Pair& b) { return a.count > b.count; });
  if (pairs.size() > most) pairs.resize(most);
  return pairs;
}

std::optional<ConfusionMatrix> read_confusion(const std::string& path) {
  if (!std::filesystem::exists(path)) return std::nullopt;
  const std::string content = read_text_file(path);
  MetricsLine line;
  try {
    line = parse_json_object(content);
  } catch (const Error& error) {
    throw broken(path, error.reason());
  }
  const std::string *matrix = line.text("matrix"), *names = line.text("classes"),
                    *sparse = line.text("cells");
  if (matrix == nullptr && (sparse == nullptr || names == nullptr))
    throw broken(path, "\"matrix\" is missing");

  std::vector<std::string> classes;
  if (names != nullptr) classes = read_classes(*names, path);
  std::vector<ConfusionMatrix::Cell> cells;
  size_t n_classes = classes.size();
  if (matrix != nullptr)
    cells = cells_of_matrix(*matrix, n_classes, path);
  else
    cells = read_cells(*sparse, n_classes, path);
  if (names == nullptr)
    for (size_t i = 0; i < n_classes; ++i) classes.push_back(std::to_string(i));
  if (classes.size() != n_classes) throw broken(path, "\"classes\" and \"matrix\" differ in size");
  const double* step = line.number("step");
  return ConfusionMatrix(step != nullptr ? *step : kNaN, std::move(classes), std::move(cells));
}

}  // namespace lockstep
