// lockstep evaluate CHECKPOINT --data PATH: loss, metrics and confusion on a dataset.
#include <fmt/format.h>

#include "io/files/metrics.h"
#include "jobs/command.h"
#include "kernels/printable.h"
#include "src/run/evaluate.h"
#include "src/run/predict/ensemble.h"

namespace lockstep {

namespace po = boost::program_options;

namespace {

void print_table(const ValidationResult& result, const MetricList& metrics,
                 const std::vector<std::string>& class_names) {
  size_t width = 8;
  for (const MetricList::Named& m : metrics.all()) width = std::max(width, m.name.size());
  fmt::print("{:{}}  {}\n{:{}}  {:.6g}\n", "samples", width, result.n_samples, "loss", width, result.loss);
  for (size_t i = 0; i < result.metrics.size(); ++i) {
    const auto& [name, metric] = metrics.all()[i];
    fmt::print("{:{}}  {}\n", name, width, measure_text(result.metrics[i], metric->is_share()));
  }
  const std::vector<ClassCounts> classes = count_classes(result.confusion);
  if (classes.empty()) return;
  fmt::print("\n{:20} {:>8} {:>8} {:>9}\n", "class", "samples", "recall", "precision");
  size_t n_absent = 0;
  for (size_t c = 0; c < classes.size(); ++c) {
    const ClassCounts& counts = classes[c];
    if (!result.confusion.is_whole() && counts.samples + counts.predictions == 0) {
      ++n_absent;
      continue;
    }
    const auto percent = [&](int64_t of) {
      return of > 0 ? fmt::format("{:.1f} %",
                                  100.0 * static_cast<double>(counts.correct) / static_cast<double>(of))
                    : "-";
    };
    fmt::print("{:20} {:>8} {:>8} {:>9}\n",
               c < class_names.size() ? printable(class_names[c]) : std::to_string(c), counts.samples,
               percent(counts.samples), percent(counts.predictions));
  }
  if (n_absent > 0) fmt::print("{} classes have no sample and no prediction\n", n_absent);
}

std::string json(const ValidationResult& result, const MetricList& metrics, const Words& checkpoints,
                 const std::string& data) {
  JsonObject object;
  object.set("checkpoint", checkpoints.front());
  std::vector<std::string> others;
  for (size_t i = 1; i < checkpoints.size(); ++i) others.push_back(json_quote(checkpoints[i]));
  if (!others.empty()) object.set_raw("with", fmt::format("[{}]", fmt::join(others, ", ")));
  object.set("data", data).set("samples", result.n_samples).set("loss", result.loss);
  for (size_t i = 0; i < result.metrics.size(); ++i) object.set(metrics.all()[i].name, result.metrics[i]);
  if (!result.not_finite.empty()) object.set("not_finite", result.not_finite);
  const int64_t k = result.confusion.n_classes();
  if (k == 0) return object.str();
  std::vector<std::string> rows;
  if (result.confusion.is_whole()) {
    const auto counts = result.confusion.matrix().begin();
    for (int64_t c = 0; c < k; ++c)
      rows.push_back(fmt::format("[{}]", fmt::join(counts + c * k, counts + (c + 1) * k, ", ")));
  } else {  // true class, predicted class, samples
    for (const ConfusionCell& cell : result.confusion.cells())
      rows.push_back(fmt::format("[{}, {}, {}]", cell.truth, cell.predicted, cell.count));
  }
  object.set_raw(result.confusion.is_whole() ? "confusion" : "confusion_cells",
                 fmt::format("[{}]", fmt::join(rows, ", ")));
  return object.str();
}

}  // namespace

static int evaluate_command(const Words& words, Communicator& comm) {
  CommandLine line("evaluate CHECKPOINT --data PATH [--metrics NAMES] [--json]",
                   "Loss, metrics and confusion of a checkpoint on a dataset.", {"CHECKPOINT"});
  line.add()("data", po::value<std::string>(), "dataset: a folder of HDF5 files, or one file (needed)")(
      "input", po::value<std::string>(), "field of the inputs")("target", po::value<std::string>(),
                                                                "field of the targets")(
      "layout", po::value<std::string>(), "of images: NCHW or NHWC (default: as in training)")(
      "metrics", po::value<std::string>(), "in place of the job's, for instance 'accuracy, top_5'")(
      "with", po::value<Words>()->composing(),
      "CHECKPOINT: a further network; the mean of all probabilities is judged; may be repeated")(
      "average", "the running averages of the weights (the job's key average) in their place")(
      "json", "print one JSON object");
  if (!line.parse(words, comm.is_root())) return 0;
  if (!line.has("data"))
    throw UsageError("--data PATH is missing",
                     "name the dataset to evaluate on, for instance --data data/test");
  const std::string checkpoint = line.text("CHECKPOINT"), path = line.text("data");

  const EvaluateOptions options{.data = path,
                                .input = line.text("input"),
                                .target = line.text("target"),
                                .layout = line.text("layout"),
                                .metrics = line.text("metrics"),
                                .average = line.has("average")};
  Words checkpoints{checkpoint};
  if (line.has("with"))
    for (const std::string& further : line.get<Words>("with")) checkpoints.push_back(further);
  const Evaluation evaluation = checkpoints.size() > 1 ? evaluate_ensemble(checkpoints, options, comm)
                                                       : evaluate(checkpoint, options, comm);
  const ValidationResult& result = evaluation.result;
  const TrainedModel& model = evaluation.model;
  if (comm.is_root()) {
    if (!result.not_finite.empty()) fmt::print(stderr, "lockstep: not finite: {}\n", result.not_finite);
    if (line.has("json")) {
      fmt::print("{}\n", json(result, model.job.metrics, checkpoints, path));
    } else {
      print_table(result, model.job.metrics, model.contract.class_names);
    }
  }
  return 0;
}

namespace {
const bool evaluate_registered = commands().add(
    "evaluate",
    {.summary = "loss, metrics and confusion of a checkpoint on a dataset", .run = evaluate_command}, 2);
}

}  // namespace lockstep
