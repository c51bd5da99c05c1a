// A program with a main, an MPI and parts of its own that trains a LeNet-5, evaluates it and predicts:
//   mpirun -n 2 embed TRAIN TEST OUT      two datasets (docs/data.md) and a folder for the run
#include <mpi.h>

#include <algorithm>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include <lockstep/lockstep.h>

using namespace lockstep;

namespace {

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

/// The program's own words while it trains.
class Teller : public RunObserver {
 public:
  explicit Teller(bool speaks) : speaks_(speaks) {}
  void validation(const ValidationReport& report) override {
    if (speaks_) std::printf("after epoch %.0f: loss %.4f\n", report.epoch, report.result.loss);
  }

 private:
  bool speaks_;
};

/// Errors are exceptions here, and the program goes on: one of the description, equal on all ranks, and one
/// that all ranks hear of when data are opened.
void make_mistakes(const Value& description, Communicator& comm, const std::string& out) {
  Value wrong = description, absent = description;
  wrong["optimizer"] = {{"sign_momentun", {{"lr", 1e-3}}}};
  absent["data"] = {{"train", "no/such/data"}};
  for (const Value& mistake : {wrong, absent}) {
    try {
      RunOptions options;
      options.out = out + "-mistake";
      train(make_job(mistake), comm, options);
    } catch (const Error& error) {
      if (comm.is_root()) std::printf("a wrong job: %s\n", error.what());
    }
  }
}

int run(Communicator& comm, const std::string& train_data, const std::string& test_data,
        const std::string& out) {
  const Value description = describe_job(train_data, test_data);
  make_mistakes(description, comm, out);

  const Job job = make_job(description);
  RunOptions options;
  options.out = out;
  options.prints = false;
  options.observer = std::make_shared<Teller>(comm.is_root());
  const RunResult result = train(job, comm, options);
  const std::string checkpoint = result.run_folder + "/checkpoints/best.h5";

  EvaluateOptions on;
  on.data = test_data;
  const Evaluation evaluation = evaluate(checkpoint, on, comm);
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
