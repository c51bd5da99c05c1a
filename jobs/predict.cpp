// lockstep predict CHECKPOINT --data PATH --out FILE: the outputs of a network, sample by sample in the order
// of a dataset, of images by name, or of the rows of a table.
#include <fmt/format.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>

#include "comm/agreement.h"
#include "io/files/gzip.h"
#include "io/loader/row_file.h"
#include "jobs/command.h"
#include "jobs/convert/converter.h"
#include "kernels/printable.h"
#include "src/run/predict/ensemble.h"
#include "src/run/predict/prediction.h"
#include "src/run/predict/prediction_input.h"
#include "src/run/predict/prediction_table.h"
#include "src/run/progress.h"

namespace lockstep {

namespace po = boost::program_options;
namespace fs = std::filesystem;

namespace {

/// The files that are written; either may be empty.
struct Outputs {
  std::string hdf5, csv;

  std::string text() const { return hdf5 + (!hdf5.empty() && !csv.empty() ? ", " : "") + csv; }
};

Outputs choose_outputs(const std::string& out, bool with_csv) {
  if (fs::path(out).extension() == ".csv") return {"", out};
  return {out, with_csv ? fs::path(out).replace_extension(".csv").string() : ""};
}

/// Neither inputs nor what exists are written over.
void check_output(const std::string& out, const std::string& checkpoint, const std::string& data,
                  bool overwrite) {
  if (out.empty()) return;
  std::error_code none;
  const fs::path folder = fs::path(out).has_parent_path() ? fs::path(out).parent_path() : fs::path(".");
  if (fs::is_directory(out, none)) throw Error(out, "is a folder", "give the name of a file to write");
  for (const std::string& input : {data, checkpoint})
    if (fs::equivalent(out, input, none))
      throw Error(out, "is an input of this command", "choose another --out");
  const bool among_data = fs::is_directory(data, none) && fs::equivalent(folder, data, none);
  const fs::path checkpoints =
      fs::path(checkpoint).has_parent_path() ? fs::path(checkpoint).parent_path() : ".";
  const bool among_checkpoints =
      checkpoints.filename() == "checkpoints" && fs::equivalent(folder, checkpoints, none);
  if (among_checkpoints || (among_data && fs::path(out).extension() != ".csv"))
    throw Error(out, among_data ? "would become a part of the data" : "lies among the checkpoints of a run",
                "choose another --out");
  if (fs::exists(fs::symlink_status(out, none)) && !overwrite)
    throw Error(out, "exists", "choose another --out, or say --overwrite");
}

std::string hidden_beside(const std::string& path, const char* ending) {
  const fs::path target(path);
  return (target.parent_path() /
          fmt::format(".{}.{}-{}{}", target.filename().string(), host_name(), ::getpid(), ending))
      .string();
}

/// Of root: files and folders that go when the command ends, however it ends.
struct Temporaries {
  std::vector<std::string> paths;
  ~Temporaries() {
    std::error_code ignored;
    for (const std::string& path : paths) fs::remove_all(path, ignored);
  }
};

/// A folder beside the output where a compressed table is unpacked; empty if nothing is.
std::string make_scratch(Communicator& comm, const PredictionInputOptions& input, const std::string& out,
                         Temporaries& temporaries) {
  std::string scratch;
  check_on_root(comm, [&] {
    if (input.kind != DataKind::kCsv || !is_gzip(input.path)) return;
    scratch = hidden_beside(out, ".input");
    fs::create_directories(scratch);
    temporaries.paths.push_back(scratch);
  });
  return comm.broadcast_string(scratch);
}

PredictionInputOptions read_input_options(const CommandLine& line) {
  PredictionInputOptions input;
  input.path = line.text("data");
  input.separator = read_separator(line);
  if (line.has("drop")) input.dropped = line.numbers("drop", 0, "0,3");
  input.bits = line.get<int64_t>("bits");
  if (input.bits != 0 && input.bits != 8 && input.bits != 16)
    throw UsageError(fmt::format("--bits is 8, 16 or 0, found {}", input.bits),
                     "write --bits 8, or leave it out");
  input.on_error = read_on_error(line);
  return input;
}

void show_attention(Graph& graph) {
  if (graph.shown_on_request().empty() && graph.shown().empty())
    throw Error("--attention", "the network has no layer of attention", "leave it out");
  graph.show_requested();
}

void show_layer(Graph& graph, const std::string& name) {
  const int vertex = graph.find(name);
  if (vertex < 0) {
    const std::string near = nearest_word(name, graph.names());
    throw Error("--features", fmt::format("the network has no layer '{}'", printable(name)),
                near.empty() ? "`lockstep inspect CHECKPOINT` lists them" : "did you mean '" + near + "'?");
  }
  if (!graph.vertex(vertex).layer)
    throw Error("--features", fmt::format("'{}' is an input", name), "name a layer behind it");
  graph.show(vertex);
}

}  // namespace

static int predict_command(const Words& words, Communicator& comm) {
  CommandLine line("predict CHECKPOINT --data PATH --out FILE.h5|FILE.csv",
                   "Writes 'output' (N, …) float32 and, for classifiers, 'class' (N) int64 and 'probability' "
                   "(N, classes) to an "
                   "HDF5 file,\nor a CSV file with names of files and classes. PATH: a dataset (labels are "
                   "not needed), an image or "
                   "a folder of images,\na table (.csv), or an array (.npy); these give a CSV file beside "
                   "the HDF5 file, too.",
                   {"CHECKPOINT"});
  line.add()("data", po::value<std::string>(), "what to predict (needed)")(
      "out", po::value<std::string>(), "HDF5 or CSV file to write (needed)")(
      "csv", "a CSV file beside the HDF5 file")("overwrite", "replace files that exist")(
      "input", po::value<std::string>(), "field of the inputs of a dataset")(
      "separator", po::value<std::string>()->default_value(","), "of a table: one character, or tab")(
      "drop", po::value<std::string>(), "columns of a table that are no inputs, from 0, such as 0,3")(
      "bits", po::value<int64_t>()->default_value(0),
      "8 or 16 a sample of images; 0: as the network was trained")(
      "features", po::value<Words>()->composing(),
      "LAYER: write what it gives too, such as vectors of the sample; may be repeated")(
      "attention", "write the weights of attention too, by layer and head")(
      "with", po::value<Words>()->composing(),
      "CHECKPOINT: a further network; the mean of all probabilities is written; may be repeated")(
      "average", "the running averages of the weights (the job's key average) in their place")(
      "on-error", po::value<std::string>()->default_value("stop"),
      "stop: name all images that cannot be read; skip: leave them out");
  if (!line.parse(words, comm.is_root())) return 0;
  if (!line.has("data"))
    throw UsageError("--data PATH is missing",
                     "name what to predict, for instance --data photos/ or --data test.h5");
  if (!line.has("out"))
    throw UsageError("--out FILE is missing", "name the file to write, for instance --out predictions.h5");
  PredictionInputOptions input = read_input_options(line);
  const auto start = std::chrono::steady_clock::now();

  int64_t kind_word = 0;
  check_on_root(comm, [&] { kind_word = static_cast<int64_t>(find_data_kind(input.path)); });
  comm.broadcast(&kind_word, sizeof kind_word);
  input.kind = static_cast<DataKind>(kind_word);
  const bool is_dataset = input.kind == DataKind::kDataset;
  const Outputs outputs = choose_outputs(line.text("out"), line.has("csv") || !is_dataset);
  check_on_root(comm, [&] {
    for (const std::string& out : {outputs.hdf5, outputs.csv})
      check_output(out, line.text("CHECKPOINT"), input.path, line.has("overwrite"));
  });

  TrainedModel model;
  std::unique_ptr<Dataset> dataset;
  LoaderOptions loading;
  const auto open = [&] {
    model = load_model(line.text("CHECKPOINT"), line.has("average"));
    share_micro_batches(model.job, comm.size());
    if (!is_dataset) return;
    DataSource source = source_at(model.job.train.value_or(DataSource{}), input.path);
    if (line.has("input")) source.input = line.text("input");
    source.target.clear();  // data to predict need none
    dataset = std::make_unique<Dataset>(open_source(source, {}, false));
    const DataFields fields = find_fields(*dataset, source);
    check_vocabularies(*dataset, fields, model.contract);
    loading = make_loader_options(model.job, *dataset, fields, model.graph, false,
                                  model.contract.normalization, comm.rank(), comm.size());
    loading.shuffle.is_on = false;
    loading.order = Order::kShuffled;
    loading.ranks = &comm;
    if (std::vector<Graph> graphs =
            sequence_graphs(model.job, model.contract, model.graph, *dataset, loading);
        !graphs.empty())
      model.graph = std::move(graphs.back());
  };
  const auto open_and_show = [&] {
    open();
    if (line.has("attention")) show_attention(model.graph);
    for (const std::string& layer : line.has("features") ? line.get<Words>("features") : Words{})
      show_layer(model.graph, layer);
  };
  check_on_root(comm, open_and_show);
  all_or_none(comm, [&] {
    if (!comm.is_root()) open_and_show();
  });
  Temporaries temporaries;
  ConvertInput rows;
  if (!is_dataset)
    rows =
        open_prediction_input(comm, model, input, make_scratch(comm, input, line.text("out"), temporaries));
  const int64_t n_samples = is_dataset ? dataset->n_samples() : rows.n_rows;

  set_compute_threads(model.job.threads);
  std::unique_ptr<Ensemble> ensemble;
  all_or_none(comm, [&] {
    ensemble = std::make_unique<Ensemble>(model, line.has("with") ? line.get<Words>("with") : Words{},
                                          line.has("average"));
  });
  Plan& plan = ensemble->plan();
  const RunBatch run = [&](const MicroBatch& batch) { return ensemble->run(batch); };

  const PredictionKind kind = prediction_kind(model.job, plan.output_shape().without_front());
  std::vector<std::string> class_names;
  if (kind.n_classes > 0) class_names = model.contract.class_names;
  const std::string hdf5 =
      comm.broadcast_string(outputs.hdf5.empty() ? hidden_beside(outputs.csv, ".h5") : outputs.hdf5);
  std::vector<Field> fields = kind.fields;
  for (size_t i = 0; i < model.graph.shown().size(); ++i)
    fields.push_back({model.graph.vertex(model.graph.shown()[i]).name, DType::kFloat32,
                      plan.shown_shape(i).without_front()});
  RowFile file(comm, hdf5, fields, n_samples, {class_names, rows.row_names});
  std::vector<int64_t> classes(model.job.micro_batch);
  std::vector<float> probabilities(model.job.micro_batch * kind.output.n_elements());
  const Normalization units = output_units(model);
  std::vector<float> restored;
  const TakeOutputs take = [&](int64_t first, int64_t count, const float* output) {
    if (!units.mean.empty()) {
      restored.assign(output, output + count * kind.output.n_elements());
      restore_units(units, count, kind.output.n_elements(), restored.data());
      output = restored.data();
    }
    file.write("output", first, count, output);
    for (size_t i = 0; i < model.graph.shown().size(); ++i)
      file.write(fields[kind.fields.size() + i].name, first, count, plan.shown(i));
    judge(kind, output, count, classes.data(), probabilities.data());
    if (kind.n_classes > 0) file.write("class", first, count, classes.data());
    if (kind.is_probable) file.write("probability", first, count, probabilities.data());
  };
  const std::vector<LoaderField> read =
      is_dataset
          ? loading.fields
          : std::vector<LoaderField>{{"input", DType::kFloat32, model.graph.vertex(0).shape, {}, {}, 0}};
  NotFiniteRows not_finite(input.path, read, dataset.get());
  if (is_dataset) {
    DataLoader loader(*dataset, loading, 0);
    predict_dataset(run, loader, not_finite, take);
  } else {
    predict_rows(run, model, rows, comm, not_finite, take);
    if (rows.check_read) rows.check_read();
  }
  if (const std::string told = not_finite.told(comm); comm.is_root() && !told.empty())
    fmt::print(stderr, "lockstep: not finite: {}\n", told);
  if (comm.is_root() && outputs.hdf5.empty()) temporaries.paths.push_back(hdf5);
  file.close();
  check_on_root(comm, [&] {
    if (!outputs.csv.empty()) write_prediction_table(hdf5, kind, class_names, rows.row_names, outputs.csv);
  });
  if (comm.is_root()) {
    const double time_s = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    fmt::print("{}: outputs {} of {} samples, {:.2f} s\n", outputs.text(), kind.output.str(),
               grouped(static_cast<double>(n_samples)), time_s);
    for (const std::string& note : rows.notes) fmt::print("  {}\n", note);
  }
  return 0;
}

namespace {
const bool predict_registered = commands().add(
    "predict", {.summary = "write a checkpoint's outputs for a dataset to HDF5", .run = predict_command}, 3);
}

}  // namespace lockstep
