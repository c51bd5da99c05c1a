#include "src/job/data.h"

#include <fmt/format.h>

#include <algorithm>

#include "io/checkpoint/checkpoint.h"
#include "src/job/class_names.h"
#include "src/network/loss_place.h"
#include "src/network/model.h"

namespace lockstep {

namespace {

/// Datasets up to this size are compared with their checksums without being asked: below a second from
/// memory, and they are read whole anyway.
constexpr int64_t kVerifiedByItself_bytes = int64_t{1} << 30;

std::string field_list(const Dataset& dataset) {
  std::string text;
  for (const Field& field : dataset.fields()) {
    text += fmt::format("{}{} {} {}", text.empty() ? "" : ", ", field.name, name_of(field.dtype),
                        field.shape.str());
  }
  return text;
}

std::string find_by_name(const Dataset& dataset, const std::vector<std::string>& names) {
  for (const std::string& name : names) {
    for (const Field& field : dataset.fields()) {
      if (field.name == name) return name;
    }
  }
  // One of these that does not fit is what is meant; asking for it says why it does not.
  for (const std::string& name : names) {
    for (const Dataset::PassedOver& passed : dataset.passed_over()) {
      if (passed.name == name) return name;
    }
  }
  return "";
}

/// The input of the graph that is augmented; -1: none is.
int augmented_input(const Job& job, const Graph& graph) {
  if (job.augment.empty()) return -1;
  if (job.augment.input.empty()) return graph.inputs()[0];
  const int vertex = graph.find(job.augment.input);
  if (vertex < 0 || graph.vertex(vertex).layer)
    throw Error("data.augment_input", "the model has no input '" + job.augment.input + "'",
                "name one of model.inputs");
  return vertex;
}

/// The field that an input of the graph reads.
const Field& field_of_input(const Dataset& dataset, const DataFields& fields, const Graph& graph,
                            int vertex) {
  const std::string& input = graph.vertex(vertex).name;
  const auto named = fields.inputs.find(input);
  if (named == fields.inputs.end() && graph.inputs().size() > 1) {
    throw Error(dataset.path(), fmt::format("no field is named for the model's input '{}'", input),
                fmt::format("add data: {{train: {{inputs: {{{}: FIELD}}}}}}; fields: {}", input,
                            field_list(dataset)));
  }
  return dataset.field(named == fields.inputs.end() ? fields.input : named->second);
}

}  // namespace

namespace {

/// Samples (H, W, C) look so: few channels last, and more rows of pixels than that first.
bool looks_channels_last(const Shape& shape) {
  if (shape.rank() != 3) return false;
  const int64_t last = shape[2];
  return (last == 1 || last == 3 || last == 4) && shape[0] > 4 && shape[1] > 4;
}

/// A field whose dimensions probably mean something else than the network would take them for.
void check_layout(const Dataset& dataset, const std::string& name) {
  const Dataset::Traits& traits = dataset.traits(name);
  if (!traits.layout.empty()) return;
  const Shape& shape = dataset.field(name).shape;
  if (traits.from_matlab)
    throw Error(
        dataset.path(),
        fmt::format(
            "field {} was written by MATLAB, which stores dimensions in reverse order; here one of its "
            "samples is {}",
            name, shape.str()),
        "in MATLAB, put samples last and save tables as features x samples, images as width x height x "
        "channels x samples; then say layout: NCHW beside the path in the job");
  if (looks_channels_last(shape))
    throw Error(
        dataset.path(),
        fmt::format("samples {} of field {} look like images with the channels last, and would be read as {} "
                    "channels of {}x{}",
                    shape.str(), name, shape[0], shape[1], shape[2]),
        "say layout: NHWC beside the path in the job (data: {train: {path: …, layout: NHWC}}), or layout: "
        "NCHW "
        "if they are right as they are");
}

}  // namespace

std::vector<std::string> named_targets(const Job& job) {
  // What the network is given may be a target too (autoencoders); that is no further field.
  std::vector<std::string> inputs{"input"}, names;
  if (job.model && job.model->has("inputs")) inputs = job.model->at("inputs").keys();
  for (const LossSpec& loss : job.losses()) {
    const bool is_input = std::find(inputs.begin(), inputs.end(), loss.target) != inputs.end();
    if (!loss.target.empty() && !is_input) names.push_back(loss.target);
  }
  return names;
}

DataSource source_at(DataSource source, const std::string& path) {
  const auto there = [&](std::string& name) {
    if (const auto place = source.places.find(name); place != source.places.end()) name = place->second.field;
  };
  there(source.input);
  there(source.target);
  for (auto& [input, field] : source.inputs) there(field);
  source.places.clear();
  source.path = path;
  return source;
}

Dataset open_source(const DataSource& source, const std::vector<std::string>& further_fields,
                    bool wants_target) {
  DatasetOptions options{{}, true, source.layout, source.external_storage, source.partial};
  std::vector<std::string> names;
  if (!source.input.empty()) names.push_back(source.input);
  for (const auto& [input, field] : source.inputs) names.push_back(field);
  const bool has_input = !names.empty();
  if (wants_target && !source.target.empty()) names.push_back(source.target);
  std::vector<Dataset::Part> parts;
  for (const std::string& name : names) {
    const auto place = source.places.find(name);
    if (place == source.places.end()) {
      options.fields.push_back(name);
      continue;
    }
    options.with_others = false;
    const DatasetOptions one{
        {place->second.field}, false, source.layout, source.external_storage, source.partial};
    parts.push_back(
        {name, place->second.field, std::make_shared<const Dataset>(Dataset::open(place->second.path, one))});
  }
  if (!parts.empty()) {
    if (!options.fields.empty() && source.path.empty())
      throw Error("data", "field " + options.fields.front() + " has no path",
                  "give it one: {path: FILE, field: NAME}");
    if (!source.path.empty()) {
      options.fields.insert(options.fields.end(), further_fields.begin(), further_fields.end());
      options.with_others = options.fields.empty();
      const auto own = std::make_shared<const Dataset>(Dataset::open(source.path, options));
      for (const Field& field : own->fields()) parts.push_back({field.name, field.name, own});
    }
    return Dataset::join(std::move(parts));
  }
  for (const std::string& name : further_fields)
    if (std::find(options.fields.begin(), options.fields.end(), name) == options.fields.end())
      options.fields.push_back(name);
  // What is not named is looked for among all; the input is what counts the samples.
  options.with_others = !has_input || (wants_target && source.target.empty());
  if (!has_input) options.fields.clear();
  return Dataset::open(source.path, options);
}

DataFields find_fields(const Dataset& dataset, const DataSource& source) {
  DataFields fields{source.input, source.target, source.inputs};
  for (const auto& [input, field] : fields.inputs) dataset.field(field);
  if (!fields.inputs.empty()) fields.input = fields.inputs.begin()->second;
  if (fields.input.empty())
    fields.input = find_by_name(dataset, {"image", "images", "input", "data", "x", "X"});
  if (fields.target.empty())
    fields.target = find_by_name(dataset, {"label", "labels", "target", "targets", "y"});
  if (fields.input.empty()) {
    throw Error(dataset.path(), "cannot tell which field is the input (" + field_list(dataset) + ")",
                "name it in the job file: data.train.input");
  }
  dataset.field(fields.input);
  if (!fields.target.empty()) dataset.field(fields.target);
  check_layout(dataset, fields.input);
  for (const auto& [input, field] : fields.inputs) check_layout(dataset, field);
  if (!fields.target.empty()) check_layout(dataset, fields.target);
  return fields;
}

DataContract make_contract(const Dataset& data, const DataFields& fields, const Job& job) {
  DataContract contract;
  const Field& input = data.field(fields.input);
  contract.input = input.shape;
  contract.class_names = data.class_names();
  check_distinct(data.path(), contract.class_names);
  contract.n_classes = static_cast<int64_t>(contract.class_names.size());

  const Dataset::Statistics* statistics = data.statistics(fields.input);
  Job::Normalize mode = job.normalize;
  if (mode == Job::Normalize::kAuto) {
    mode = statistics                     ? Job::Normalize::kStandardize
           : input.dtype == DType::kUInt8 ? Job::Normalize::kUnit
                                          : Job::Normalize::kNone;
  }
  if (mode == Job::Normalize::kUnit) contract.normalization = {{0.0f}, {255.0f}};
  if (mode == Job::Normalize::kMean || mode == Job::Normalize::kStandardize) {
    if (statistics == nullptr) {
      throw Error("data.normalize",
                  fmt::format("{} carries no mean and stddev for '{}'", data.path(), fields.input),
                  "convert the data with `lockstep convert`, or set data.normalize to none or unit");
    }
    for (size_t c = 0; c < statistics->mean.size(); ++c) {
      const double deviation = statistics->stddev[c];
      contract.normalization.mean.push_back(static_cast<float>(statistics->mean[c]));
      // A constant channel has no scale of its own.
      const bool scaled = mode == Job::Normalize::kStandardize && deviation > 0;
      contract.normalization.stddev.push_back(scaled ? static_cast<float>(deviation) : 1.0f);
    }
  }
  return contract;
}

JobData open_data(const Job& job) {
  if (!job.train)
    throw Error("job " + job.name, "there is no data to train on", "add data: {train: {path: FOLDER}}");
  JobData data;
  data.train = std::make_unique<Dataset>(open_source(*job.train, named_targets(job)));
  data.train_fields = find_fields(*data.train, *job.train);
  data.contract = make_contract(*data.train, data.train_fields, job);
  if (job.validation) {
    DataSource source = *job.validation;
    if (source.input.empty()) source.input = data.train_fields.input;
    if (source.target.empty()) source.target = data.train_fields.target;
    if (source.inputs.empty()) source.inputs = data.train_fields.inputs;
    if (source.layout.empty()) source.layout = job.train->layout;
    data.validation = std::make_unique<Dataset>(open_source(source, named_targets(job)));
    data.validation_fields = find_fields(*data.validation, source);
    check_class_names(source.path, data.validation->class_names(), data.contract.class_names);
  }
  return data;
}

void verify_data(const Job& job, const JobData& data, int rank, int size) {
  if (job.verify_data == Job::VerifyData::kNever) return;
  for (const Dataset* dataset : {data.train.get(), data.validation.get()}) {
    if (dataset == nullptr) continue;
    int64_t row_bytes = 0;
    for (const Field& field : dataset->fields()) row_bytes += field.shape.n_elements() * size_of(field.dtype);
    const int64_t n_bytes = dataset->n_samples() * row_bytes;
    if (job.verify_data == Job::VerifyData::kAuto && n_bytes > kVerifiedByItself_bytes) continue;
    int64_t n_checked = 0, n_unchecked = 0;
    const std::vector<std::string> problems = dataset->verify(&n_checked, &n_unchecked, rank, size);
    if (!problems.empty())
      throw Error("data.verify", problems.front(), "copy the file again or convert the data again");
  }
}

namespace {

/// Parameters become datasets of checkpoints, by their names.
void check_names(const Graph& graph) {
  std::vector<std::string> names;
  for (int v = 0; v < graph.size(); ++v) {
    for (const ParameterSpec& spec : graph.parameters(v))
      names.push_back("/parameters/" + graph.vertex(v).name + "." + spec.name);
  }
  try {
    check_tensor_names(names);
  } catch (const Error& error) {
    throw Error("model", error.reason(), error.remedy());
  }
}

}  // namespace

Graph build_graph(const Job& job, const DataContract& contract) {
  const Shape input = contract.input.rank() > 0 ? job.augment.output(contract.input) : contract.input;
  Graph graph = build_model(*job.model, {input, contract.n_classes});
  check_all_read(graph, job.losses());
  check_names(graph);
  return graph;
}

std::shared_ptr<const Augmentation> make_augmentation(const Job& job, const Dataset& dataset,
                                                      const DataFields& fields, const Graph& graph,
                                                      const Normalization& normalization) {
  if (job.augment.empty()) return nullptr;
  Augmentation::Source source;
  source.vertex = augmented_input(job, graph);
  const bool is_first = source.vertex == graph.inputs()[0];
  const Field& stored = field_of_input(dataset, fields, graph, source.vertex);
  source.shape = stored.shape;
  source.dtype = stored.dtype == DType::kUInt8 ? DType::kUInt8 : DType::kFloat32;
  source.network = graph.vertex(source.vertex).shape;
  if (is_first) source.mean = normalization.mean, source.stddev = normalization.stddev;
  const bool moves = std::any_of(job.augment.steps.begin(), job.augment.steps.end(),
                                 [](const AugmentStep& step) { return step.moves_pixels; });
  for (const LossSpec& loss : job.losses()) {
    const int target = loss_target_input(graph, loss);
    if (target == source.vertex) source.keeps_float32 = true;
    if (target >= 0 || !moves) continue;
    const Shape shape = loss.target_shape(graph.vertex(loss_vertex(graph, loss)).shape);
    if (shape.rank() > 1)
      throw Error("data.augment",
                  fmt::format("targets of shape {} would have to move with the images", shape.str()),
                  "keep to steps that change colours, or store moved images and targets");
  }
  return std::make_shared<Augmentation>(job.augment, std::move(source));
}

LoaderOptions make_loader_options(const Job& job, const Dataset& dataset, const DataFields& fields,
                                  const Graph& graph, bool with_targets, const Normalization& normalization,
                                  int rank, int size, const Augmentation* augmentation) {
  LoaderOptions options;
  const std::vector<int> inputs = graph.inputs();
  for (int v : inputs) {
    const Vertex& input = graph.vertex(v);
    const Field& stored = field_of_input(dataset, fields, graph, v);
    const std::string& name = stored.name;
    if (augmentation && augmentation->source().vertex == v) {
      options.fields.push_back({name, augmentation->source().dtype, stored.shape, {}, {}, 0});
      continue;
    }
    // Where training sees crops of a size, evaluation sees the middle.
    const Shape read = v == augmented_input(job, graph) ? job.augment.output(stored.shape) : stored.shape;
    if (read.n_elements() != input.shape.n_elements()) {
      throw Error(dataset.path(),
                  fmt::format("samples of '{}' have shape {}, the network reads {}", name, stored.shape.str(),
                              input.shape.str()),
                  "use data of the same kind, or change the model's input");
    }
    const bool normalizes = v == inputs[0];
    options.fields.push_back(
        {name, DType::kFloat32, input.shape, normalizes ? normalization.mean : std::vector<float>{},
         normalizes ? normalization.stddev : std::vector<float>{}, 0, read == stored.shape ? Shape{} : read});
  }
  for (const LossSpec& loss : job.losses()) {
    if (!with_targets || loss_target_input(graph, loss) >= 0) continue;
    const std::string name = loss.target.empty() ? fields.target : loss.target;
    if (name.empty()) {
      throw Error(dataset.path(), "cannot tell which field is the target (" + field_list(dataset) + ")",
                  "name it in the job file: data.train.target");
    }
    const Shape prediction = graph.vertex(loss_vertex(graph, loss)).shape;
    const Shape target = loss.target_shape(prediction);
    const int64_t n_classes = loss.n_classes(prediction);
    const Field& stored = dataset.field(name);
    if (stored.shape.n_elements() != target.n_elements()) {
      throw Error(
          dataset.path(),
          fmt::format("samples of '{}' have shape {}, the network's output needs {}", name,
                      stored.shape.str(), target.str()),
          n_classes > 1 && target.n_elements() == 1 && stored.shape.n_elements() == n_classes
              ? "this loss takes class numbers: store labels.argmax(axis=1), or name another target field"
              : "change the number of outputs of the model's last layer, or name another target field");
    }
    // A label that counts nothing may lie outside the classes; then the loader cannot check them.
    const std::optional<int64_t> ignored = loss.rule->ignored();
    const bool checks = !ignored || (*ignored >= 0 && *ignored < n_classes);
    options.fields.push_back({name, loss.target_dtype(), target, {}, {}, checks ? n_classes : 0});
  }
  options.global_batch = job.global_batch;
  options.micro_batch = job.micro_batch;
  options.n_micro = job.n_micro() / size;
  options.first_micro = rank * options.n_micro;
  options.seed = job.seed;
  options.shuffle = job.shuffle;
  options.prefetch = job.prefetch;
  options.prefetch_limit_bytes = job.prefetch_bytes;
  options.threads = job.data_threads;
  options.device = job.device;
  options.cache_limit_bytes = job.cache_bytes;
  return options;
}

}  // namespace lockstep
