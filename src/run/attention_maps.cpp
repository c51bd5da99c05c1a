#include "src/run/attention_maps.h"

#include <algorithm>

namespace lockstep {

namespace {

constexpr int64_t kMostSamples = 4;

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
    const Shape shape = plan.shown_shape(i);  // (N, T, S)
    if (shape.rank() != 3) continue;
    const TokenInput read = find_tokens(graph, contract, shape[2]);
    if (!read.tokens) continue;
    const float* const weights = plan.shown(i);
    const auto* const ids = static_cast<const int32_t*>(batch.data[read.array]);
    for (int64_t n = 0; n < std::min(batch.n_valid, kMostSamples); ++n) {
      AttentionMap map;
      map.name = graph.vertex(graph.shown()[i]).name;
      const int64_t n_columns = length_of(graph, batch, read.vertex, n);
      for (int64_t s = 0; s < n_columns; ++s)
        map.columns.push_back(token_at(*read.tokens, ids[n * shape[2] + s]));
      for (int64_t t = 0; t < shape[1]; ++t) {
        const int64_t target = targets[n * shape[1] + t];
        if (target < 0) break;
        map.rows.push_back(token_at(written->second, target));
        const float* const row = weights + (n * shape[1] + t) * shape[2];
        map.weights.insert(map.weights.end(), row, row + n_columns);
      }
      maps.push_back(std::move(map));
    }
  }
  return maps;
}

}  // namespace lockstep
