#include "src/run/validation.h"

#include <algorithm>
#include <cmath>

#include "src/network/loss_place.h"

namespace lockstep {

namespace {

PlanOptions evaluation_options(const Job& job) {
  PlanOptions options;
  options.config = job.op_config(false);
  options.micro_batch = job.micro_batch;
  options.keeps_shown = true;
  return options;
}

LoaderOptions evaluation_loader(const Job& job, const Graph& graph, const Dataset& dataset,
                                const DataFields& fields, const DataContract& contract, Communicator& comm) {
  LoaderOptions options = make_loader_options(job, dataset, fields, graph, true, contract.normalization,
                                              comm.rank(), comm.size());
  options.shuffle.is_on = false;
  if (options.order == Order::kBalanced) options.order = Order::kShuffled;  // every sample once
  options.ranks = &comm;
  return options;
}

/// Those of the lengths, or the one.
std::vector<const Graph*> pointers_to(const std::vector<Graph>& graphs, const Graph& graph) {
  std::vector<const Graph*> pointers;
  for (const Graph& one : graphs) pointers.push_back(&one);
  if (pointers.empty()) pointers.push_back(&graph);
  return pointers;
}

}  // namespace

int64_t arg_max(const float* values, int64_t n) { return std::max_element(values, values + n) - values; }

Validator::Validator(const Job& job, const Graph& graph, const ParameterArena& arena, const Dataset& dataset,
                     const DataFields& fields, const DataContract& contract, Communicator& comm)
    : job_(job),
      arena_(arena),
      contract_(contract),
      comm_(comm),
      loading_(evaluation_loader(job, graph, dataset, fields, contract, comm)),
      graphs_(sequence_graphs(job, contract, graph, dataset, loading_)),
      graph_(graph),
      plans_(pointers_to(graphs_, graph), arena, job.losses(), evaluation_options(job)),
      states_(graph, job.device, job.micro_batch, job.n_micro() / comm.size()),
      judges_output_(loss_vertex(graph, job.loss) == graph.output() &&
                     count_targets(graph, job.losses()) > 0),
      rows_(dataset.path(), loading_.fields, &dataset),
      loader_(dataset, loading_, 0) {
  for (int64_t s = 0; s < loader_.steps_per_epoch(); ++s) n_samples_ += loader_.samples_in_step(s);
}

ValidationResult Validator::run() {
  plans_.weights_changed();
  const int64_t n_steps = loader_.steps_per_epoch(), n_micro = job_.n_micro();
  const int64_t n_local = n_micro / comm_.size();
  ValidationResult result;
  result.n_samples = n_samples_;
  const MetricList& metrics = job_.metrics;
  const bool counts = judges_output_ && metrics.counts_confusion;
  const int64_t k = counts ? job_.loss.n_classes(plans_.longest().output_shape().without_front()) : 0;
  const int64_t row_size = kLossValues + metrics.n_sums();
  result.confusion = Confusion(k);

  // One row per micro-batch of the whole pass; every row is filled by one rank only, so the
  // sum over ranks is exact in any order.
  std::vector<double> rows(n_steps * n_micro * row_size, 0.0);
  for (int64_t s = 0; s < n_steps; ++s) {
    for (int64_t m = 0; m < n_local; ++m) {
      const MicroBatch& batch = loader_.next();
      rows_.look_at(batch);
      const int bucket = plans_.size() > 1 ? batch.bucket : 0;
      Plan& plan = plans_.at(bucket);
      plans_.refresh(bucket);
      plan.stage(batch, {job_.seed});
      if (!states_.empty()) plan.set_states(s == 0 ? nullptr : states_.before(m));
      plan.forward();
      if (!states_.empty()) plan.get_states(states_.after(m));
      const Judged judged = plan.judged(k > 0 || metrics.compares());
      double* const row = rows.data() + (s * n_micro + batch.micro) * row_size;
      std::copy_n(judged.loss_values, kLossValues, row);
      metrics.judge(judged, row + kLossValues);
      if (k > 0) result.confusion.judge(*job_.loss.rule, judged);
      if (s == 0 && batch.micro == 0) {
        const Graph& graph = graphs_.empty() ? graph_ : graphs_[static_cast<size_t>(bucket)];
        result.attention = attention_maps(plan, graph, batch, contract_);
        if (result.attention.empty())
          result.attention = attention_maps_of_heads(graph, arena_, job_.op_config(false), batch, contract_);
      }
    }
    states_.advance(plans_.stream());
  }
  comm_.native_all_reduce(std::span<double>(rows));
  result.confusion.gather(comm_);

  std::vector<double> sums(row_size, 0.0);
  for (size_t at = 0; at < rows.size(); ++at) sums[at % row_size] += rows[at];
  result.loss = sums[kLossSum];
  if (sums[kWeightSum] > 0) result.loss /= sums[kWeightSum];
  for (int64_t i = 0; i < metrics.size(); ++i)
    result.metrics.push_back(metrics.value(i, MetricList::mean(sums.data() + kLossValues, i)));
  result.not_finite = rows_.told(comm_);
  if (result.not_finite.empty() && !std::isfinite(result.loss))
    result.not_finite = "the loss is not finite though the data are: the network's outputs are not";
  return result;
}

double Validator::value(const ValidationResult& result, const Measure& measure) const {
  for (int64_t i = 0; i < job_.metrics.size(); ++i)
    if (job_.metrics.all()[i].name == measure.name) return result.metrics[i];
  return result.loss;
}

}  // namespace lockstep
