// Readers of the room src/: job files with the models they describe, confusion matrices, and a checkpoint as
// `evaluate` takes it: with job, contract and normalisation of whoever made the file.
#include <cstring>
#include <filesystem>
#include <stdexcept>

#include "src/job/job.h"
#include "src/network/model.h"
#include "src/report/confusion.h"
#include "src/run/checkpoints/train_state.h"
#include "src/run/trained_model.h"
#include "tests/fuzz/reader.h"
#include "tests/support/hdf5_files.h"

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

/// A whole, sealed checkpoint that says anything: its job is the rest of the input.
void read_evaluated(std::string_view bytes) {
  static const TemporaryFolder folder;
  Choices choices(bytes);
  CheckpointInfo info;
  const auto text = [&](size_t most) {
    std::string taken(choices.take(choices.byte() % (most + 1)));
    std::erase(taken, '\0');
    return taken;
  };
  if (choices.below(8) > 0) info.texts["input_shape"] = choices.flag() ? text(250) : "1,8,8";
  if (choices.flag()) info.texts["class_names"] = text(60);
  for (const char* key : {"classes", "best_step", "loss_scale", "validations_without_improvement"}) {
    double value = 0;
    const uint64_t word = choices.below(3) == 0 ? choices.word() : static_cast<uint64_t>(choices.below(20));
    std::memcpy(&value, &word, sizeof value);
    if (choices.flag()) info.numbers[key] = choices.flag() ? value : static_cast<double>(word);
  }
  std::vector<std::vector<double>> storage;
  std::vector<CheckpointTensor> tensors;
  for (const char* name : {"/buffers/input.mean", "/buffers/input.stddev", "/parameters/affine1.weight"}) {
    if (choices.below(3) == 0) continue;
    Shape shape;
    const int64_t rank = choices.below(4);
    for (int64_t d = 0; d < rank; ++d) shape = shape.with_front(choices.below(9));
    storage.emplace_back(static_cast<size_t>(shape.n_elements()) + 1, 0.5);
    tensors.push_back(
        {name, shape, choices.below(4) == 0 ? DType::kFloat64 : DType::kFloat32, storage.back().data()});
  }
  info.job = choices.rest();
  std::erase(info.job, '\0');
  std::string path;
  attempt([&] { path = save_checkpoint_alone(folder.path(), info, tensors, 1); });
  if (path.empty()) return;
  attempt([&] { read_train_state(read_checkpoint_info(path)); });
  attempt([&] { read_contract(path, read_checkpoint_info(path)); });
  attempt([&] { load_model(path); });
  std::filesystem::remove(path);
}

const bool registered = register_reader("confusion", read_confusion_file) &&
                        register_reader("evaluated", read_evaluated) && register_reader("job", read_job_file);

}  // namespace

}  // namespace lockstep::fuzz
