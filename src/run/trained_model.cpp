#include "src/run/trained_model.h"

#include <fcntl.h>
#include <fmt/format.h>

#include "io/files/files.h"
#include "src/network/weights_file.h"
#include "src/run/checkpoints/train_state.h"

namespace lockstep {

bool use_without_gpu(Config& job) {
  if (cuda_device_count() > 0) return false;
  const std::string precision = job.get_string("precision", "float32");
  const bool of_gpus = precision == "tf32" || precision == "float16";
  if (of_gpus) job.set("precision=float32");
  const bool asks = job.get_string("device", "auto") == "cuda";
  job.set("device=cpu");
  return asks || of_gpus;
}

namespace {

/// Before memory is asked for: the file must hold what its own job describes.
void check_holds_weights(const std::string& path, const Graph& graph) {
  int64_t n_elements = 0, n_file_bytes = FileHandle(path, O_RDONLY).n_bytes();
  for (const CheckpointEntry& entry : list_checkpoint(path)) {
    if (!entry.name.starts_with("/parameters/")) continue;
    // Not even a compressed file holds more than this.
    const int64_t n = entry.shape.n_elements();
    if (n / 512 > n_file_bytes)
      throw Error(path + ": " + entry.name, "is larger than the file",
                  "use a checkpoint written by training");
    n_elements += n;
  }
  if (n_elements < graph.n_parameters())
    throw Error(path,
                fmt::format("its weights have {} values, and the network of its own job needs {}", n_elements,
                            graph.n_parameters()),
                "use a checkpoint written by training");
}

}  // namespace

TrainedModel describe_model(const std::string& checkpoint) {
  TrainedModel model;
  model.info = read_checkpoint_info(checkpoint);
  Config job = Config::from_text(model.info.job, checkpoint + " (its job)");
  use_without_gpu(job);
  model.job = read_job(job);
  use_on_this_machine(model.job);
  model.contract = read_contract(checkpoint, model.info);
  use_class_counts(model.contract, model.job);
  model.graph = build_graph(model.job, model.contract);
  return model;
}

TrainedModel load_model(const std::string& checkpoint, bool average) {
  TrainedModel model = describe_model(checkpoint);
  check_holds_weights(checkpoint, model.graph);
  model.arena = std::make_unique<ParameterArena>(model.graph, model.job.device);
  Normalization none;
  std::vector<CheckpointTensor> tensors = checkpoint_tensors(*model.arena, nullptr, none);
  if (average) {
    check_has_averages(checkpoint);
    for (CheckpointTensor& tensor : tensors) tensor.name = stored_average(tensor.name);
  }
  load_checkpoint(checkpoint, tensors);
  model.arena->host().upload(*make_stream(model.job.device));
  return model;
}

void share_micro_batches(Job& job, int size) {
  job.global_batch = job.micro_batch * size;
  job.reduction = Reduction::kNative;  // only disjoint sums are reduced: exact for any size
}

}  // namespace lockstep
