// metrics.jsonl: one JSON object per line, appended and flushed, floats printed so that
// they round-trip. Readable while the run goes on.
#pragma once

#include <cstdint>
#include <cstdio>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace lockstep {

/// An ordered JSON object of scalars. Setting a key again replaces its value.
class JsonObject {
 public:
  JsonObject& set(std::string_view key, double value);  // shortest text that round-trips; null if not finite
  JsonObject& set(std::string_view key, int64_t value);
  JsonObject& set(std::string_view key, std::string_view value);
  JsonObject& set(std::string_view key, bool value);
  JsonObject& set_raw(std::string_view key, std::string json);  // arrays, nested objects
  JsonObject& set(std::string_view key, int value) { return set(key, int64_t{value}); }
  JsonObject& set(std::string_view key, const char* value) { return set(key, std::string_view(value)); }
  std::string str() const;  // {"step": 10, "loss": 0.25}

 private:
  std::vector<std::pair<std::string, std::string>> items_;
};

/// Quotes and escapes a JSON string.
std::string json_quote(std::string_view text);
/// Shortest decimal text that reads back as the same double; "null" if not finite.
std::string json_number(double value);

class MetricsWriter {
 public:
  /// Opens for appending. On resume, lines of steps > last_step (written after the checkpoint
  /// that is resumed from) and broken lines are dropped first; last_step < 0 starts a new file.
  /// Creates the folder.
  MetricsWriter(const std::string& path, int64_t last_step);
  ~MetricsWriter();
  MetricsWriter(const MetricsWriter&) = delete;
  MetricsWriter& operator=(const MetricsWriter&) = delete;
  void write(const JsonObject& line);  // throws Error when the disk is full

 private:
  std::FILE* file_ = nullptr;
  std::string path_;
};

/// One parsed line: scalar members only (numbers, strings, booleans), order kept. Nested
/// values are kept as their JSON text; null is read as NaN. Throws Error with the line number on broken JSON;
/// a broken last line (a run that was killed) is dropped.
using MetricsValue = std::variant<double, std::string, bool>;
struct MetricsLine {
  std::vector<std::pair<std::string, MetricsValue>> items;
  const double* number(std::string_view key) const;     // null if absent
  const std::string* text(std::string_view key) const;  // null if absent
};
std::vector<MetricsLine> read_metrics(const std::string& path);

}  // namespace lockstep
