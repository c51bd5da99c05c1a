// metrics.jsonl: whole lines, each given to the system by one write, so that a reader of the
// running job sees whole lines, and a killed job leaves at most its last line broken.
#include "io/files/metrics.h"

#include <unistd.h>

#include <cerrno>
#include <filesystem>

#include "io/files/files.h"
#include "io/files/json_parse.h"
#include "io/files/regular_file.h"
#include "kernels/error.h"

namespace lockstep {

namespace {

bool is_blank(std::string_view text) { return text.find_first_not_of(" \t\r") == std::string_view::npos; }

/// Calls visit(line, line number from 1, whether it is the last) for every line that is not blank.
template <typename Visit>
void for_each_line(std::string_view text, Visit&& visit) {
  for (int64_t number = 1; !text.empty(); ++number) {
    const size_t end = text.find('\n');
    const std::string_view line = text.substr(0, end);
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    if (!is_blank(line)) visit(line, number, text.find_first_not_of(" \t\r\n") == std::string_view::npos);
  }
}

/// The text without lines of later steps and without lines that are not JSON objects.
std::string lines_up_to(std::string_view text, int64_t last_step) {
  std::string kept;
  for_each_line(text, [&](std::string_view line, int64_t, bool) {
    try {
      const double* step = nullptr;
      const MetricsLine parsed = parse_json_object(line);
      step = parsed.number("step");
      if (step && *step > static_cast<double>(last_step)) return;
    } catch (const Error&) {
      return;
    }
    kept.append(line).append("\n");
  });
  return kept;
}

}  // namespace

MetricsWriter::MetricsWriter(const std::string& path, int64_t last_step) : path_(path) {
  const std::filesystem::path folder = std::filesystem::path(path).parent_path();
  std::error_code failure;
  if (!folder.empty()) std::filesystem::create_directories(folder, failure);
  if (failure) throw_file_error(folder.string(), "creating the folder", failure.value());
  if (last_step >= 0 && std::filesystem::exists(path, failure)) {
    write_text_file_atomically(path, lines_up_to(read_text_file(path), last_step));
  }
  require_regular_file(path);
  file_ = std::fopen(path.c_str(), last_step < 0 ? "w" : "a");
  if (!file_) throw_file_error(path, "opening", errno);
  std::setvbuf(file_, nullptr, _IONBF, 0);  // one fwrite is one write(2)
}

MetricsWriter::~MetricsWriter() { std::fclose(file_); }

void MetricsWriter::write(const JsonObject& line) {
  const std::string text = line.str() + "\n";
  const off_t end = ::lseek(::fileno(file_), 0, SEEK_END);
  int error_number = 0;
  for (size_t done = 0; error_number == 0 || error_number == EINTR;) {
    done += std::fwrite(text.data() + done, 1, text.size() - done, file_);
    if (done == text.size()) return;
    error_number = errno;
    std::clearerr(file_);
  }
  // Take back the part that did get written, so that later lines stay readable.
  if (end < 0 || ::ftruncate(::fileno(file_), end) != 0) std::clearerr(file_);
  throw_file_error(path_, "writing a line", error_number);
}

const double* MetricsLine::number(std::string_view key) const {
  for (const auto& [name, value] : items) {
    if (name == key) return std::get_if<double>(&value);
  }
  return nullptr;
}

const std::string* MetricsLine::text(std::string_view key) const {
  for (const auto& [name, value] : items) {
    if (name == key) return std::get_if<std::string>(&value);
  }
  return nullptr;
}

std::vector<MetricsLine> read_metrics(const std::string& path) {
  std::vector<MetricsLine> lines;
  for_each_line(read_text_file(path), [&](std::string_view line, int64_t number, bool is_last) {
    try {
      lines.push_back(parse_json_object(line));
    } catch (const Error& error) {
      if (!is_last)
        throw Error(path + ":" + std::to_string(number), error.reason(),
                    "take this line out of the file: each line is one JSON object");
    }
  });
  return lines;
}

}  // namespace lockstep
