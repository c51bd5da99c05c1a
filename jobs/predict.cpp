// lockstep predict CHECKPOINT --data PATH --out FILE.h5: the outputs of a network, sample by
// sample in the dataset's order.
#include <fmt/format.h>

#include <chrono>

#include "comm/agreement.h"
#include "io/row_file.h"
#include "jobs/command.h"
#include "src/progress.h"
#include "src/trained_model.h"
#include "src/validation.h"

namespace lockstep {

namespace po = boost::program_options;

int predict_command(const Words& words, Communicator& comm) {
  CommandLine line("predict CHECKPOINT --data PATH --out FILE.h5",
                   "Writes 'output' (N, …) float32 and, for classifiers, 'class' (N) int64 to an HDF5 file.",
                   {"CHECKPOINT"});
  line.add()("data", po::value<std::string>(), "dataset: a folder of HDF5 files, or one file (needed)")(
      "out", po::value<std::string>(), "HDF5 file to write (needed)")("input", po::value<std::string>(),
                                                                      "field of the inputs");
  if (!line.parse(words, comm.is_root())) return 0;
  if (!line.has("data")) throw UsageError("--data PATH is missing");
  if (!line.has("out")) throw UsageError("--out FILE.h5 is missing");
  const auto start = std::chrono::steady_clock::now();

  TrainedModel model;
  std::unique_ptr<Dataset> dataset;
  LoaderOptions loading;
  const auto open = [&] {
    model = load_model(line.text("CHECKPOINT"));
    DataSource source = source_at(model.job.train.value_or(DataSource{}), line.text("data"));
    if (line.has("input")) source.input = line.text("input");
    source.target.clear();  // data to predict need none
    dataset = std::make_unique<Dataset>(open_source(source, {}, false));
    DataFields fields = find_fields(*dataset, source);
    share_micro_batches(model.job, comm.size());
    loading = make_loader_options(model.job, *dataset, fields, model.graph, false,
                                  model.contract.normalization, comm.rank(), comm.size());
    loading.shuffle.is_on = false;
    loading.ranks = &comm;
  };
  check_on_root(comm, open);
  all_or_none(comm, [&] {
    if (!comm.is_root()) open();
  });

  set_compute_threads(model.job.threads);
  PlanOptions options;
  options.config = model.job.op_config(false);
  options.micro_batch = model.job.micro_batch;
  Plan plan(model.graph, *model.arena, model.job.losses(), options);
  plan.refresh_weights();

  const Shape sample = plan.output_shape().without_front();
  // Class ids where the output is one score per class.
  const bool classifies = model.job.loss.is_classification() && sample.rank() == 1 && sample[0] > 1;
  std::vector<Field> fields = {{"output", DType::kFloat32, sample}};
  if (classifies) fields.push_back({"class", DType::kInt64, {}});
  RowFile file(comm, line.text("out"), fields, dataset->n_samples());

  DataLoader loader(*dataset, loading, 0);
  std::vector<int64_t> classes(model.job.micro_batch);
  for (int64_t s = 0; s < loader.steps_per_epoch(); ++s) {
    const MicroBatch& batch = loader.next();
    if (batch.n_valid == 0) continue;
    BatchContext context;
    context.n_valid = batch.n_valid;
    context.sample_ids = batch.sample_ids.data();
    plan.forward({batch.data.begin(), batch.data.end()}, {}, context);
    const int64_t first = batch.sample_ids[0];  // without shuffling a micro-batch is one run of rows
    const float* output = plan.output();
    file.write("output", first, batch.n_valid, output);
    if (!classifies) continue;
    const int64_t k = sample.n_elements();
    for (int64_t i = 0; i < batch.n_valid; ++i) classes[i] = arg_max(output + i * k, k);
    file.write("class", first, batch.n_valid, classes.data());
  }
  file.close();
  if (comm.is_root()) {
    const double time_s = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    fmt::print("{}: outputs {} of {} samples, {:.2f} s\n", line.text("out"), sample.str(),
               grouped(static_cast<double>(dataset->n_samples())), time_s);
  }
  return 0;
}

}  // namespace lockstep
