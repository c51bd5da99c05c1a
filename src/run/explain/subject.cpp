#include "src/run/explain/subject.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "kernels/printable.h"
#include "src/data/class_names.h"

namespace lockstep {

namespace {

/// The largest of the numbers that images are stored as; 0: they have no range.
double highest_stored(const Dataset& dataset, const std::string& field) {
  return dataset.field(field).dtype == DType::kUInt8 ? 255 : 0;
}

}  // namespace

ExplainedModel::ExplainedModel(const ExplainOptions& options)
    : model(load_model(options.checkpoint, options.average)) {
  const Graph& graph = model.graph;
  const Shape& input = graph.vertex(0).shape;
  if (graph.inputs().size() != 1 || input.rank() != 3 || (input[0] != 1 && input[0] != 3) ||
      graph.vertex(0).n_ids > 0) {
    throw Error(options.checkpoint, "its network does not read images of one or three channels",
                "`lockstep predict --features LAYER` writes what a layer of any network gives");
  }
  model.job.reduction = Reduction::kNative;
  share_micro_batches(model.job, 1);
  DataSource source = source_at(model.job.train.value_or(DataSource{}), options.data);
  if (!options.input.empty()) source.input = options.input;
  if (!options.target.empty()) source.target = options.target;
  if (!options.layout.empty()) source.layout = options.layout;
  dataset = std::make_unique<Dataset>(open_source(source, {}, false));
  const DataFields fields = find_fields(*dataset, source);
  kind = prediction_kind(model.job, graph.vertex(graph.output()).shape);
  has_targets = !fields.target.empty() && model.job.losses().size() == 1;
  if (has_targets) check_class_names(options.data, dataset->class_names(), model.contract.class_names);
  loading = make_loader_options(model.job, *dataset, fields, graph, has_targets, model.contract.normalization,
                                0, 1);
  loading.shuffle = Shuffle{};
  loading.order = Order::kShuffled;
  loading.seed = 1;
  pixels = PixelScale(input, model.contract.normalization, highest_stored(*dataset, fields.input));
  n_samples = std::min(dataset->n_samples(), options.most_samples);
  if (options.sample >= dataset->n_samples()) {
    throw Error(
        "--sample",
        fmt::format("{} is not among {} samples, which count from 0", options.sample, dataset->n_samples()),
        fmt::format("name one from 0 to {}", dataset->n_samples() - 1));
  }
}

std::string ExplainedModel::class_name(int64_t c) const {
  const std::vector<std::string>& names = model.contract.class_names;
  return c >= 0 && c < static_cast<int64_t>(names.size()) ? names[static_cast<size_t>(c)] : std::to_string(c);
}

int ExplainedModel::layer(const std::string& name, const char* option) const {
  const int vertex = model.graph.find(name);
  if (vertex >= 0 && model.graph.vertex(vertex).layer) return vertex;
  const std::string near = nearest_word(name, model.graph.names());
  throw Error(option, fmt::format("the network has no layer '{}'", printable(name)),
              near.empty() ? "`lockstep inspect CHECKPOINT` lists them" : "did you mean '" + near + "'?");
}

LoaderOptions ExplainedModel::one_by_one() const {
  LoaderOptions one = loading;
  one.shuffle.is_on = false;
  one.global_batch = one.micro_batch = 1;
  one.prefetch = 1;
  one.prefetch_limit_bytes = 0;
  one.cache_limit_bytes = 0;
  return one;
}

std::map<int64_t, std::vector<float>> ExplainedModel::images(const std::vector<int64_t>& samples) const {
  std::map<int64_t, std::vector<float>> found;
  for (const int64_t sample : std::set<int64_t>(samples.begin(), samples.end())) {
    DataLoader loader(*dataset, one_by_one(), sample);
    const auto* const row = static_cast<const float*>(loader.next().data[0]);
    found[sample].assign(row, row + image().n_elements());
  }
  return found;
}

}  // namespace lockstep
