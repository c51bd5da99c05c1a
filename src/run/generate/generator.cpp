#include "src/run/generate/generator.h"

#include <fmt/format.h>

#include <utility>

#include "kernels/random.h"
#include "src/plan/plan.h"

namespace lockstep {

struct Generator::Impl {
  TrainedModel model;
  Graph graph;  // of one step
  std::unique_ptr<Plan> plan;
  Memory states;
  std::vector<float> scores;
  int64_t n_read = 0;
  int64_t window = 0;         // of tokens that layers with a cache see at most; 0: there are none
  std::vector<int64_t> seen;  // by them

  Impl(TrainedModel trained, const std::string& checkpoint);
  void step(int64_t token, int64_t first_step);
};

Generator::Impl::Impl(TrainedModel trained, const std::string& checkpoint) : model(std::move(trained)) {
  const std::string where = "generate: " + checkpoint;
  const std::vector<int> inputs = model.graph.inputs();
  const Shape output = model.graph.vertex(model.graph.output()).shape;
  if (inputs.size() != 1 || model.graph.vertex(inputs[0]).dtype != DType::kInt32 || output.rank() != 2)
    throw Error(where, "its network does not read one sequence of tokens and score the next ones",
                "use a checkpoint of a language model, such as char_lstm");
  graph = build_graph(model.job, model.contract, {.steps = {{"input", 1}}, .carries_states = true});
  set_compute_threads(model.job.threads);
  PlanOptions options;
  options.config = model.job.op_config(false);
  options.micro_batch = 1;
  for (const Vertex& vertex : graph.vertices())
    if (vertex.layer && vertex.layer->looks_back()) window = model.graph.vertex(inputs[0]).shape[0];
  options.cache_steps = window;
  plan = std::make_unique<Plan>(graph, *model.arena, std::vector<LossSpec>{}, options);
  plan->refresh_weights();
  if (plan->state_elements() > 0)
    states = Memory(model.job.device, plan->state_elements() * int64_t{sizeof(float)});
  scores.resize(static_cast<size_t>(output[1]));
}

Generator::Generator(TrainedModel model, const std::string& checkpoint)
    : impl_(std::make_unique<Impl>(std::move(model), checkpoint)) {}
Generator::~Generator() = default;

const DataContract& Generator::contract() const { return impl_->model.contract; }
int64_t Generator::n_tokens() const { return impl_->graph.vertex(0).n_ids; }

void Generator::begin() {
  impl_->n_read = 0;
  impl_->seen.clear();
}

void Generator::Impl::step(int64_t token, int64_t first_step) {
  const auto id = static_cast<int32_t>(token);
  const int64_t sample = 0;
  BatchContext batch;
  batch.n_valid = 1;
  batch.sample_ids = &sample;
  batch.first_step = first_step;
  plan->stage({&id}, {}, batch);
  plan->wait_staged();
  plan->forward();
}

void Generator::read(int64_t token) {
  Impl& g = *impl_;
  if (token < 0 || token >= n_tokens())
    throw Error("generate", fmt::format("token {} is none of the {} of the vocabulary", token, n_tokens()),
                "give ids from 0 on, below that number");
  if (g.window > 0 && static_cast<int64_t>(g.seen.size()) == g.window) {
    // Positions end here: the later half of what was seen becomes the beginning.
    g.seen.erase(g.seen.begin(), g.seen.begin() + (g.window + 1) / 2);
    for (size_t i = 0; i < g.seen.size(); ++i) g.step(g.seen[i], static_cast<int64_t>(i));
  }
  g.plan->set_states(g.n_read == 0 ? nullptr : g.states.as<float>());
  g.step(token, static_cast<int64_t>(g.seen.size()));
  if (g.window > 0) g.seen.push_back(token);
  if (g.plan->state_elements() > 0) g.plan->get_states(g.states.as<float>());
  std::copy_n(g.plan->output(), g.scores.size(), g.scores.begin());
  ++g.n_read;
}

int64_t Generator::next(const SamplingOptions& options) {
  Impl& g = *impl_;
  if (g.n_read == 0)
    throw Error("generate", "nothing has been read that the next token could follow",
                "begin with a token of the vocabulary, such as a line's end");
  const RandomStream random(options.seed, RandomPurpose::kSampling, 0, 0);
  const int64_t token = draw_token(g.scores, options, random.uniform(static_cast<uint64_t>(g.n_read)));
  read(token);
  return token;
}

}  // namespace lockstep
