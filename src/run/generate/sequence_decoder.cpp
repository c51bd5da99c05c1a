#include "src/run/generate/sequence_decoder.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "src/plan/plan.h"

namespace lockstep {

std::vector<double> log_softmax(std::span<const float> scores) {
  const double largest = *std::max_element(scores.begin(), scores.end());
  double sum = 0;
  for (const float score : scores) sum += std::exp(score - largest);
  std::vector<double> logs;
  for (const float score : scores) logs.push_back(score - largest - std::log(sum));
  return logs;
}

namespace {

struct Hypothesis {
  std::vector<int64_t> ids;  // from <s> on
  double score = 0;          // log-probability
};

/// What a sample has: beginnings that go on, and texts that have ended.
struct Beam {
  std::vector<Hypothesis> alive, ended;  // scores of ended ones are by their length
  bool is_done = false;
};

/// The input that the network writes: named by the job as a reader of the target's field, or "previous".
std::string find_previous(const TrainedModel& model) {
  if (model.job.train) {
    for (const auto& [input, field] : model.job.train->inputs)
      if (field == model.job.train->target) return input;
  }
  return "previous";
}

}  // namespace

struct SequenceDecoder::Impl {
  const TrainedModel& model;
  const DecodingOptions options;
  int64_t n_samples, n_rows, max_length, begin = -1, end = -1;
  std::string previous;
  Graph graph;
  std::unique_ptr<Plan> plan;
  struct Input {
    int vertex = 0;
    int64_t row_bytes = 0;
    int given = -1;  // index of the given arrays; -1: own
    std::vector<std::byte> rows;
  };
  std::vector<Input> inputs;
  std::vector<int64_t> sample_ids;

  Impl(const TrainedModel& trained, const std::map<std::string, int64_t>& steps, int64_t samples,
       const DecodingOptions& wanted);
  void run(const std::vector<Beam>& beams, int64_t n_written);
  void go_on(Beam& beam, int64_t sample, int64_t n_written);
  double by_length(const Hypothesis& hypothesis) const {
    return hypothesis.score /
           std::pow(static_cast<double>(hypothesis.ids.size() - 1), options.length_penalty);
  }
};

SequenceDecoder::Impl::Impl(const TrainedModel& trained, const std::map<std::string, int64_t>& steps,
                            int64_t samples, const DecodingOptions& wanted)
    : model(trained), options(wanted), n_samples(samples), n_rows(samples * wanted.beams) {
  previous = find_previous(model);
  const int vertex = model.graph.find(previous);
  if (vertex < 0 || model.graph.vertex(vertex).layer || model.graph.vertex(vertex).dtype != DType::kInt32)
    throw Error(
        "generate", "its network has no input that reads what has been written so far",
        "use a checkpoint of an encoder and a decoder, such as seq2seq; language models take --prompt");
  const auto vocabulary = model.contract.vocabularies.find("");
  if (vocabulary != model.contract.vocabularies.end()) {
    const std::vector<std::string>& tokens = vocabulary->second;
    for (size_t i = 0; i < tokens.size(); ++i) {
      if (tokens[i] == "<s>") begin = static_cast<int64_t>(i);
      if (tokens[i] == "</s>") end = static_cast<int64_t>(i);
    }
  }
  if (begin < 0 || end < 0)
    throw Error("generate", "the vocabulary of its targets has no <s> to begin with and no </s> to end with",
                "convert the data with `lockstep convert pairs`, which puts them around each target");
  max_length = options.max_length > 0 ? options.max_length : model.graph.vertex(vertex).shape[0];
  SequenceOptions sequences;
  sequences.steps = steps;
  sequences.steps[previous] = max_length;
  graph = build_graph(model.job, model.contract, sequences);
  PlanOptions plan_options;
  plan_options.config = model.job.op_config(false);
  plan_options.micro_batch = n_rows;
  plan = std::make_unique<Plan>(graph, *model.arena, std::vector<LossSpec>{}, plan_options);
  plan->refresh_weights();
  int n_given = 0;
  for (const int v : graph.inputs()) {
    const Vertex& input = graph.vertex(v);
    const bool is_own =
        input.name == previous || (input.lengths_of >= 0 && graph.vertex(input.lengths_of).name == previous);
    inputs.push_back({v, input.shape.n_elements() * size_of(input.dtype), is_own ? -1 : n_given++, {}});
    inputs.back().rows.resize(static_cast<size_t>(inputs.back().row_bytes * n_rows));
  }
  for (int64_t row = 0; row < n_rows; ++row) sample_ids.push_back(row);
}

void SequenceDecoder::Impl::run(const std::vector<Beam>& beams, int64_t n_written) {
  for (Input& input : inputs) {
    if (input.given >= 0) continue;
    auto* const words = reinterpret_cast<int32_t*>(input.rows.data());
    const bool is_lengths = graph.vertex(input.vertex).lengths_of >= 0;
    for (size_t s = 0; s < beams.size(); ++s) {
      for (size_t b = 0; b < beams[s].alive.size(); ++b) {
        const auto row = static_cast<int64_t>(s) * options.beams + static_cast<int64_t>(b);
        const std::vector<int64_t>& ids = beams[s].alive[b].ids;
        if (is_lengths) {
          words[row] = static_cast<int32_t>(n_written);
        } else {
          for (int64_t t = 0; t < n_written; ++t)
            words[row * max_length + t] = static_cast<int32_t>(ids[static_cast<size_t>(t)]);
        }
      }
    }
  }
  std::vector<const void*> arrays;
  for (const Input& input : inputs) arrays.push_back(input.rows.data());
  BatchContext batch;
  batch.n_valid = n_rows;
  batch.sample_ids = sample_ids.data();
  plan->stage(arrays, {}, batch);
  plan->wait_staged();
  plan->forward();
}

void SequenceDecoder::Impl::go_on(Beam& beam, int64_t sample, int64_t n_written) {
  const int64_t n_tokens = plan->output_shape()[2];
  const float* const output = plan->output();
  struct Candidate {
    double score;
    size_t from;
    int64_t token;
  };
  std::vector<Candidate> candidates;
  for (size_t b = 0; b < beam.alive.size(); ++b) {
    const int64_t row = sample * options.beams + static_cast<int64_t>(b);
    const std::vector<double> logs =
        log_softmax({output + (row * max_length + n_written - 1) * n_tokens, static_cast<size_t>(n_tokens)});
    for (int64_t token = 0; token < n_tokens; ++token)
      candidates.push_back({beam.alive[b].score + logs[static_cast<size_t>(token)], b, token});
  }
  const auto n_best = std::min<size_t>(candidates.size(), static_cast<size_t>(2 * options.beams));
  std::partial_sort(candidates.begin(), candidates.begin() + static_cast<int64_t>(n_best), candidates.end(),
                    [](const Candidate& a, const Candidate& b) {
                      return a.score != b.score ? a.score > b.score
                                                : std::pair(a.from, a.token) < std::pair(b.from, b.token);
                    });
  std::vector<Hypothesis> next;
  for (size_t i = 0; i < n_best && static_cast<int64_t>(next.size()) < options.beams; ++i) {
    Hypothesis longer = beam.alive[candidates[i].from];
    longer.ids.push_back(candidates[i].token);
    longer.score = candidates[i].score;
    if (candidates[i].token != end) {
      next.push_back(std::move(longer));
    } else if (static_cast<int64_t>(i) < options.beams) {  // behind the best ones it would not have been kept
      longer.score = by_length(longer);
      beam.ended.push_back(std::move(longer));
    }
    if (options.beams == 1) break;
  }
  beam.alive = std::move(next);
  std::stable_sort(beam.ended.begin(), beam.ended.end(),
                   [](const Hypothesis& a, const Hypothesis& b) { return a.score > b.score; });
  if (static_cast<int64_t>(beam.ended.size()) > options.beams)
    beam.ended.resize(static_cast<size_t>(options.beams));
  const bool is_full = static_cast<int64_t>(beam.ended.size()) == options.beams;
  beam.is_done = beam.alive.empty() || (is_full && by_length(beam.alive[0]) <= beam.ended.back().score);
}

SequenceDecoder::SequenceDecoder(const TrainedModel& model, const std::map<std::string, int64_t>& steps,
                                 int64_t samples, const DecodingOptions& options)
    : impl_(std::make_unique<Impl>(model, steps, samples, options)) {}
SequenceDecoder::~SequenceDecoder() = default;

const std::string& SequenceDecoder::previous() const { return impl_->previous; }
const Graph& SequenceDecoder::graph() const { return impl_->graph; }

std::vector<std::string> SequenceDecoder::given_inputs() const {
  std::vector<std::string> names;
  for (const Impl::Input& input : impl_->inputs)
    if (input.given >= 0) names.push_back(impl_->graph.vertex(input.vertex).name);
  return names;
}

std::vector<std::vector<int64_t>> SequenceDecoder::write(const std::vector<const void*>& arrays, int64_t n) {
  Impl& d = *impl_;
  for (Impl::Input& input : d.inputs) {
    std::fill(input.rows.begin(), input.rows.end(), std::byte{0});
    if (input.given < 0) continue;
    const auto* from = static_cast<const std::byte*>(arrays[static_cast<size_t>(input.given)]);
    for (int64_t row = 0; row < n * d.options.beams; ++row)
      std::memcpy(input.rows.data() + row * input.row_bytes, from + row / d.options.beams * input.row_bytes,
                  static_cast<size_t>(input.row_bytes));
  }
  std::vector<Beam> beams(static_cast<size_t>(n));
  for (Beam& beam : beams) beam.alive = {{{d.begin}, 0}};
  for (int64_t written = 1; written <= d.max_length; ++written) {
    if (std::all_of(beams.begin(), beams.end(), [](const Beam& beam) { return beam.is_done; })) break;
    d.run(beams, written);
    for (size_t s = 0; s < beams.size(); ++s)
      if (!beams[s].is_done) d.go_on(beams[s], static_cast<int64_t>(s), written);
  }
  std::vector<std::vector<int64_t>> texts;
  for (Beam& beam : beams) {
    const bool has_ended = !beam.ended.empty();
    std::vector<int64_t> ids = has_ended ? beam.ended[0].ids : beam.alive[0].ids;
    ids.erase(ids.begin());
    if (has_ended) ids.pop_back();
    texts.push_back(std::move(ids));
  }
  return texts;
}

}  // namespace lockstep
