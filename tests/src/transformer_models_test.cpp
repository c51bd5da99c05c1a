// The zoo's transformers against Hugging Face's GPT-2 and BERT and PyTorch's encoder and decoder: scores and
// the losses of ten steps, from weights that are imported under the names of their files.
// tests/fixtures/make_transformer_fixtures.py wrote the numbers.
#include <gtest/gtest.h>

#include "src/network/weights_file.h"
#include "tests/src/network.h"
#include "tests/src/sequence_fixture.h"
#include "tests/src/token_trajectory.h"

namespace lockstep {
namespace {

constexpr int64_t kN = 4, kVocabulary = 13, kSteps = 7;

constexpr const char* kFixture = "transformers.safetensors";

Graph zoo_graph(const std::string& options, const ModelContext& context) {
  return build_model(
      Config::from_text("{" + options + ", width: 16, heads: 4, layers: 2, dropout: 0}", "model"), context);
}

std::unique_ptr<ParameterArena> imported(const Graph& graph, const std::string& name) {
  std::unique_ptr<ParameterArena> arena = random_arena(graph, 1);
  ImportRules rules;
  rules.renames.emplace_back(std::regex("^" + name + "/"), "");
  rules.ignored.emplace_back("(gpt2|bert|post|pre)/.*|output|losses");
  import_weights(fixture_file(kFixture), rules, *arena);
  return arena;
}

/// Ten steps of Adam from the fixture's weights.
void expect_trajectory(const std::string& name, const Graph& graph, const std::vector<const void*>& inputs,
                       const std::vector<int64_t>& targets) {
  const std::unique_ptr<ParameterArena> arena = imported(graph, name);
  expect_token_trajectory({kFixture, name, kN, kVocabulary, 0.01, 1e-4}, graph, *arena, inputs, targets);
}

/// Row n of the fixture's tokens, and the next ones.
struct Tokens {
  std::vector<int32_t> here;
  std::vector<int64_t> next;

  Tokens() {
    for (int64_t i = 0; i < kN * (kSteps + 1); ++i) {
      const auto id = static_cast<int64_t>(fixture_bits("tokens", i) % kVocabulary);
      if (i % (kSteps + 1) < kSteps) here.push_back(static_cast<int32_t>(id));
      if (i % (kSteps + 1) > 0) next.push_back(id);
    }
  }
};

TEST(TransformerModels, Gpt2IsHuggingFaces) {
  ModelContext context;
  context.input = {kSteps};
  const Graph graph = zoo_graph("zoo: gpt2, vocabulary: 13, positions: 9", context);
  const Tokens tokens;
  expect_trajectory("gpt2", graph, {tokens.here.data()}, tokens.next);
}

TEST(TransformerModels, BertIsHuggingFaces) {
  const std::vector<int32_t> lengths{7, 3, 5, 1};
  ModelContext context;
  context.input = {kSteps};
  context.inputs = {{"input", {kSteps}}};
  context.ragged = {"input"};
  const Graph graph =
      zoo_graph("zoo: bert, vocabulary: 13, positions: 9, feed_forward: 24, padding: 0", context);
  Tokens tokens;
  std::vector<int64_t> targets;
  for (int64_t i = 0; i < kN * kSteps; ++i) {
    const bool is_chosen = fixture_bits("chosen", i) % 3 == 0;
    const bool is_seen = i % kSteps < lengths[static_cast<size_t>(i / kSteps)];
    targets.push_back(is_chosen && is_seen ? tokens.here[static_cast<size_t>(i)] : -1);
    if (is_chosen) tokens.here[static_cast<size_t>(i)] = kVocabulary - 1;
  }
  ASSERT_EQ(graph.inputs().size(), 2u);
  expect_trajectory("bert", graph, {tokens.here.data(), lengths.data()}, targets);
}

void expect_transformer(const std::string& norm) {
  constexpr int64_t kSource = 6, kTarget = 5;
  const std::vector<int32_t> source_lengths{5, 3, 6, 1}, target_lengths{4, 5, 2, 3};
  ModelContext context;
  context.inputs = {{"source", {kSource}}, {"previous", {kTarget}}};
  context.ragged = {"source", "previous"};
  const Graph graph = zoo_graph(
      "zoo: transformer, norm: " + norm + ", feed_forward: 24, source_vocabulary: 13, target_vocabulary: 13",
      context);
  std::vector<int32_t> source(kN * kSource), previous(kN * kTarget);
  std::vector<int64_t> targets(kN * kTarget, -1);
  for (int64_t n = 0; n < kN; ++n) {
    for (int64_t s = 0; s < source_lengths[n]; ++s)
      source[n * kSource + s] = static_cast<int32_t>(fixture_bits("source", n * kSource + s) % kVocabulary);
    for (int64_t t = 0; t < target_lengths[n]; ++t) {
      const auto token = [&](int64_t at) {
        return fixture_bits("target", n * (kTarget + 1) + at) % kVocabulary;
      };
      previous[n * kTarget + t] = static_cast<int32_t>(token(t));
      targets[n * kTarget + t] = static_cast<int64_t>(token(t + 1));
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
  expect_trajectory(norm, graph, inputs, targets);
}

TEST(TransformerModels, PostNormIsPyTorchs) { expect_transformer("post"); }
TEST(TransformerModels, PreNormIsPyTorchs) { expect_transformer("pre"); }

TEST(TransformerModels, StepByStepGivesTheScoresOfTheWholeSequence) {
  const auto graph_of = [](int64_t n_steps) {
    ModelContext context;
    context.input = {kSteps};
    context.steps = {{"input", n_steps}};
    return zoo_graph("zoo: gpt2, vocabulary: 13, positions: 9", context);
  };
  const Graph whole = graph_of(kSteps), step = graph_of(1);
  const std::unique_ptr<ParameterArena> arena = imported(whole, "gpt2");
  PlanOptions options = plan_options(kN);
  options.config.training = false;
  Plan all(whole, *arena, std::vector<LossSpec>{}, options);
  options.cache_steps = kSteps;
  Plan one(step, *arena, std::vector<LossSpec>{}, options);
  all.refresh_weights();
  one.refresh_weights();
  const Tokens tokens;
  const std::vector<int64_t> sample_ids{0, 1, 2, 3};
  BatchContext batch;
  batch.n_valid = kN;
  batch.sample_ids = sample_ids.data();
  all.forward({tokens.here.data()}, {}, batch);
  const std::vector<float> expected(all.output(), all.output() + all.output_shape().n_elements());
  for (int pass = 0; pass < 2; ++pass) {  // the second begins anew
    for (int64_t t = 0; t < kSteps; ++t) {
      std::vector<int32_t> ids;
      for (int64_t n = 0; n < kN; ++n) ids.push_back(tokens.here[static_cast<size_t>(n * kSteps + t)]);
      batch.first_step = t;
      one.forward({ids.data()}, {}, batch);
      for (int64_t n = 0; n < kN; ++n)
        for (int64_t v = 0; v < kVocabulary; ++v)
          ASSERT_NEAR(one.output()[n * kVocabulary + v],
                      expected[static_cast<size_t>((n * kSteps + t) * kVocabulary + v)], 1e-5)
              << "step " << t << " of sample " << n;
    }
  }
}

TEST(TransformerModels, TiedWeightsAreStoredOnceAndTakeBothGradients) {
  const auto n_parameters = [](const char* tied) {
    ModelContext context;
    context.input = {kSteps};
    return zoo_graph(std::string("zoo: gpt2, vocabulary: 13, positions: 9, tied: ") + tied, context)
        .n_parameters();
  };
  EXPECT_EQ(n_parameters("false") - n_parameters("true"), 13 * 16);
}

TEST(TransformerModels, Gpt2HasItsParameters) {
  const auto n_parameters = [](const std::string& options) {
    return build_model(Config::from_text("{" + options + "}", "model"), {}).n_parameters();
  };
  EXPECT_EQ(n_parameters("zoo: gpt2"), 124439808);
  EXPECT_EQ(n_parameters("zoo: gpt2, layers: 24, width: 1024, heads: 16"), 354823168);
  EXPECT_EQ(n_parameters("zoo: bert"), 109514298);  // with the scores of masked tokens
}

}  // namespace
}  // namespace lockstep
