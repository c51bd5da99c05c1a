// How the loader is to deliver a job's data: a field for each input and target, in which order, augmented or
// not.
#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "src/data/fields.h"
#include "src/network/loss_place.h"

namespace lockstep {

int augmented_input(const DataOptions& job, const Graph& graph) {
  if (job.augment.empty()) return -1;
  if (job.augment.input.empty()) return graph.inputs()[0];
  const int vertex = graph.find(job.augment.input);
  if (vertex < 0 || graph.vertex(vertex).layer)
    throw Error("data.augment_input", "the model has no input '" + job.augment.input + "'",
                "name one of model.inputs");
  return vertex;
}

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
                           const DataFields::Cut& cut, int64_t max_length) {
  LoaderField field;
  field.name = stored.name;
  field.dtype = input.dtype;
  field.n_classes = input.n_ids;
  field.drop_first = cut.drop_first;
  field.drop_last = cut.drop_last;
  field.max_length = max_length;
  field.lengths_only = input.lengths_of >= 0;
  if (field.lengths_only) return field;
  if (const auto n_tokens = static_cast<int64_t>(dataset.vocabulary(stored.name).size());
      input.n_ids > 0 && n_tokens > input.n_ids)
    throw Error(dataset.path(),
                fmt::format("the vocabulary of '{}' has {} tokens, the network knows ids below {}",
                            stored.name, n_tokens, input.n_ids),
                "leave vocabulary out of the model, which takes the data's, or convert the data with "
                "--vocabulary-from and the training data");
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

/// Of ids of a field, for a network that knows n_ids.
TokenMask token_mask(const DataOptions& job, const Dataset& dataset, const std::string& field, int64_t n_ids,
                     bool is_target) {
  if (n_ids < 1)
    throw Error("data.masking", fmt::format("'{}' is no sequence of tokens to guess", field),
                "leave masking out, or let the model read ids");
  const std::vector<std::string>& vocabulary = dataset.vocabulary(field);
  const auto n_tokens = static_cast<int64_t>(vocabulary.size());
  TokenMask mask{job.masking.probability, find_mask_token(vocabulary, job.masking), n_tokens, is_target};
  if (mask.mask < 0) mask.mask = n_tokens > 0 ? n_tokens : n_ids - 1;
  if (mask.n_ids == 0) mask.n_ids = n_ids - 1;
  if (mask.mask >= n_ids)
    throw Error("data.masking",
                fmt::format("the mask is token {} and the network knows {}", mask.mask, n_ids),
                "leave vocabulary out of the model, or make it one larger");
  return mask;
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

bool any_ragged(const Dataset& dataset, const std::vector<LoaderField>& fields) {
  return std::any_of(fields.begin(), fields.end(),
                     [&](const LoaderField& field) { return dataset.field(field.name).ragged; });
}

Order order_of(const DataOptions& job, const Dataset& dataset, const std::vector<LoaderField>& fields,
               const Graph& graph) {
  const bool carries = !graph.states().empty(), has_lengths = any_ragged(dataset, fields);
  using Wanted = DataOptions::Order;
  if (carries && job.order != Wanted::kAuto && job.order != Wanted::kStreams)
    throw Error("data.order",
                "the model carries its state from step to step, and samples do not follow one another",
                "set data.order: streams, or leave state: carried out of the model");
  if (job.order == Wanted::kByLength && !has_lengths)
    throw Error("data.order", "no field has rows of unequal lengths to order by",
                "leave data.order out, or name data with NAME_offsets");
  if (job.order == Wanted::kBalanced && has_lengths)
    throw Error("data.order", "rows of unequal lengths are not balanced",
                "leave data.order out; class_weights of the loss can weigh the classes");
  if (carries || job.order == Wanted::kStreams) return Order::kStreams;
  if (job.order == Wanted::kBalanced) return Order::kBalanced;
  if (job.order == Wanted::kByLength) return Order::kByLength;
  return job.order == Wanted::kAuto && has_lengths && job.shuffle.is_on ? Order::kByLength : Order::kShuffled;
}

}  // namespace

std::map<std::string, int64_t> steps_of_inputs(const Graph& graph, const std::vector<LoaderField>& fields,
                                               const std::vector<int64_t>& extents) {
  std::map<std::string, int64_t> steps;
  const std::vector<int> inputs = graph.inputs();
  for (size_t i = 0; i < inputs.size(); ++i)
    if (extents[i] > 0 && !fields[i].lengths_only) steps[graph.vertex(inputs[i]).name] = extents[i];
  return steps;
}

std::vector<Graph> sequence_graphs(const DataOptions& job, const DataContract& contract, const Graph& graph,
                                   const Dataset& dataset, const LoaderOptions& loading) {
  std::vector<Graph> graphs;
  if (!any_ragged(dataset, loading.fields)) return graphs;
  const LengthBuckets buckets(dataset, loading.fields, loading.order == Order::kByLength);
  for (const std::vector<int64_t>& extents : buckets.extents()) {
    graphs.push_back(build_graph(job, contract, {.steps = steps_of_inputs(graph, loading.fields, extents)}));
    size_t target = graph.inputs().size();
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
      options.fields.push_back(sequence_field(dataset, stored, input, cut, fields.max_length));
      if (with_targets && job.masking.probability > 0 && name == fields.target && input.lengths_of < 0)
        options.fields.back().mask = token_mask(job, dataset, name, input.n_ids, false);
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
          loss.is_classification() && !loss.rule->is_of_tokens() && stored.windows
              ? "of the steps of sequences the loss is token_cross_entropy"
          : n_classes > 1 && target.n_elements() == 1 && stored.shape.n_elements() == n_classes
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
      field.max_length = fields.max_length;
      field.padding = target_padding(loss, dataset, name);
    }
    if (job.masking.probability > 0 && name == fields.target)
      field.mask = token_mask(job, dataset, name, n_classes, true);
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
  if (options.order == Order::kBalanced) {
    if (!job.loss.is_classification() || loss_target_input(graph, job.loss) >= 0)
      throw Error("data.order", "balanced counts classes, and the loss " + job.loss.name + " has none",
                  "leave data.order out, or use a loss of classes");
    options.class_field = job.loss.target.empty() ? fields.target : job.loss.target;
  }
  options.prefetch = job.prefetch;
  options.prefetch_limit_bytes = job.prefetch_bytes;
  options.threads = job.data_threads;
  options.device = job.device;
  options.cache_limit_bytes = job.cache_bytes;
  return options;
}

}  // namespace lockstep
