// Readers of the room src/: job files with the models they describe, confusion matrices.
#include <stdexcept>

#include "src/job.h"
#include "src/model.h"
#include "src/report/confusion.h"
#include "tests/fuzz/reader.h"

namespace lockstep::fuzz {

namespace {

/// Lines "--set KEY=VALUE" in front, then the job file. A model that builds is counted as `inspect` does.
void read_job_file(std::string_view bytes) {
  constexpr std::string_view kSet = "--set ";
  std::vector<std::string> assignments;
  while (bytes.starts_with(kSet)) {
    const std::string_view line = bytes.substr(0, bytes.find('\n'));
    assignments.emplace_back(line.substr(kSet.size()));
    bytes.remove_prefix(std::min(bytes.size(), line.size() + 1));
  }
  Config config = Config::from_text(std::string(bytes), "job.yaml");
  for (const std::string& assignment : assignments) config.set(assignment);
  attempt([&] {
    const Job job = read_job(config);
    check_rank_count(job, 4);
  });
  if (config.has("model")) {
    const Graph graph = build_model(config.at("model"), {});
    graph.n_parameters();
    graph.multiply_adds();
  }
}

void read_confusion_file(std::string_view bytes) {
  const MemoryFile file(bytes);
  const auto matrix = read_confusion(file.path());
  if (!matrix) throw std::logic_error("the file is there");
  matrix->most_confused(10);
  for (size_t c = 0; c < matrix->n(); ++c) static_cast<void>(matrix->recall(c) + matrix->precision(c));
}

const bool registered =
    register_reader("confusion", read_confusion_file) && register_reader("job", read_job_file);

}  // namespace

}  // namespace lockstep::fuzz
