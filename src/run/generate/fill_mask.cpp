#include "src/run/generate/fill_mask.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "src/plan/plan.h"
#include "src/run/generate/sequence_decoder.h"

namespace lockstep {

MaskToken mask_of(const TrainedModel& model) {
  const auto vocabulary = model.contract.vocabularies.find("input");
  if (model.job.masking.probability <= 0 || vocabulary == model.contract.vocabularies.end()) return {};
  const int64_t id = find_mask_token(vocabulary->second, model.job.masking);
  return {id, id < 0 ? "" : vocabulary->second[static_cast<size_t>(id)]};
}

std::vector<MaskGuess> fill_masks(const TrainedModel& model, const std::vector<int64_t>& ids,
                                  int64_t n_guesses) {
  const auto n = static_cast<int64_t>(ids.size());
  const Graph graph = build_graph(model.job, model.contract, {.steps = {{"input", n}}});
  const Shape output = graph.vertex(graph.output()).shape;
  if (graph.inputs().size() != 1 || output.rank() != 2 || output[0] != n)
    throw Error("generate", "its network does not score every token of one sequence",
                "use a checkpoint of a network that guesses masked tokens, such as bert_small");
  set_compute_threads(model.job.threads);
  PlanOptions options;
  options.config = model.job.op_config(false);
  Plan plan(graph, *model.arena, std::vector<LossSpec>{}, options);
  plan.refresh_weights();
  const std::vector<int32_t> words(ids.begin(), ids.end());
  const int64_t sample = 0;
  BatchContext batch;
  batch.n_valid = 1;
  batch.sample_ids = &sample;
  plan.stage({words.data()}, {}, batch);
  plan.wait_staged();
  plan.forward();
  const float* const scores = plan.output();
  const MaskToken mask = mask_of(model);
  std::vector<MaskGuess> result;
  for (int64_t t = 0; t < n; ++t) {
    if (ids[static_cast<size_t>(t)] != mask.id) continue;
    const std::vector<double> logs = log_softmax({scores + t * output[1], static_cast<size_t>(output[1])});
    std::vector<int64_t> order(logs.size());
    std::iota(order.begin(), order.end(), int64_t{0});
    std::erase(order, mask.id);
    const auto n_best = std::min(order.size(), static_cast<size_t>(n_guesses));
    std::partial_sort(order.begin(), order.begin() + static_cast<int64_t>(n_best), order.end(),
                      [&](int64_t a, int64_t b) {
                        const double la = logs[static_cast<size_t>(a)], lb = logs[static_cast<size_t>(b)];
                        return la != lb ? la > lb : a < b;
                      });
    MaskGuess& guess = result.emplace_back();
    guess.place = t;
    for (size_t i = 0; i < n_best; ++i)
      guess.guesses.emplace_back(order[i], std::exp(logs[static_cast<size_t>(order[i])]));
  }
  return result;
}

}  // namespace lockstep
