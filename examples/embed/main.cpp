// A program with a main, an MPI and parts of its own that trains a LeNet-5, evaluates it and predicts with
// it:
//   mpirun -n 2 embed TRAIN TEST OUT      two datasets (docs/data.md) and a folder for the run
#include <mpi.h>

#include <algorithm>
#include <cstdio>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "comm/agreement.h"
#include "src/plan/plan.h"
#include "src/run/train.h"
#include "src/run/trained_model.h"
#include "src/run/validation.h"

using namespace lockstep;

namespace {

struct Evaluation {
  TrainedModel model;
  ValidationResult result;
};

/// Collective. Loss and metrics of a checkpoint on the dataset at `data`.
Evaluation evaluate(const std::string& checkpoint, const std::string& data, Communicator& comm) {
  Evaluation evaluation;
  TrainedModel& model = evaluation.model;
  model = load_model(checkpoint);
  const DataSource source = source_at(model.job.train.value_or(DataSource{}), data);
  const Dataset dataset = open_source(source);
  share_micro_batches(model.job, comm.size());
  Validator validator(model.job, model.graph, *model.arena, dataset, find_fields(dataset, source),
                      model.contract.normalization, comm);
  evaluation.result = validator.run();
  return evaluation;
}

class Predictor {
 public:
  explicit Predictor(const std::string& checkpoint) : model_(load_model(checkpoint)) {
    PlanOptions options;
    options.config = model_.job.op_config(false);
    plan_ = std::make_unique<Plan>(model_.graph, *model_.arena, model_.job.losses(), options);
    plan_->refresh_weights();
  }
  const Shape& input() const { return model_.graph.vertex(0).shape; }
  /// inputs: n samples, normalised as in training; their scores.
  std::vector<float> predict(std::span<const float> inputs, int64_t n) {
    std::vector<float> outputs;
    for (int64_t i = 0; i < n; ++i) {
      BatchContext context;
      context.n_valid = 1;
      context.sample_ids = &i;
      plan_->forward({inputs.data() + i * input().n_elements()}, {}, context);
      outputs.insert(outputs.end(), plan_->output(), plan_->output() + plan_->output_shape().n_elements());
    }
    return outputs;
  }

 private:
  TrainedModel model_;
  std::unique_ptr<Plan> plan_;
};

/// LeNet-5 with this program's own squashing, loss, metric and optimizer, which the job knows by their names.
Value describe_job(const std::string& train_data, const std::string& test_data) {
  Value job{{"name", "embedded-lenet5"},
            {"seed", 1},
            {"device", "cpu"},
            {"data", {{"train", train_data}, {"validation", test_data}}},
            {"batch", {{"global", 16}, {"micro", 4}}},
            {"loss", {{"focal", {{"gamma", 2}}}}},
            {"metrics", {"accuracy", "true_class"}},
            {"optimizer", {{"sign_momentum", {{"lr", 3e-3}, {"beta", 0.9}}}}},
            {"schedule", {{"cosine", {{"warmup_epochs", 1}}}}}};
  Value& layers = job["model"]["layers"];
  for (const int channels : {6, 16}) {
    layers.add({{"conv", {{"channels", channels}, {"kernel", 5}, {"padding", 2}}}});
    layers.add("scaled_tanh");
    layers.add({{"average_pool", 2}});
  }
  layers.add("flatten");
  for (const int units : {120, 84}) {
    layers.add({{"affine", units}});
    layers.add("scaled_tanh");
  }
  layers.add({{"affine", 10}});
  job["train"]["epochs"] = 4;
  return job;
}

/// An error is an exception here, and the program goes on.
void show_a_mistake(Value description, bool speaks) {
  description["optimizer"] = {{"sign_momentun", {{"lr", 1e-3}}}};
  try {
    make_job(description);
  } catch (const Error& error) {
    if (speaks) std::printf("a wrong job: %s\n", error.what());
  }
}

int run(Communicator& comm, const std::string& train_data, const std::string& test_data,
        const std::string& out) {
  const Value description = describe_job(train_data, test_data);
  show_a_mistake(description, comm.is_root());

  const Job job = make_job(description);
  const TrainResult result = train(job, comm, {.out = out});
  const std::string checkpoint = result.run_folder + "/checkpoints/best.h5";

  const Evaluation evaluation = evaluate(checkpoint, test_data, comm);
  if (comm.is_root()) {
    std::printf("%lld steps on %d ranks; on %lld samples: loss %.4f", static_cast<long long>(result.step),
                comm.size(), static_cast<long long>(evaluation.result.n_samples), evaluation.result.loss);
    const std::vector<MetricList::Named>& metrics = evaluation.model.job.metrics.all();
    for (size_t i = 0; i < metrics.size(); ++i)
      std::printf(", %s %.4f", metrics[i].name.c_str(), evaluation.result.metrics[i]);
    std::printf("\n");

    Predictor predictor(checkpoint);
    const std::vector<float> blank(static_cast<size_t>(predictor.input().n_elements()), 0.0f);
    const std::vector<float> scores = predictor.predict(blank, 1);
    std::printf("an empty picture is a %d\n",
                static_cast<int>(std::max_element(scores.begin(), scores.end()) - scores.begin()));
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  int provided = MPI_THREAD_SINGLE, status = 1;
  MPI_Init_thread(&argc, &argv, MPI_THREAD_MULTIPLE, &provided);
  try {
    const MPI_Comm ranks = MPI_COMM_WORLD;  // or any part of it
    Communicator comm = Communicator::of(&ranks);
    try {
      if (argc != 4) throw AgreedError("embed", "three words are needed", "embed TRAIN TEST OUT");
      status = run(comm, argv[1], argv[2], argv[3]);
    } catch (const AgreedError& error) {  // all ranks know
      if (comm.is_root()) std::fprintf(stderr, "%s\n", error.what());
    }
  } catch (const Error& error) {  // this rank alone knows, and others may wait for it
    std::fprintf(stderr, "%s\n", error.what());
    MPI_Abort(MPI_COMM_WORLD, 1);
  }
  MPI_Finalize();
  return status;
}
