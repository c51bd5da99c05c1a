#include "src/run/attention_maps.h"

#include <algorithm>

namespace lockstep {

namespace {

constexpr int64_t kMostSamples = 4;
constexpr int64_t kMostWeights = int64_t{1} << 25;  // of all heads of a sample
constexpr int64_t kMostHeadSteps = 32;              // of maps by head, of which there are many

/// An input of ids with that many steps, and what its ids stand for.
struct TokenInput {
  size_t array = 0;
  int vertex = -1;
  const std::vector<std::string>* tokens = nullptr;
};

TokenInput find_tokens(const Graph& graph, const DataContract& contract, int64_t n_steps) {
  const std::vector<int> inputs = graph.inputs();
  for (size_t i = 0; i < inputs.size(); ++i) {
    const Vertex& input = graph.vertex(inputs[i]);
    const auto tokens = contract.vocabularies.find(input.name);
    if (input.n_ids > 0 && input.shape.rank() == 1 && input.shape[0] == n_steps &&
        tokens != contract.vocabularies.end())
      return {i, inputs[i], &tokens->second};
  }
  return {};
}

/// Valid steps of a sample of that input.
int64_t length_of(const Graph& graph, const MicroBatch& batch, int input, int64_t sample) {
  const std::vector<int> inputs = graph.inputs();
  for (size_t i = 0; i < inputs.size(); ++i)
    if (graph.vertex(inputs[i]).lengths_of == input)
      return static_cast<const int32_t*>(batch.data[i])[sample];
  return graph.vertex(input).shape[0];
}

std::string token_at(const std::vector<std::string>& tokens, int64_t id) {
  return id >= 0 && id < static_cast<int64_t>(tokens.size()) ? tokens[static_cast<size_t>(id)] : "";
}

}  // namespace

std::vector<AttentionMap> attention_maps(Plan& plan, const Graph& graph, const MicroBatch& batch,
                                         const DataContract& contract) {
  std::vector<AttentionMap> maps;
  const auto written = contract.vocabularies.find("");
  const size_t n_inputs = graph.inputs().size();
  if (written == contract.vocabularies.end() || batch.data.size() <= n_inputs) return maps;
  const auto* const targets = static_cast<const int64_t*>(batch.data[n_inputs]);
  for (size_t i = 0; i < graph.shown().size(); ++i) {
    const Shape shape = plan.shown_shape(i);  // (N, T, S) or (N, heads, T, S)
    const bool has_heads = shape.rank() == 4;
    if (shape.rank() != 3 && !has_heads) continue;
    const int64_t n_rows = shape[has_heads ? 2 : 1], n_columns = shape[has_heads ? 3 : 2];
    const int64_t heads = has_heads ? shape[1] : 1, most = has_heads ? kMostHeadSteps : n_rows + n_columns;
    const TokenInput read = find_tokens(graph, contract, n_columns);
    if (!read.tokens) continue;
    const float* const weights = plan.shown(i);
    const auto* const ids = static_cast<const int32_t*>(batch.data[read.array]);
    for (int64_t n = 0; n < std::min({batch.n_valid, kMostSamples, shape[0]}); ++n) {
      AttentionMap map;
      map.name = graph.vertex(graph.shown()[i]).name;
      const int64_t n_read = std::min(most, length_of(graph, batch, read.vertex, n));
      for (int64_t s = 0; s < n_read; ++s)
        map.columns.push_back(token_at(*read.tokens, ids[n * n_columns + s]));
      // Where queries and keys are of one sequence, its tokens stand on both sides.
      const bool is_self = has_heads && n_rows == n_columns && graph.inputs().size() == 1;
      for (int64_t t = 0; t < std::min(most, n_rows); ++t) {
        const int64_t token = is_self ? ids[n * n_columns + t] : targets[n * n_rows + t];
        if (token < 0 || (is_self && t >= n_read)) break;
        map.rows.push_back(token_at(is_self ? *read.tokens : written->second, token));
      }
      for (int64_t h = 0; h < heads; ++h) {
        AttentionMap& one = maps.emplace_back(map);
        if (has_heads) one.name += ", head " + std::to_string(h + 1);
        for (size_t t = 0; t < map.rows.size(); ++t) {
          const float* const row = weights + ((n * heads + h) * n_rows + static_cast<int64_t>(t)) * n_columns;
          one.weights.insert(one.weights.end(), row, row + n_read);
        }
      }
    }
  }
  return maps;
}

std::vector<AttentionMap> attention_maps_of_heads(const Graph& graph, const ParameterArena& arena,
                                                  const OpConfig& config, const MicroBatch& batch,
                                                  const DataContract& contract) {
  if (graph.shown_on_request().empty() || batch.n_valid == 0) return {};
  Graph shows = graph;
  shows.show_requested();
  int64_t n_weights = 0;
  for (int v : shows.shown()) n_weights += shows.vertex(v).shape.n_elements();
  if (n_weights > kMostWeights) return {};
  PlanOptions options;
  options.config = config;
  options.keeps_shown = true;
  Plan plan(shows, arena, std::vector<LossSpec>{}, options);
  plan.refresh_weights();
  BatchContext first;  // sample of the micro-batch, whose arrays begin with it
  first.n_valid = 1;
  first.sample_ids = batch.sample_ids.data();
  const auto n_inputs = static_cast<int64_t>(shows.inputs().size());
  plan.stage(std::vector<const void*>(batch.data.begin(), batch.data.begin() + n_inputs), {}, first);
  plan.wait_staged();
  plan.forward();
  return attention_maps(plan, shows, batch, contract);
}

}  // namespace lockstep
