// The zoo's networks over sequences against PyTorch: outputs, attention weights and the losses of ten steps.
// tests/fixtures/make_sequence_fixtures.py wrote the numbers; weights and ids are the same formula of their
// names.
#include <cmath>

#include "tests/src/network.h"
#include "tests/src/sequence_fixture.h"
#include "tests/src/token_trajectory.h"

namespace lockstep {
namespace {

constexpr int64_t kN = 4, kVocabulary = 11;

Graph zoo_graph(const std::string& options, const ModelContext& context) {
  return build_model(Config::from_text("{" + options + ", hidden: 6, embedding: 5}", "model"), context);
}

/// Ten steps of Adam from weights that follow from their names.
void expect_trajectory(const std::string& name, const Graph& graph, const std::vector<const void*>& inputs,
                       const std::vector<int64_t>& targets) {
  const std::unique_ptr<ParameterArena> arena = random_arena(graph, 1);
  for (const Segment& segment : arena->segments()) {
    for (int64_t i = 0; i < segment.n_elements(); ++i)
      arena->host().as<float>()[segment.offset + i] =
          static_cast<float>(1.2 * (static_cast<double>(fixture_bits(segment.name, i)) * 0x1p-24 - 0.5));
  }
  const std::unique_ptr<Stream> stream = make_stream(network_device());
  arena->host().upload(*stream);
  stream->synchronize();
  expect_token_trajectory({"sequences.safetensors", name, kN, kVocabulary, 0.02}, graph, *arena, inputs,
                          targets);
}

TEST(SequenceModels, CharLstmHasPyTorchsTrajectory) {
  constexpr int64_t kSteps = 7;
  ModelContext context;
  context.input = {kSteps};
  const Graph graph = zoo_graph("zoo: char_lstm, layers: 2, vocabulary: 11", context);
  std::vector<int32_t> tokens;
  std::vector<int64_t> targets;
  for (int64_t i = 0; i < kN * (kSteps + 1); ++i) {
    const auto id = static_cast<int64_t>(fixture_bits("tokens", i) % kVocabulary);
    if (i % (kSteps + 1) < kSteps) tokens.push_back(static_cast<int32_t>(id));
    if (i % (kSteps + 1) > 0) targets.push_back(id);
  }
  expect_trajectory("char_lstm", graph, {tokens.data()}, targets);
}

TEST(SequenceModels, Seq2seqWithAttentionHasPyTorchsTrajectory) {
  constexpr int64_t kSource = 6, kTarget = 5;
  const std::vector<int32_t> source_lengths{5, 3, 6, 1}, target_lengths{4, 5, 2, 3};
  ModelContext context;
  context.inputs = {{"source", {kSource}}, {"previous", {kTarget}}};
  context.ragged = {"source", "previous"};
  const Graph graph = zoo_graph(
      "zoo: seq2seq_attention, attention: 7, source_vocabulary: 11, target_vocabulary: 11", context);
  std::vector<int32_t> source(kN * kSource), previous(kN * kTarget);
  std::vector<int64_t> targets(kN * kTarget, -1);
  for (int64_t n = 0; n < kN; ++n) {
    for (int64_t s = 0; s < source_lengths[n]; ++s)
      source[n * kSource + s] = static_cast<int32_t>(fixture_bits("source", n * kSource + s) % kVocabulary);
    for (int64_t t = 0; t < target_lengths[n]; ++t) {
      previous[n * kTarget + t] =
          static_cast<int32_t>(fixture_bits("target", n * (kTarget + 1) + t) % kVocabulary);
      targets[n * kTarget + t] =
          static_cast<int64_t>(fixture_bits("target", n * (kTarget + 1) + t + 1) % kVocabulary);
    }
  }
  std::vector<const void*> inputs;
  for (const int v : graph.inputs()) {
    const std::string& name = graph.vertex(v).name;
    inputs.push_back(name == "source"          ? static_cast<const void*>(source.data())
                     : name == "source.length" ? source_lengths.data()
                     : name == "previous"      ? static_cast<const void*>(previous.data())
                                               : target_lengths.data());
  }
  ASSERT_EQ(inputs.size(), 4u);
  ASSERT_EQ(graph.shown().size(), 1u);
  expect_trajectory("seq2seq_attention", graph, inputs, targets);
}

}  // namespace
}  // namespace lockstep
