#include "src/data/data.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "io/checkpoint/checkpoint.h"
#include "src/data/class_names.h"
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
int augmented_input(const DataOptions& job, const Graph& graph) {
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
  int n_named = 0;  // inputs with names of their own
  for (const int v : graph.inputs()) n_named += graph.vertex(v).lengths_of < 0;
  if (named == fields.inputs.end() && n_named > 1) {
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

bool has_field(const Dataset& dataset, const std::string& name) {
  return std::any_of(dataset.fields().begin(), dataset.fields().end(),
                     [&](const Field& field) { return field.name == name; });
}

const std::vector<std::string> kInputNames{"image", "images", "input", "data", "x", "X", "tokens", "series"};

/// A stream's window as samples of the dataset.
Dataset cut_into_windows(Dataset dataset, const DataSource& source) {
  const std::string name = source.input.empty() ? find_by_name(dataset, kInputNames) : source.input;
  if (name.empty())
    throw Error(dataset.path(), "cannot tell which field is the stream (" + field_list(dataset) + ")",
                "name it in the job file: data.train.input");
  const DataSource::Window& window = source.window;
  return Dataset::windows(std::make_shared<const Dataset>(std::move(dataset)), name,
                          {window.length, window.stride, window.horizon});
}

/// Whether a window's target is each step's next one.
bool is_next(const DataSource::Window& window, const Field& field) {
  if (window.target != DataSource::Window::Target::kAuto)
    return window.target == DataSource::Window::Target::kNext;
  return field.dtype != DType::kFloat32 && field.shape.rank() == 1;
}

/// What is left of a row (T, …); of ragged ones, of the longest.
Shape delivered(const Field& field, const DataFields::Cut& cut, int64_t longest = 0) {
  Shape shape = field.ragged ? field.shape.with_front(std::max<int64_t>(1, longest)) : field.shape;
  if (shape.rank() > 0) shape[0] = std::max<int64_t>(1, shape[0] - cut.drop_first - cut.drop_last);
  return shape;
}

int64_t longest_row(const Dataset& data, const std::string& field, int64_t max_length) {
  const int64_t longest = data.row_spans(field).longest();
  return max_length > 0 ? std::min(longest, max_length) : longest;
}

}  // namespace

std::vector<std::string> named_targets(const DataOptions& job) {
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
  Dataset dataset = Dataset::open(source.path, options);
  return source.window.length > 0 ? cut_into_windows(std::move(dataset), source) : std::move(dataset);
}

DataFields find_fields(const Dataset& dataset, const DataSource& source) {
  DataFields fields{source.input, source.target, source.inputs};
  for (const auto& [input, field] : fields.inputs) dataset.field(field);
  if (!fields.inputs.empty()) fields.input = fields.inputs.begin()->second;
  if (fields.input.empty()) fields.input = find_by_name(dataset, kInputNames);
  if (source.window.length > 0) {
    fields.target = fields.input;
    const int64_t horizon = source.window.horizon;
    fields.input_cut.drop_last = horizon;
    fields.target_cut.drop_first =
        is_next(source.window, dataset.field(fields.input)) ? horizon : source.window.length;
  }
  if (fields.target.empty())
    fields.target = find_by_name(dataset, {"label", "labels", "target", "targets", "y"});
  if (fields.inputs.empty() && source.input.empty() && has_field(dataset, "source") &&
      has_field(dataset, "target")) {  // pairs of sequences, as a converter writes them
    fields.inputs = {{"source", "source"}, {"previous", "target"}};
    fields.input = "source";
    fields.target = "target";
  }
  if (fields.input.empty()) {
    throw Error(dataset.path(), "cannot tell which field is the input (" + field_list(dataset) + ")",
                "name it in the job file: data.train.input");
  }
  dataset.field(fields.input);
  if (!fields.target.empty()) dataset.field(fields.target);
  // A sequence that is input and target: at each step the next one is asked for.
  for (const auto& [input, field] : fields.inputs) {
    if (field != fields.target || !dataset.field(field).ragged) continue;
    fields.input_cut.drop_last = 1;
    fields.target_cut.drop_first = 1;
  }
  check_layout(dataset, fields.input);
  for (const auto& [input, field] : fields.inputs) check_layout(dataset, field);
  if (!fields.target.empty()) check_layout(dataset, fields.target);
  return fields;
}

namespace {

/// The graph's inputs and their fields; a single one is called "input".
std::map<std::string, std::string> named_inputs(const DataFields& fields) {
  if (!fields.inputs.empty()) return fields.inputs;
  return {{"input", fields.input}};
}

}  // namespace

void check_vocabularies(const Dataset& data, const DataFields& fields, const DataContract& contract) {
  const auto check = [&](const std::string& name, const std::string& field) {
    const auto trained = contract.vocabularies.find(name);
    if (trained == contract.vocabularies.end() || data.vocabulary(field).empty() ||
        data.vocabulary(field) == trained->second)
      return;
    throw Error(data.path(),
                fmt::format("the vocabulary of {} is another than that of training ({} tokens, not {})",
                            field, data.vocabulary(field).size(), trained->second.size()),
                "convert it with --vocabulary-from and the training data");
  };
  for (const auto& [name, field] : named_inputs(fields)) check(name, field);
  if (!fields.target.empty()) check("", fields.target);
}

DataContract make_contract(const Dataset& data, const DataFields& fields, const DataOptions& job) {
  DataContract contract;
  const Field& input = data.field(fields.input);
  const int64_t max_length = job.train ? job.train->max_length : 0;
  for (const auto& [name, field] : named_inputs(fields)) {
    contract.inputs[name] =
        delivered(data.field(field), fields.cut(field), longest_row(data, field, max_length));
    if (data.field(field).ragged) contract.ragged.insert(name);
  }
  if (!fields.target.empty() && data.field(fields.target).ragged) contract.ragged.insert("");
  contract.input = delivered(input, fields.cut(fields.input), longest_row(data, fields.input, max_length));
  contract.class_names = data.class_names();
  check_distinct(data.path(), contract.class_names);
  contract.n_classes = static_cast<int64_t>(contract.class_names.size());
  for (const auto& [name, field] : named_inputs(fields)) {
    if (!data.vocabulary(field).empty()) contract.vocabularies[name] = data.vocabulary(field);
  }
  if (!fields.target.empty() && !data.vocabulary(fields.target).empty()) {
    contract.vocabularies[""] = data.vocabulary(fields.target);
    contract.n_classes = static_cast<int64_t>(contract.vocabularies[""].size());
  }

  const Dataset::Statistics* statistics = data.statistics(fields.input);
  DataOptions::Normalize mode = job.normalize;
  if (mode == DataOptions::Normalize::kAuto) {
    mode = statistics                     ? DataOptions::Normalize::kStandardize
           : input.dtype == DType::kUInt8 ? DataOptions::Normalize::kUnit
                                          : DataOptions::Normalize::kNone;
  }
  if (mode == DataOptions::Normalize::kUnit) contract.normalization = {{0.0f}, {255.0f}};
  if (mode == DataOptions::Normalize::kMean || mode == DataOptions::Normalize::kStandardize) {
    if (statistics == nullptr) {
      throw Error("data.normalize",
                  fmt::format("{} carries no mean and stddev for '{}'", data.path(), fields.input),
                  "convert the data with `lockstep convert`, or set data.normalize to none or unit");
    }
    for (size_t c = 0; c < statistics->mean.size(); ++c) {
      const double deviation = statistics->stddev[c];
      contract.normalization.mean.push_back(static_cast<float>(statistics->mean[c]));
      // A constant channel has no scale of its own.
      const bool scaled = mode == DataOptions::Normalize::kStandardize && deviation > 0;
      contract.normalization.stddev.push_back(scaled ? static_cast<float>(deviation) : 1.0f);
    }
  }
  return contract;
}

JobData open_data(const DataOptions& job) {
  if (!job.train) throw Error("data", "there is no data to train on", "add data: {train: {path: FOLDER}}");
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
    if (source.window.length == 0) source.window = job.train->window;
    if (source.max_length == 0) source.max_length = job.train->max_length;
    data.validation = std::make_unique<Dataset>(open_source(source, named_targets(job)));
    data.validation_fields = find_fields(*data.validation, source);
    check_class_names(source.path, data.validation->class_names(), data.contract.class_names);
    check_vocabularies(*data.validation, data.validation_fields, data.contract);
  }
  return data;
}

void verify_data(const DataOptions& job, const JobData& data, int rank, int size) {
  if (job.verify_data == DataOptions::VerifyData::kNever) return;
  for (const Dataset* dataset : {data.train.get(), data.validation.get()}) {
    if (dataset == nullptr) continue;
    int64_t row_bytes = 0;
    for (const Field& field : dataset->fields()) row_bytes += field.shape.n_elements() * size_of(field.dtype);
    const int64_t n_bytes = dataset->n_samples() * row_bytes;
    if (job.verify_data == DataOptions::VerifyData::kAuto && n_bytes > kVerifiedByItself_bytes) continue;
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
      names.push_back("/parameters/" + graph.vertex(v).parameters_name + "." + spec.name);
  }
  try {
    check_tensor_names(names);
  } catch (const Error& error) {
    throw Error("model", error.reason(), error.remedy());
  }
}

}  // namespace

Graph build_graph(const DataOptions& job, const DataContract& contract, const SequenceOptions& sequences) {
  ModelContext context;
  context.input = contract.input.rank() > 0 ? job.augment.output(contract.input) : contract.input;
  context.n_classes = contract.n_classes;
  context.inputs = contract.inputs;
  context.ragged = contract.ragged;
  context.steps = sequences.steps;
  context.carries_states = sequences.carries_states;
  for (const auto& [name, tokens] : contract.vocabularies)
    context.vocabularies[name] = static_cast<int64_t>(tokens.size());
  Graph graph = build_model(*job.model, context);
  check_all_read(graph, job.losses());
  check_names(graph);
  return graph;
}

std::shared_ptr<const Augmentation> make_augmentation(const DataOptions& job, const Dataset& dataset,
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

namespace {

/// Of an input that is a sequence, or its lengths.
LoaderField sequence_field(const Dataset& dataset, const Field& stored, const Vertex& input,
                           const DataFields::Cut& cut, const DataOptions& job) {
  LoaderField field;
  field.name = stored.name;
  field.dtype = input.dtype;
  field.n_classes = input.n_ids;
  field.drop_first = cut.drop_first;
  field.drop_last = cut.drop_last;
  field.max_length = job.train ? job.train->max_length : 0;
  field.lengths_only = input.lengths_of >= 0;
  if (field.lengths_only) return field;
  field.shape = stored.ragged ? stored.shape : input.shape;
  const Shape read = delivered(stored, cut, input.shape.rank() > 0 ? input.shape[0] : 1);
  if (stored.ragged ? read.without_front() != input.shape.without_front()
                    : read.n_elements() != input.shape.n_elements())
    throw Error(dataset.path(),
                fmt::format("samples of '{}' have shape {}, the network reads {}", stored.name, read.str(),
                            input.shape.str()),
                "use data of the same kind, or change the model's input");
  return field;
}

/// What stands behind the ends of targets of unequal lengths: what the loss leaves out.
int64_t target_padding(const LossSpec& loss, const Dataset& dataset, const std::string& name) {
  if (const std::optional<int64_t> ignored = loss.rule->ignored()) return *ignored;
  throw Error(
      dataset.path(),
      fmt::format("rows of the target '{}' have unequal lengths, and the loss {} would count what fills "
                  "them up",
                  name, loss.name),
      "use token_cross_entropy, or softmax_cross_entropy with ignore: -1");
}

Order order_of(const DataOptions& job, const Dataset& dataset, const std::vector<LoaderField>& fields,
               const Graph& graph) {
  const bool carries = !graph.states().empty();
  const bool has_lengths = std::any_of(fields.begin(), fields.end(), [&](const LoaderField& field) {
    return dataset.field(field.name).ragged;
  });
  using Wanted = DataOptions::Order;
  if (carries && job.order != Wanted::kAuto && job.order != Wanted::kStreams)
    throw Error("data.order",
                "the model carries its state from step to step, and samples do not follow one another",
                "set data.order: streams, or leave state: carried out of the model");
  if (job.order == Wanted::kByLength && !has_lengths)
    throw Error("data.order", "no field has rows of unequal lengths to order by",
                "leave data.order out, or name data with NAME_offsets");
  if (carries || job.order == Wanted::kStreams) return Order::kStreams;
  if (job.order == Wanted::kByLength) return Order::kByLength;
  return job.order == Wanted::kAuto && has_lengths && job.shuffle.is_on ? Order::kByLength : Order::kShuffled;
}

}  // namespace

std::vector<Graph> sequence_graphs(const DataOptions& job, const DataContract& contract, const Graph& graph,
                                   const Dataset& dataset, const LoaderOptions& loading) {
  std::vector<Graph> graphs;
  const bool has_lengths = std::any_of(loading.fields.begin(), loading.fields.end(),
                                       [&](const auto& field) { return dataset.field(field.name).ragged; });
  if (!has_lengths) return graphs;
  const LengthBuckets buckets(dataset, loading.fields, loading.order == Order::kByLength);
  const std::vector<int> inputs = graph.inputs();
  for (const std::vector<int64_t>& extents : buckets.extents()) {
    SequenceOptions sequences;
    for (size_t i = 0; i < inputs.size(); ++i) {
      if (extents[i] > 0 && !loading.fields[i].lengths_only)
        sequences.steps[graph.vertex(inputs[i]).name] = extents[i];
    }
    graphs.push_back(build_graph(job, contract, sequences));
    size_t target = inputs.size();
    for (const LossSpec& loss : job.losses()) {
      if (loss_target_input(graph, loss) >= 0 || target >= loading.fields.size()) continue;
      const Shape prediction = graphs.back().vertex(loss_vertex(graphs.back(), loss)).shape;
      const Shape wanted = loss.target_shape(prediction);
      const int64_t length = extents[target];
      if (length > 0 && (wanted.rank() < 1 || wanted[0] != length))
        throw Error(dataset.path(),
                    fmt::format("rows of the target '{}' have up to {} steps where the network gives {}",
                                loading.fields[target].name, length, wanted.rank() < 1 ? 1 : wanted[0]),
                    "let the targets be as long as the sequence that the output follows");
      ++target;
    }
  }
  return graphs;
}

LoaderOptions make_loader_options(const DataOptions& job, const Dataset& dataset, const DataFields& fields,
                                  const Graph& graph, bool with_targets, const Normalization& normalization,
                                  int rank, int size, const Augmentation* augmentation) {
  LoaderOptions options;
  const std::vector<int> inputs = graph.inputs();
  for (int v : inputs) {
    const Vertex& input = graph.vertex(v);
    const Field& stored =
        field_of_input(dataset, fields, graph, input.lengths_of >= 0 ? input.lengths_of : v);
    const std::string& name = stored.name;
    if (augmentation && augmentation->source().vertex == v) {
      options.fields.push_back({name, augmentation->source().dtype, stored.shape, {}, {}, 0});
      continue;
    }
    // Where training sees crops of a size, evaluation sees the middle.
    const Shape read = v == augmented_input(job, graph) ? job.augment.output(stored.shape) : stored.shape;
    const DataFields::Cut cut = fields.cut(name);
    if (input.dtype == DType::kInt32 || stored.ragged) {
      options.fields.push_back(sequence_field(dataset, stored, input, cut, job));
      continue;
    }
    if (delivered({name, stored.dtype, read}, cut).n_elements() != input.shape.n_elements()) {
      throw Error(dataset.path(),
                  fmt::format("samples of '{}' have shape {}, the network reads {}", name, stored.shape.str(),
                              input.shape.str()),
                  "use data of the same kind, or change the model's input");
    }
    const bool normalizes = v == inputs[0];
    options.fields.push_back(
        {name, DType::kFloat32, input.shape, normalizes ? normalization.mean : std::vector<float>{},
         normalizes ? normalization.stddev : std::vector<float>{}, 0, read == stored.shape ? Shape{} : read});
    options.fields.back().drop_first = cut.drop_first;
    options.fields.back().drop_last = cut.drop_last;
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
    const DataFields::Cut cut = name == fields.target ? fields.target_cut : DataFields::Cut{};
    if (!stored.ragged && delivered(stored, cut).n_elements() != target.n_elements()) {
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
    const bool checks = !ignored || (*ignored >= 0 && *ignored < n_classes) || loss.rule->is_of_tokens();
    options.fields.push_back({name, loss.target_dtype(), target, {}, {}, checks ? n_classes : 0});
    LoaderField& field = options.fields.back();
    field.drop_first = cut.drop_first;
    field.drop_last = cut.drop_last;
    if (stored.ragged) {
      field.shape = stored.shape;
      field.max_length = job.train ? job.train->max_length : 0;
      field.padding = target_padding(loss, dataset, name);
    }
    // A series that goes on is of the same quantity as its beginning.
    if (name == fields.input && cut.drop_first > 0 && field.dtype == DType::kFloat32)
      field.mean = normalization.mean, field.stddev = normalization.stddev;
  }
  options.global_batch = job.global_batch;
  options.micro_batch = job.micro_batch;
  options.n_micro = job.n_micro() / size;
  options.first_micro = rank * options.n_micro;
  options.seed = job.seed;
  options.shuffle = job.shuffle;
  options.order = order_of(job, dataset, options.fields, graph);
  options.prefetch = job.prefetch;
  options.prefetch_limit_bytes = job.prefetch_bytes;
  options.threads = job.data_threads;
  options.device = job.device;
  options.cache_limit_bytes = job.cache_bytes;
  return options;
}

}  // namespace lockstep
