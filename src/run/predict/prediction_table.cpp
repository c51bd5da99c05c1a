#include "src/run/predict/prediction_table.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>

#include "comm/communicator.h"
#include "io/dataset/dataset.h"
#include "io/files/files.h"

namespace lockstep {

namespace {

std::string quoted(const std::string& text) {
  if (text.find_first_of(",\"\r\n") == std::string::npos) return text;
  std::string result = "\"";
  for (const char c : text) result += c == '"' ? std::string("\"\"") : std::string(1, c);
  return result + "\"";
}

std::string header(const PredictionKind& kind, const std::vector<std::string>& class_names, bool named_rows) {
  std::string text = named_rows ? "file" : "row";
  if (kind.n_classes > 0) text += class_names.empty() ? ",class" : ",class,class_name";
  const int64_t k = kind.output.n_elements();
  for (int64_t c = 0; c < k; ++c) {
    // One score of two classes is the probability of class 1.
    const size_t id = static_cast<size_t>(k == 1 && kind.n_classes == 2 ? 1 : c);
    text += "," + (kind.is_probable
                       ? quoted("p_" + (id < class_names.size() ? class_names[id] : std::to_string(id)))
                       : "output_" + std::to_string(c));
  }
  return text + "\n";
}

}  // namespace

void write_prediction_table(const std::string& predictions, const PredictionKind& kind,
                            const std::vector<std::string>& class_names,
                            const std::vector<std::string>& row_names, const std::string& path) {
  const Dataset dataset = Dataset::open(predictions);
  const int64_t k = kind.output.n_elements();
  const int64_t block = std::clamp<int64_t>((1 << 20) / k, 1, 4096);
  std::vector<int64_t> classes(static_cast<size_t>(block));
  std::vector<float> values(static_cast<size_t>(block * k));
  const std::filesystem::path target(path);
  const std::string temporary =
      (target.parent_path() /
       fmt::format(".{}.{}-{}.tmp", target.filename().string(), host_name(), ::getpid()))
          .string();
  struct Removal {
    const std::string& path;
    bool is_off = false;
    ~Removal() {
      if (!is_off) ::unlink(path.c_str());
    }
  } removal{temporary};
  FileHandle file(temporary, O_WRONLY | O_CREAT | O_TRUNC);
  std::string text = header(kind, class_names, !row_names.empty());
  int64_t written = 0;
  for (int64_t first = 0; first < dataset.n_samples(); first += block) {
    const int64_t n = std::min(block, dataset.n_samples() - first);
    if (kind.n_classes > 0) dataset.read("class", first, n, classes.data());
    dataset.read(kind.is_probable ? "probability" : "output", first, n, values.data());
    for (int64_t i = 0; i < n; ++i) {
      text += row_names.empty() ? std::to_string(first + i) : quoted(row_names[first + i]);
      if (kind.n_classes > 0) {
        text += "," + std::to_string(classes[i]);
        if (!class_names.empty())
          text +=
              "," +
              (static_cast<size_t>(classes[i]) < class_names.size() ? quoted(class_names[classes[i]]) : "");
      }
      for (int64_t c = 0; c < k; ++c) text += fmt::format(",{}", values[i * k + c]);
      text += '\n';
    }
    file.write_at(text.data(), static_cast<int64_t>(text.size()), written);
    written += static_cast<int64_t>(text.size());
    text.clear();
  }
  if (!text.empty()) file.write_at(text.data(), static_cast<int64_t>(text.size()), written);
  file.sync();
  file.close();
  rename_durably(temporary, path);
  removal.is_off = true;
}

}  // namespace lockstep
