// Opening the datasets of a job, and which of their fields it means.
#include "src/data/data.h"

#include <fmt/format.h>

#include <algorithm>

#include "io/dataset/statistics.h"
#include "io/dataset/stored_numbers.h"
#include "src/data/class_names.h"
#include "src/data/fields.h"
#include "src/network/loss_place.h"

namespace lockstep {

namespace {

/// Datasets up to this size are compared with their checksums without being asked: below a second from
/// memory, and they are read whole anyway.
constexpr int64_t kVerifiedByItself_bytes = int64_t{1} << 30;

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

bool has_ragged(const Dataset& dataset, const std::string& name) {
  return std::any_of(dataset.fields().begin(), dataset.fields().end(),
                     [&](const Field& field) { return field.name == name && field.ragged; });
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
                          {window.length, window.stride, source.is_masked ? 0 : window.horizon});
}

/// Whether a window's target is each step's next one.
bool is_next(const DataSource::Window& window, const Field& field) {
  if (window.target != DataSource::Window::Target::kAuto)
    return window.target == DataSource::Window::Target::kNext;
  return field.dtype != DType::kFloat32 && field.shape.rank() == 1;
}

}  // namespace

std::string field_list(const Dataset& dataset) {
  std::string text;
  for (const Field& field : dataset.fields()) {
    text += fmt::format("{}{} {} {}", text.empty() ? "" : ", ", field.name, name_of(field.dtype),
                        field.shape.str());
  }
  return text;
}

std::map<std::string, std::string> named_inputs(const DataFields& fields) {
  if (!fields.inputs.empty()) return fields.inputs;
  return {{"input", fields.input}};
}

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
  fields.max_length = source.max_length;
  fields.is_masked = source.is_masked;
  for (const auto& [input, field] : fields.inputs) dataset.field(field);
  if (!fields.inputs.empty()) fields.input = fields.inputs.begin()->second;
  if (fields.input.empty()) fields.input = find_by_name(dataset, kInputNames);
  if (source.is_masked) {
    fields.target = fields.input;
  } else if (source.window.length > 0) {
    fields.target = fields.input;
    const int64_t horizon = source.window.horizon;
    fields.input_cut.drop_last = horizon;
    fields.target_cut.drop_first =
        is_next(source.window, dataset.field(fields.input)) ? horizon : source.window.length;
  }
  if (fields.target.empty())
    fields.target = find_by_name(dataset, {"label", "labels", "target", "targets", "y"});
  if (fields.inputs.empty() && source.input.empty() && has_ragged(dataset, "source") &&
      has_ragged(dataset, "target")) {  // pairs of sequences, as a converter writes them
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
    if (field != fields.target || !dataset.field(field).ragged || source.is_masked) continue;
    fields.input_cut.drop_last = 1;
    fields.target_cut.drop_first = 1;
  }
  check_layout(dataset, fields.input);
  for (const auto& [input, field] : fields.inputs) check_layout(dataset, field);
  if (!fields.target.empty()) check_layout(dataset, fields.target);
  return fields;
}

void check_vocabularies(const Dataset& data, const DataFields& fields, const DataContract& contract) {
  const auto check = [&](const std::string& name, const std::string& field) {
    const auto tokenizer = contract.tokenizers.find(name);
    if (tokenizer != contract.tokenizers.end() && !data.tokenizer(field).empty() &&
        data.tokenizer(field) != tokenizer->second)
      throw Error(data.path(), fmt::format("the tokenizer of {} is another than that of training", field),
                  "convert it with --vocabulary-from and the training data");
    const auto trained = contract.vocabularies.find(name);
    if (trained == contract.vocabularies.end() || data.vocabulary(field).empty()) return;
    std::vector<std::string> tokens = data.vocabulary(field);
    // The mask may be a token of the network alone.
    if (fields.is_masked && trained->second.size() == tokens.size() + 1)
      tokens.push_back(trained->second.back());
    if (tokens == trained->second) return;
    throw Error(data.path(),
                fmt::format("the vocabulary of {} is another than that of training ({} tokens, not {})",
                            field, data.vocabulary(field).size(), trained->second.size()),
                "convert it with --vocabulary-from and the training data");
  };
  for (const auto& [name, field] : named_inputs(fields)) check(name, field);
  if (!fields.target.empty()) check("", fields.target);
}

namespace {

/// Mean and deviation of the input over the rows that are trained on, where the files have those of all.
void measure_again(const Dataset& all, const std::string& name, Dataset& part) {
  const Field& field = part.field(name);
  if (!all.statistics(name) || field.ragged || field.windows || !ChannelMoments::applies_to(field)) return;
  ChannelMoments moments(field);
  for_each_block(part, field,
                 [&](const std::byte* rows, int64_t, int64_t count) { moments.add(rows, count); });
  part.set_statistics(name, ChannelMoments::combine(field, {moments.packed()}));
}

/// Training data without a fold, and that fold as validation data.
JobData open_fold(const DataOptions& job) {
  std::vector<std::string> further = named_targets(job);
  if (!job.fold.group_by.empty()) further.push_back(job.fold.group_by);
  const auto all = std::make_shared<const Dataset>(open_source(*job.train, further));
  JobData data;
  data.train_fields = data.validation_fields = find_fields(*all, *job.train);
  FoldRows rows = fold_rows(job.fold, *all, data.train_fields);
  data.train = std::make_unique<Dataset>(Dataset::subset(all, std::move(rows.train)));
  data.validation = std::make_unique<Dataset>(Dataset::subset(all, std::move(rows.held_out)));
  measure_again(*all, data.train_fields.input, *data.train);
  data.contract = make_contract(*data.train, data.train_fields, job);
  return data;
}

}  // namespace

JobData open_data(const DataOptions& job) {
  if (!job.train) throw Error("data", "there is no data to train on", "add data: {train: {path: FOLDER}}");
  if (job.fold.of > 0) return open_fold(job);
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
    if (job.fold.of > 0 && dataset == data.validation.get()) continue;  // rows of the same files
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

}  // namespace lockstep
