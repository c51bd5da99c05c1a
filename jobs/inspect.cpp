// lockstep inspect PATH: a job (layers, shapes, parameters, multiply-adds, plan), a dataset or
// a checkpoint, as a table or as JSON.
#include <fmt/format.h>

#include <utility>

#include <algorithm>
#include <filesystem>

#include "io/checkpoint/checkpoint.h"
#include "io/dataset/dataset.h"
#include "io/dataset/stored_numbers.h"
#include "io/files/files.h"
#include "io/files/metrics.h"
#include "jobs/augmented_sheet.h"
#include "jobs/command.h"
#include "jobs/contact_sheet.h"
#include "jobs/dataset_values.h"
#include "jobs/job_file.h"
#include "jobs/job_graph.h"
#include "jobs/path_kind.h"
#include "kernels/printable.h"
#include "src/data/data.h"
#include "src/plan/plan.h"
#include "src/run/checkpoints/versions.h"
#include "src/run/progress.h"
#include "src/run/trained_model.h"

namespace lockstep {

namespace po = boost::program_options;

namespace {

std::string shape_json(const Shape& shape) {
  return fmt::format("[{}]", fmt::join(shape.begin(), shape.end(), ", "));
}

std::string join_json(const std::vector<std::string>& items) {
  return fmt::format("[{}]", fmt::join(items, ", "));
}

/// One row of the table, or one object of the JSON list.
struct LayerRow {
  std::string name, type, reads;
  Shape output;
  int64_t n_parameters = 0, n_statistics = 0, multiply_adds = 0, activation_bytes = 0;
  bool repeats = false;  // a step of a scan like its first

  LayerRow(const Graph& graph, const Plan& plan, int v) {
    const Vertex& vertex = graph.vertex(v);
    name = vertex.name;
    type = vertex.layer ? vertex.layer->type() : "input";
    output = vertex.shape;
    repeats = vertex.scan_step > 0 ||
              (vertex.output > 0 && graph.vertex(vertex.inputs[0]).layer->type() == "split_steps");
    for (int i : vertex.inputs) {
      if (vertex.inputs.size() > 1 || i != v - 1) reads += (reads.empty() ? "" : ", ") + graph.vertex(i).name;
    }
    for (const ParameterSpec& spec : graph.parameters(v)) {
      const bool is_statistic = spec.role == ParameterSpec::Role::kStatistic;
      (is_statistic ? n_statistics : n_parameters) += spec.shape.n_elements();
    }
    if (vertex.parameters_of != v)
      reads += " (parameters of " + graph.vertex(vertex.parameters_of).name + ")";
    if (!vertex.layer) return;
    multiply_adds = vertex.layer->multiply_adds(graph.input_shapes(v));
    activation_bytes = plan.value_bytes(v);
  }
};

void print_layers(const std::vector<LayerRow>& rows) {
  size_t width = 5;
  for (const LayerRow& row : rows)
    if (!row.repeats) width = std::max(width, row.name.size());
  fmt::print("{:{}} {:20} {:16} {:>13} {:>15} {:>11}  {}\n", "layer", width, "type", "output", "parameters",
             "multiply-adds", "activation", "reads, where not the layer before");
  int64_t n_alike = 0;
  for (const LayerRow& row : rows) {
    if (row.repeats) {
      ++n_alike;
      continue;
    }
    if (n_alike > 0)
      fmt::print("… and {} like these, for the further steps of the scan\n", std::exchange(n_alike, 0));
    const auto count = [](int64_t n) { return n > 0 ? grouped(static_cast<double>(n)) : std::string("-"); };
    fmt::print("{:{}} {:20} {:16} {:>13} {:>15} {:>11}  {}\n", printable(row.name), width, row.type,
               row.output.str(), count(row.n_parameters), count(row.multiply_adds),
               row.activation_bytes > 0 ? human_bytes(row.activation_bytes) : "-", row.reads);
  }
}

/// What training needs and a network does without. Returns whether the job says how large a batch is.
bool complete(Config& job) {
  const bool has_batch = job.has("batch");
  for (const auto& [key, least] : {std::pair{"name", "network"},
                                   {"batch", "1"},
                                   {"optimizer", "{sgd: {lr: 1}}"},
                                   {"train", "{steps: 1}"}})
    if (!job.has(key)) job.set(fmt::format("{}={}", key, least));
  return has_batch;
}

int inspect_job(const std::string& path, const Words& assignments, bool json) {
  Config config = read_job_file(path, assignments);
  const bool asks_gpu = use_without_gpu(config), has_batch = complete(config);
  const Job job = read_job(config);
  const JobGraph built(job);
  const Graph& graph = built.graph;
  const SizesOnly sizes_only;  // the job may be meant for a larger machine than this one
  const ParameterArena arena(graph, job.device);
  PlanOptions options;
  options.config = job.op_config();
  options.micro_batch = job.micro_batch;
  options.augmentation = built.augmentation;
  const Plan plan(graph, arena, job.losses(), options);
  const Optimizer optimizer(job.optimizer, arena,
                            with_states(job.optimizer, arena, arena.n_before_trunk(graph)), true);
  const int64_t weight_bytes = arena.n_elements() * 4;
  const int64_t state_bytes = optimizer.state_bytes();

  std::vector<LayerRow> rows;
  int64_t n_statistics = 0;
  for (int v = 0; v < graph.size(); ++v) {
    rows.emplace_back(graph, plan, v);
    n_statistics += rows.back().n_statistics;
  }
  if (json) {
    std::vector<std::string> layers;
    for (const LayerRow& row : rows) {
      JsonObject layer;
      layer.set("name", row.name).set("type", row.type).set_raw("output", shape_json(row.output));
      layer.set("parameters", row.n_parameters).set("multiply_adds", row.multiply_adds);
      layer.set("activation_bytes", row.activation_bytes);
      layers.push_back(layer.str());
    }
    JsonObject object;
    std::vector<std::string> steps;
    for (const AugmentStep& step : job.augment.steps) steps.push_back(json_quote(step.text));
    object.set("kind", "job").set("name", job.name).set("parameters", graph.n_parameters());
    object.set("statistics", n_statistics).set("multiply_adds", graph.multiply_adds());
    object.set("global_batch", job.global_batch).set("micro_batch", job.micro_batch);
    object.set("precision", name_of(job.precision)).set("activation_bytes", plan.activation_bytes());
    object.set("scratchpad_bytes", plan.scratchpad_bytes()).set("weight_bytes", weight_bytes);
    object.set("optimizer_bytes", state_bytes).set("steps", static_cast<int64_t>(plan.n_steps()));
    object.set("fused", static_cast<int64_t>(plan.n_fused())).set_raw("augment", join_json(steps));
    object.set_raw("layers", join_json(layers));
    fmt::print("{}\n", object.str());
    return 0;
  }
  print_layers(rows);
  fmt::print("\nparameters                {}\n", grouped(static_cast<double>(graph.n_parameters())));
  if (n_statistics > 0)
    fmt::print("running averages          {}\n", grouped(static_cast<double>(n_statistics)));
  fmt::print("multiply-adds per sample  {}\n", grouped(static_cast<double>(graph.multiply_adds())));
  if (has_batch)
    fmt::print("batch                     {} samples a step in {} micro-batches of {}\n", job.global_batch,
               job.n_micro(), job.micro_batch);
  for (const AugmentStep& step : job.augment.steps)
    fmt::print("{:25} {}\n", &step == &job.augment.steps[0] ? "training images" : "", step.text);
  fmt::print(
      "memory of a rank          weights {}, gradients {}, optimizer {}, activations {}, scratchpad {}\n",
      human_bytes(weight_bytes), human_bytes(weight_bytes), human_bytes(state_bytes),
      human_bytes(plan.activation_bytes()), human_bytes(plan.scratchpad_bytes()));
  fmt::print("\nplan of {}, {}{}\n{}", has_batch ? "a micro-batch" : "one sample", name_of(job.precision),
             asks_gpu ? " on the CPU, as no GPU answers here" : "", plan.str());
  return 0;
}

/// Of a ragged field's rows.
struct Lengths {
  int64_t least = 0, median = 0, most = 0;

  explicit Lengths(std::vector<int32_t> lengths) {
    if (lengths.empty()) return;
    const auto middle = lengths.begin() + static_cast<std::ptrdiff_t>(lengths.size() / 2);
    std::nth_element(lengths.begin(), middle, lengths.end());
    median = *middle;
    least = *std::min_element(lengths.begin(), lengths.end());
    most = *std::max_element(lengths.begin(), lengths.end());
  }
};

/// Numbers are looked at without being asked for up to this size.
constexpr int64_t kLookedAtBytes = int64_t{256} << 20;

int64_t field_bytes(const Dataset& dataset, const Field& field) {
  const int64_t n = field.ragged ? dataset.n_elements(field.name) : dataset.n_samples();
  return n * field.shape.n_elements() * size_of(field.dtype);
}

void print_shards(const Dataset& dataset) {
  int64_t fewest = INT64_MAX, most = 0, smallest = INT64_MAX, largest = 0;
  for (const Dataset::Shard& shard : dataset.shards()) {
    std::error_code none;
    const auto n_bytes = static_cast<int64_t>(std::filesystem::file_size(shard.path, none));
    fewest = std::min(fewest, shard.n_samples), most = std::max(most, shard.n_samples);
    smallest = std::min(smallest, n_bytes), largest = std::max(largest, n_bytes);
  }
  if (dataset.shards().size() < 2) return;
  const auto count = [](int64_t n) { return grouped(static_cast<double>(n)); };
  fmt::print("  files of {}{} samples, {}{}\n", fewest < most ? count(fewest) + " to " : "", count(most),
             smallest < largest ? human_bytes(smallest) + " to " : "", human_bytes(largest));
}

/// How many samples each class has; the field's numbers are `ids`.
void print_classes(const Dataset& dataset, const Field& label, const std::map<int64_t, int64_t>& counts) {
  constexpr size_t kMostShown = 30, kMostName = 24;
  const std::vector<std::string>& names = dataset.class_names();
  const auto name_of_class = [&](int64_t id) {
    const bool is_named = id >= 0 && id < static_cast<int64_t>(names.size());
    std::string name = is_named ? printable(names[static_cast<size_t>(id)]) : std::to_string(id);
    return name.size() > kMostName ? name.substr(0, kMostName - 1) + "~" : name;
  };
  int64_t least = INT64_MAX, most = 0;
  size_t width = 5;
  for (const auto& [id, n] : counts) {
    least = std::min(least, n), most = std::max(most, n);
    width = std::max(width, name_of_class(id).size());
  }
  fmt::print("  {} classes in '{}': {}{} samples each\n", counts.size(), printable(label.name),
             least < most ? grouped(static_cast<double>(least)) + " to " : "",
             grouped(static_cast<double>(most)));
  size_t n_shown = 0;
  for (const auto& [id, n] : counts) {
    if (++n_shown > kMostShown) break;
    fmt::print("    {:{}} {:>11}  {}\n", name_of_class(id), width, grouped(static_cast<double>(n)),
               text_bar(n, most, 40));
  }
  if (counts.size() > kMostShown) fmt::print("    … and {} more\n", counts.size() - kMostShown);
  std::string absent;
  for (size_t id = 0; id < names.size(); ++id)
    if (!counts.contains(static_cast<int64_t>(id)))
      absent += (absent.empty() ? "" : ", ") + name_of_class(static_cast<int64_t>(id));
  if (!absent.empty()) fmt::print("    without a sample: {}\n", absent);
}

void print_duplicates(const Field& field, const Duplicates& duplicates) {
  if (duplicates.n == 0) return;
  fmt::print(
      "  {} sample{} equal in '{}' to an earlier one{}, for instance rows {} and {}\n",
      grouped(static_cast<double>(duplicates.n)), duplicates.n == 1 ? " is" : "s are", printable(field.name),
      duplicates.n_other > 0
          ? fmt::format(", {} of them in another class", grouped(static_cast<double>(duplicates.n_other)))
          : "",
      duplicates.first_row, duplicates.second_row);
}

int inspect_dataset(const std::string& path, bool json, bool asks_values, const std::string& sheet) {
  DatasetOptions options;
  options.partial = true;  // to look at what is there
  const Dataset dataset = Dataset::open(path, options);
  std::vector<std::string> fields;
  if (!sheet.empty()) {
    write_contact_sheet(dataset, sheet);
    if (!json) fmt::print("{}: written\n", sheet);
    return 0;
  }
  int64_t n_all_bytes = 0;
  for (const Field& field : dataset.fields()) n_all_bytes += field_bytes(dataset, field);
  const bool looks = asks_values || n_all_bytes <= kLookedAtBytes;
  if (!json) {
    fmt::print("{}: {} samples in {} files, {}\n", path, grouped(static_cast<double>(dataset.n_samples())),
               dataset.shards().size(), human_bytes(n_all_bytes));
    print_shards(dataset);
  }
  const Field* label = find_class_field(dataset);
  for (const Field& field : dataset.fields()) {
    const Dataset::Statistics* statistics = dataset.statistics(field.name);
    JsonObject object;
    object.set("name", field.name)
        .set("dtype", name_of(field.dtype))
        .set_raw("shape", shape_json(field.shape));
    std::string note;
    if (statistics) {
      std::vector<std::string> mean, deviation;
      for (double value : statistics->mean) mean.push_back(json_number(value));
      for (double value : statistics->stddev) deviation.push_back(json_number(value));
      object.set_raw("mean", join_json(mean)).set_raw("stddev", join_json(deviation));
      note = fmt::format("mean {:.4g}, stddev {:.4g}", fmt::join(statistics->mean, " "),
                         fmt::join(statistics->stddev, " "));
      if (statistics->mean.size() > 8)
        note = fmt::format("mean and stddev of {} channels", statistics->mean.size());
    }
    const auto add_note = [&](const std::string& text) { note += (note.empty() ? "" : "; ") + text; };
    if (field.ragged) {
      const Lengths lengths(dataset.row_lengths(field.name));
      object.set("elements", dataset.n_elements(field.name)).set("shortest", lengths.least);
      object.set("median_length", lengths.median).set("longest", lengths.most);
      add_note(
          fmt::format("rows of {} to {} elements, median {}", lengths.least, lengths.most, lengths.median));
    }
    if (const std::vector<std::string>& vocabulary = dataset.vocabulary(field.name); !vocabulary.empty()) {
      object.set("vocabulary", static_cast<int64_t>(vocabulary.size()));
      add_note(fmt::format("vocabulary of {}", grouped(static_cast<double>(vocabulary.size()))));
    }
    if (looks) {
      const FieldValues values = read_field_values(dataset, field);
      object.set("min", values.least).set("max", values.most).set("mean_of_values", values.mean);
      object.set("nan", values.n_nan).set("infinite", values.n_infinite);
      if (values.n_nan + values.n_infinite < values.n)
        add_note(fmt::format("from {:.6g} to {:.6g}", values.least, values.most));
      if (!statistics && &field != label) add_note(fmt::format("mean {:.4g}", values.mean));
      if (values.n_nan > 0) add_note(fmt::format("{} NaN", grouped(static_cast<double>(values.n_nan))));
      if (values.n_infinite > 0)
        add_note(fmt::format("{} infinite", grouped(static_cast<double>(values.n_infinite))));
    }
    fields.push_back(object.str());
    if (!json)
      fmt::print("  {:16} {:10} {:18} {}\n", printable(field.name), name_of(field.dtype),
                 field.ragged ? "ragged " + field.shape.str() : field.shape.str(), note);
  }
  std::vector<int64_t> class_ids;
  std::map<int64_t, int64_t> counts;
  if (label != nullptr) class_ids = read_whole_numbers(dataset, *label);
  for (const int64_t id : class_ids) ++counts[id];
  // Whole numbers all of whose values are rare are targets, not classes.
  const bool has_classes =
      label != nullptr && (!dataset.class_names().empty() || 2 * counts.size() <= class_ids.size());
  const Field* input = nullptr;
  Duplicates duplicates;
  for (const Field& field : dataset.fields())
    if (looks && input == nullptr && !field.ragged && &field != label && field.shape.n_elements() > 1)
      input = &field;
  if (input != nullptr)
    duplicates = find_duplicates(dataset, *input, has_classes ? class_ids : std::vector<int64_t>{});
  if (json) {
    std::vector<std::string> names;
    for (const std::string& name : dataset.class_names()) names.push_back(json_quote(name));
    JsonObject object;
    object.set("kind", "dataset")
        .set("samples", dataset.n_samples())
        .set("shards", static_cast<int64_t>(dataset.shards().size()));
    std::vector<std::string> passed_over;
    for (const Dataset::PassedOver& passed : dataset.passed_over())
      passed_over.push_back(JsonObject().set("name", passed.name).set("reason", passed.reason).str());
    object.set_raw("fields", join_json(fields)).set_raw("class_names", join_json(names));
    object.set_raw("passed_over", join_json(passed_over)).set("bytes", n_all_bytes);
    if (has_classes) {
      JsonObject of_classes;
      for (const auto& [id, n] : counts) of_classes.set(std::to_string(id), n);
      object.set_raw("class_counts", of_classes.str());
    }
    if (input != nullptr)
      object.set("duplicates", duplicates.n).set("duplicates_of_another_class", duplicates.n_other);
    fmt::print("{}\n", object.str());
    return 0;
  }
  if (!dataset.class_names().empty())
    fmt::print("  {} classes: {}\n", dataset.class_names().size(),
               printable(fmt::format("{}", fmt::join(dataset.class_names(), ", "))));
  if (has_classes) print_classes(dataset, *label, counts);
  if (input != nullptr) print_duplicates(*input, duplicates);
  if (!looks) fmt::print("  --values reads all numbers: ranges, NaN, equal samples\n");
  for (const Dataset::PassedOver& passed : dataset.passed_over()) {
    fmt::print("  passed over: {} {}{}\n", passed.name, passed.reason,
               passed.remedy.empty() ? "" : "; " + passed.remedy);
  }
  return 0;
}

int inspect_checkpoint(const std::string& path, bool json) {
  const CheckpointInfo info = read_checkpoint_info(path);
  const std::vector<CheckpointEntry> entries = list_checkpoint(path);
  int64_t n_parameters = 0;
  std::vector<std::string> tensors;
  for (const CheckpointEntry& entry : entries) {
    if (entry.name.starts_with("/parameters/")) n_parameters += entry.shape.n_elements();
    JsonObject object;
    object.set("name", entry.name)
        .set("dtype", name_of(entry.dtype))
        .set_raw("shape", shape_json(entry.shape));
    object.set("checksum", fmt::format("{:016x}", entry.checksum));
    tensors.push_back(object.str());
  }
  if (json) {
    JsonObject object;
    object.set("kind", "checkpoint")
        .set("step", info.step)
        .set("epoch", info.epoch)
        .set("step_in_epoch", info.step_in_epoch);
    object.set("seed", static_cast<int64_t>(info.seed)).set("parameters", n_parameters);
    for (const auto& [key, value] : info.numbers) object.set(key, value);
    JsonObject versions;
    for (const Version& version : read_versions(info)) versions.set(version.name, version.value);
    object.set_raw("computed_with", versions.str());
    object.set_raw("tensors", join_json(tensors)).set("job", info.job);
    fmt::print("{}\n", object.str());
    return 0;
  }
  fmt::print("{}: step {}, epoch {} + {} steps, seed {}, {} parameters\n", path, info.step, info.epoch,
             info.step_in_epoch, info.seed, grouped(static_cast<double>(n_parameters)));
  for (const auto& [key, value] : info.numbers) fmt::print("  {:36} {}\n", printable(key), value);
  for (const Version& version : read_versions(info))
    fmt::print("  {:36} {}\n", "computed with " + shown(version.name), shown(version.value));
  for (const CheckpointEntry& entry : entries) {
    fmt::print("  {:36} {:10} {:20} {:016x}\n", printable(entry.name), name_of(entry.dtype),
               entry.shape.str(), entry.checksum);
  }
  fmt::print("\n{}", printable_lines(info.job));
  return 0;
}

}  // namespace

static int inspect_command(const Words& words) {
  CommandLine line("inspect PATH [--json]",
                   "Shows a job file (layers, shapes, parameters, plan), a dataset or a checkpoint.",
                   {"PATH"});
  line.add()("json", "print one JSON object")(
      "values", "of a dataset above 256 MiB, too: the range of all numbers, NaN, equal samples")(
      "sheet", po::value<std::string>(),
      "FILE.html or FILE.png: instead, draw a dataset's images class by class")(
      "set", po::value<Words>()->composing(), "KEY=VALUE: change a key of the job file")(
      "augmented", po::value<std::string>(),
      "OUT.png: instead, draw samples of a job's data as training would see them")(
      "overwrite", "replace the file that is drawn");
  if (!line.parse(words)) return 0;
  const std::string path = line.get<std::string>("PATH");
  const bool json = line.has("json");
  const Words assignments = line.has("set") ? line.get<Words>("set") : Words{};
  if (line.has("augmented")) {
    if (path_kind(path) != PathKind::kJob)
      throw UsageError("--augmented is for job files", "name a job file whose data.augment is to be seen");
    check_output_file(line.text("augmented"), line.has("overwrite"), {path});
    write_augmented_sheet(read_job(read_job_file(path, assignments)), line.get<std::string>("augmented"));
    return 0;
  }
  if (line.has("sheet")) {
    if (path_kind(path) != PathKind::kDataset)
      throw UsageError("--sheet is for datasets", "name a dataset of images; for jobs there is --augmented");
    check_output_file(line.text("sheet"), line.has("overwrite"), {path});
  }
  switch (path_kind(path)) {
    case PathKind::kJob: return inspect_job(path, assignments, json);
    case PathKind::kCheckpoint: return inspect_checkpoint(path, json);
    case PathKind::kRunFolder: {
      const std::vector<std::string> checkpoints = list_checkpoints(path + "/checkpoints");
      if (checkpoints.empty()) throw Error(path, "the run folder holds no checkpoints yet", "train first");
      return inspect_checkpoint(checkpoints.back(), json);
    }
    case PathKind::kDataset: return inspect_dataset(path, json, line.has("values"), line.text("sheet"));
  }
  return 0;
}

namespace {
const bool inspect_registered = commands().add(
    "inspect", {.summary = "show a job, a dataset or a checkpoint", .run = inspect_command}, 7);
}

}  // namespace lockstep
