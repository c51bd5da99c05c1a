#include "src/trained_model.h"

#include "src/train_state.h"

namespace lockstep {

TrainedModel load_model(const std::string& checkpoint) {
  TrainedModel model;
  model.info = read_checkpoint_info(checkpoint);
  model.job = read_job(Config::from_text(model.info.job, checkpoint + " (its job)"));
  model.contract = read_contract(checkpoint, model.info);
  model.graph = build_graph(model.job, model.contract);
  model.arena = std::make_unique<ParameterArena>(model.graph, model.job.device);
  Normalization none;
  load_checkpoint(checkpoint, checkpoint_tensors(*model.arena, nullptr, none));
  model.arena->host().upload(*make_stream(model.job.device));
  return model;
}

void share_micro_batches(Job& job, int size) {
  job.global_batch = job.micro_batch * size;
  job.reduction = Reduction::kNative;  // only disjoint sums are reduced: exact for any size
}

}  // namespace lockstep
