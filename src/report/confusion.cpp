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
#include "src/report/series.h"

namespace lockstep {
namespace {

Error broken(const std::string& path, const std::string& what) {
  return Error(path, what, "delete the file, or evaluate the run again");
}

/// The numbers of "[[1,2],[3,4]]", and how many rows there are. One pass: a thousand classes
/// are a million numbers.
std::vector<double> parse_matrix(const std::string& text, size_t& n_rows, const std::string& path) {
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
        throw broken(path, "\"matrix\" is not a list of rows of counts");
      }
      values.push_back(value);
      at = next;
      continue;
    }
    if (depth < 0 || depth > 2) throw broken(path, "\"matrix\" is not a list of rows of counts");
    ++at;
  }
  return values;
}

}  // namespace

double ConfusionMatrix::row_sum(size_t truth) const {
  double sum = 0;
  for (size_t j = 0; j < n(); ++j) sum += at(truth, j);
  return sum;
}

double ConfusionMatrix::column_sum(size_t predicted) const {
  double sum = 0;
  for (size_t i = 0; i < n(); ++i) sum += at(i, predicted);
  return sum;
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
  for (size_t i = 0; i < n(); ++i) {
    for (size_t j = 0; j < n(); ++j) {
      if (i != j && at(i, j) > 0) pairs.push_back({i, j, at(i, j)});
    }
  }
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
  const std::string* matrix = line.text("matrix");
  if (matrix == nullptr) throw broken(path, "\"matrix\" is missing");

  ConfusionMatrix confusion;
  size_t n_rows = 0;
  confusion.counts = parse_matrix(*matrix, n_rows, path);
  if (n_rows == 0 || confusion.counts.size() != n_rows * n_rows) {
    throw broken(path, "\"matrix\" is not square");
  }
  if (const std::string* classes = line.text("classes")) {
    try {
      for (const YAML::Node& name : YAML::Load(*classes)) confusion.classes.push_back(name.as<std::string>());
    } catch (const YAML::Exception&) {
      throw broken(path, "\"classes\" is not a list of names");
    }
  } else {
    for (size_t i = 0; i < n_rows; ++i) confusion.classes.push_back(std::to_string(i));
  }
  if (confusion.classes.size() != n_rows) throw broken(path, "\"classes\" and \"matrix\" differ in size");
  const double* step = line.number("step");
  confusion.step = step != nullptr ? *step : kNaN;
  return confusion;
}

}  // namespace lockstep
