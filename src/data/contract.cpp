// What a network expects of its data, from the training data on; and the network behind that.
#include <fmt/format.h>

#include "io/checkpoint/checkpoint.h"
#include "src/data/class_names.h"
#include "src/data/fields.h"
#include "src/network/loss_place.h"
#include "src/network/model.h"

namespace lockstep {

Shape delivered(const Field& field, const DataFields::Cut& cut, int64_t longest) {
  Shape shape = field.ragged ? field.shape.with_front(std::max<int64_t>(1, longest)) : field.shape;
  if (shape.rank() > 0) shape[0] = std::max<int64_t>(1, shape[0] - cut.drop_first - cut.drop_last);
  return shape;
}

int64_t longest_row(const Dataset& data, const std::string& field, int64_t max_length) {
  const int64_t longest = data.row_spans(field).longest();
  return max_length > 0 ? std::min(longest, max_length) : longest;
}

int64_t find_mask_token(const std::vector<std::string>& vocabulary, const DataOptions::Masking& masking) {
  for (size_t i = 0; i < vocabulary.size(); ++i) {
    const std::string& token = vocabulary[i];
    if (masking.token.empty() ? token == "<mask>" || token == "[MASK]" : token == masking.token)
      return static_cast<int64_t>(i);
  }
  return -1;
}

std::vector<std::string> with_mask_token(std::vector<std::string> vocabulary,
                                         const DataOptions::Masking& masking) {
  if (!vocabulary.empty() && masking.probability > 0 && find_mask_token(vocabulary, masking) < 0)
    vocabulary.push_back(masking.token.empty() ? "<mask>" : masking.token);
  return vocabulary;
}

DataContract make_contract(const Dataset& data, const DataFields& fields, const DataOptions& job) {
  DataContract contract;
  const Field& input = data.field(fields.input);
  const int64_t max_length = fields.max_length;
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
    if (!data.vocabulary(field).empty())
      contract.vocabularies[name] = with_mask_token(data.vocabulary(field), job.masking);
    if (!data.tokenizer(field).empty()) contract.tokenizers[name] = data.tokenizer(field);
  }
  if (!fields.target.empty() && !data.tokenizer(fields.target).empty())
    contract.tokenizers[""] = data.tokenizer(fields.target);
  if (!fields.target.empty() && !data.vocabulary(fields.target).empty()) {
    contract.vocabularies[""] = with_mask_token(data.vocabulary(fields.target), job.masking);
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
  if (mode == DataOptions::Normalize::kMeanImage) contract.normalization = mean_image(data, fields, job);
  contract.class_counts = count_classes(job, data, fields);
  return contract;
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
  const bool knows_data = contract.input.rank() > 0 || !contract.inputs.empty();
  if (!knows_data && job.train && job.train->window.length > 0)
    context.steps.emplace("input", job.train->window.length);
  context.carries_states = sequences.carries_states;
  for (const auto& [name, tokens] : contract.vocabularies)
    context.vocabularies[name] = static_cast<int64_t>(tokens.size());
  Graph graph = build_model(*job.model, context);
  check_all_read(graph, job.losses());
  check_names(graph);
  return graph;
}

}  // namespace lockstep
