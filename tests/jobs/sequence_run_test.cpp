// Runs over sequences as users start them: the same bits when a run is cut off in mid-stream and goes on with
// another number of ranks, and one message with a remedy for each mistake.
#include <gtest/gtest.h>

#include <filesystem>

#include "io/checkpoint/checkpoint.h"
#include "io/dataset/dataset.h"
#include "tests/jobs/program.h"

namespace lockstep {
namespace {

namespace fs = std::filesystem;

class SequenceRuns : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    folder_ = new TemporaryFolder;
    std::string text, pairs, labelled;
    for (int i = 0; i < 700; ++i) {
      text += static_cast<char>('a' + (i * i + i / 7) % 9);
      if (i % 11 == 0) text += ' ';
    }
    for (int i = 0; i < 61; ++i) {
      const std::string word(static_cast<size_t>(1 + i * 7 % 13), static_cast<char>('a' + i % 5));
      pairs +=
          word + "\t" + std::string(static_cast<size_t>(1 + i % 4), static_cast<char>('p' + i % 5)) + "\n";
      labelled += std::string(i % 2 ? "odd" : "even") + "\t" + word + " " + word + "\n";
    }
    write_file(file("text.txt"), text);
    write_file(file("pairs.tsv"), pairs);
    write_file(file("labelled.tsv"), labelled);
    write_file(file("other.txt"), text + "xyz");
    for (const std::string& words :
         {"text " + file("other.txt") + " --out " + file("other"),
          "text " + file("text.txt") + " --validation-fraction 0.3 --out " + file("text"),
          "pairs " + file("pairs.tsv") + " --out " + file("pairs"),
          "labelled-text " + file("labelled.tsv") + " --out " + file("labelled")}) {
      const Ended ended = lockstep("convert " + words);
      ASSERT_EQ(ended.status, 0) << ended.output;
    }
    write_job("stream", "{zoo: char_lstm, hidden: 12, embedding: 6, layers: 2, dropout: 0.2, state: carried}",
              "{train: {path: " + file("text/train") +
                  ", window: 6}, validation: {path: " + file("text/validation") + "}}");
    const std::string windows = "{train: {path: " + file("text/train") +
                                ", window: 6}, validation: {path: " + file("text/validation") + "}";
    write_job("gpt", "{zoo: gpt2_mini, layers: 2, width: 16, heads: 2, positions: 6, dropout: 0.2}",
              windows + "}");
    write_job("masked", "{zoo: bert_small, layers: 2, width: 16, heads: 2, positions: 6, dropout: 0.2}",
              windows + ", masking: 0.3}");
    write_job("translation", "{zoo: transformer, layers: 1, width: 16, heads: 2, dropout: 0.2}",
              "{train: " + file("pairs") + ", validation: " + file("pairs") + "}");
    write_job("pairs", "{zoo: seq2seq_attention, hidden: 8, embedding: 6}",
              "{train: " + file("pairs") + ", validation: " + file("pairs") + "}");
  }
  static void TearDownTestSuite() {
    delete folder_;
    folder_ = nullptr;
  }

  static std::string file(const std::string& name) { return folder_->file(name); }
  static void write_job(const std::string& name, const std::string& model, const std::string& data,
                        const std::string& loss = "token_cross_entropy") {
    write_file(file(name + ".yaml"),
               "name: " + name + "\nmodel: " + model + "\ndata: " + data + "\nloss: " + loss +
                   "\nbatch: {global: 8, micro: 2}\noptimizer: {adam: {lr: 0.01}}\nclip: 1\n"
                   "train: {steps: 14, log_every_steps: 2}\ncheckpoint: {every_steps: 1, keep: 0}\n");
  }
  static std::string train(const std::string& job, const std::string& out) {
    return "train " + file(job + ".yaml") + " --out " + file(out) + " ";
  }
  static std::string checkpoint(const std::string& run, int step) {
    return file(run + "/checkpoints/step-0000000" + (step < 10 ? "0" : "") + std::to_string(step) + ".h5");
  }
  static void expect_refusal(const std::string& words, const std::vector<std::string>& parts) {
    const Ended ended = lockstep_on(2, words);
    EXPECT_EQ(ended.status, 1) << words << "\n" << ended.output;
    for (const std::string& part : parts)
      EXPECT_NE(ended.output.find(part), std::string::npos) << "'" << part << "' is missing in:\n"
                                                            << ended.output;
    EXPECT_EQ(count(ended.output, "lockstep: "), 1) << ended.output;
    EXPECT_EQ(count(ended.output, "remedy: "), 1) << ended.output;
  }

 private:
  static inline TemporaryFolder* folder_ = nullptr;
};

TEST_F(SequenceRuns, GoOnInMidStreamWithAnotherNumberOfRanks) {
  for (const std::string job : {"stream", "pairs", "gpt", "masked", "translation"}) {
    const Ended calm = lockstep(train(job, job + "-calm"));
    ASSERT_EQ(calm.status, 0) << calm.output;
    const std::string expected = read_file(checkpoint(job + "-calm", 14));
    ASSERT_FALSE(expected.empty());
    for (const auto& [n_ranks, step] : {std::pair{1, 3}, {2, 5}, {4, 9}}) {
      const std::string run = job + std::to_string(n_ranks);
      fs::copy(file(job + "-calm"), file(run), fs::copy_options::recursive | fs::copy_options::copy_symlinks);
      for (const std::string& path : list_checkpoints(file(run + "/checkpoints")))
        if (checkpoint_step(path) > step) fs::remove(path);
      const Ended ended = lockstep_on(n_ranks, train(job, run) + "--resume auto");
      ASSERT_EQ(ended.status, 0) << ended.output;
      EXPECT_NE(ended.output.find("resumed at step " + std::to_string(step)), std::string::npos)
          << ended.output;
      EXPECT_TRUE(read_file(checkpoint(run, 14)) == expected) << job << " on " << n_ranks << " ranks";
    }
  }
  // What it carries is in the file, a row for each row of the global batch.
  int n_states = 0;
  for (const CheckpointEntry& entry : list_checkpoint(checkpoint("stream-calm", 14))) {
    if (!entry.name.starts_with("/state/")) continue;
    ++n_states;
    EXPECT_EQ(entry.shape, (Shape{4, 2, 12})) << entry.name;
  }
  EXPECT_EQ(n_states, 4);
}

TEST_F(SequenceRuns, EvaluateTellsTheSameOfStreamsOnAnyNumberOfRanks) {
  const Ended trained = lockstep(train("stream", "judged"));
  ASSERT_EQ(trained.status, 0) << trained.output;
  const std::string words =
      "evaluate " + checkpoint("judged", 14) + " --data " + file("text/validation") + " --json";
  const Ended alone = lockstep(words), together = lockstep_on(2, words);
  ASSERT_EQ(alone.status, 0) << alone.output;
  EXPECT_NE(alone.output.find("\"perplexity\""), std::string::npos) << alone.output;
  EXPECT_EQ(together.output, alone.output);
  // Without a step before it each window begins with zeros, whatever was in memory.
  const std::string predict =
      "predict " + checkpoint("judged", 14) + " --data " + file("text/validation") + " --out ";
  for (const char* name : {"first.h5", "second.h5"}) {
    const Ended ended = lockstep(predict + file(name));
    ASSERT_EQ(ended.status, 0) << ended.output;
  }
  EXPECT_TRUE(read_file(file("first.h5")) == read_file(file("second.h5")));
}

TEST_F(SequenceRuns, TheReportShowsWhatTheDecoderLookedAt) {
  const Ended ended = lockstep(train("pairs", "shown"));
  ASSERT_EQ(ended.status, 0) << ended.output;
  const std::string maps = read_file(file("shown/attention.json")),
                    page = read_file(file("shown/report.html"));
  EXPECT_EQ(count(maps, "\"name\": \"decoder.attention.weights\""), 2) << maps;  // of a micro-batch
  EXPECT_NE(maps.find("</s>"), std::string::npos) << maps;
  EXPECT_NE(page.find("What it looked at"), std::string::npos);
  EXPECT_EQ(count(page, "class=\"attention\""), 2);
}

TEST_F(SequenceRuns, TheReportShowsTheHeadsOfATransformer) {
  for (const auto& [job, layer, n_maps] :
       {std::tuple{"gpt", "transformer.h.1.attn.weights, head 2", 4},
        {"translation", "decoder.layers.0.encoder_attn.heads.weights, head 1", 4}}) {
    const std::string run = std::string(job) + "-heads";
    const Ended ended = lockstep(train(job, run));
    ASSERT_EQ(ended.status, 0) << ended.output;
    const std::string maps = read_file(file(run + "/attention.json"));
    EXPECT_EQ(count(maps, std::string("\"") + layer + "\""), 1) << maps.substr(0, 2000);
    EXPECT_GE(count(maps, "\"name\""), n_maps) << maps.substr(0, 2000);
    EXPECT_NE(read_file(file(run + "/report.html")).find("What it looked at"), std::string::npos);
  }
}

TEST_F(SequenceRuns, MaskedTokensAreFilledIn) {
  const Ended trained = lockstep(train("masked", "filled"));
  ASSERT_EQ(trained.status, 0) << trained.output;
  const std::string words = "generate " + checkpoint("filled", 14) + " --prompt ";
  const Ended ended = lockstep(words + "'a<mask>c<mask>'");
  EXPECT_EQ(ended.status, 0) << ended.output;
  EXPECT_NE(ended.output.find("token 2:"), std::string::npos) << ended.output;
  EXPECT_NE(ended.output.find("token 4:"), std::string::npos) << ended.output;
  EXPECT_EQ(ended.output.find("<mask>"), std::string::npos) << ended.output;
  EXPECT_EQ(lockstep(words + "'a<mask>c<mask>'").output, ended.output);
  expect_refusal(words + "abc", {"--prompt has none", "<mask>"});
  expect_refusal(words + "'abcabcabc<mask>'", {"10 steps", "6 positions"});
}

TEST_F(SequenceRuns, PredictWritesFeaturesAndAttention) {
  const Ended trained = lockstep(train("gpt", "features"));
  ASSERT_EQ(trained.status, 0) << trained.output;
  const std::string words =
      "predict " + checkpoint("features", 14) + " --data " + file("text/validation") + " --out ";
  const Ended ended =
      lockstep(words + file("features.h5") + " --features transformer.ln_f --attention --overwrite");
  ASSERT_EQ(ended.status, 0) << ended.output;
  const Dataset written = Dataset::open(file("features.h5"));
  EXPECT_EQ(written.field("transformer.ln_f").shape, (Shape{6, 16}));
  EXPECT_EQ(written.field("transformer.h.0.attn.weights").shape, (Shape{2, 6, 6}));
  expect_refusal(words + file("y.h5") + " --features transformer.ln_x", {"did you mean 'transformer.ln_f'"});
}

TEST_F(SequenceRuns, InspectShowsAScanWithoutItsMemory) {
  write_file(
      file("scan.yaml"),
      "model: {input: [512, 8], layers: [{scan: {over: {x: input}, carry: {h: {shape: [6]}}, body: [{concat: "
      "[x, h]}, {affine: 6}, tanh]}}, last_step, {affine: 3}]}\n");
  const Ended ended = lockstep("inspect " + file("scan.yaml"));
  EXPECT_EQ(ended.status, 0) << ended.output;
  EXPECT_NE(ended.output.find("scan1.0.tanh1"), std::string::npos);
  EXPECT_NE(ended.output.find("like these, for the further steps of the scan"), std::string::npos);
  EXPECT_LT(count(ended.output, "\n"), 60) << "a line for each step";
}

TEST_F(SequenceRuns, InspectShowsEveryPartOfAttentionInABlock) {
  write_file(
      file("blocks.yaml"),
      "model:\n  input: [6]\n  layers:\n    - {embedding: {width: 8, vocabulary: 20, name: words}}\n"
      "    - {positions: sinusoidal}\n    - block:\n        - {multi_head_attention: {heads: 2, causal: "
      "true, name: look}}\n        - {add: [input, look]}\n      name: blocks\n      repeat: 3\n"
      "    - {affine: {features: 20, each_step: true, weight_of: words}}\n");
  const Ended ended = lockstep("inspect " + file("blocks.yaml"));
  EXPECT_EQ(ended.status, 0) << ended.output;
  for (const char* part : {"blocks.2.look.q_proj", "blocks.2.look.heads", "blocks.1.look.v_proj"})
    EXPECT_NE(ended.output.find(part), std::string::npos) << part << "\n" << ended.output;
  EXPECT_EQ(ended.output.find("of the scan"), std::string::npos) << ended.output;
}

TEST_F(SequenceRuns, MistakesAreOneMessageWithARemedy) {
  expect_refusal(train("stream", "x") + "--set data.order=shuffled",
                 {"data.order", "carries its state", "data.order: streams"});
  expect_refusal(train("stream", "x") + "--set data.train.window=600", {"one window takes 601", "at most"});
  expect_refusal(train("stream", "x") + "--set model.vocabulary=5",
                 {"has 10 tokens, the network knows ids below 5", "--vocabulary-from"});
  expect_refusal(train("stream", "x") + "--set loss=softmax_cross_entropy", {"token_cross_entropy"});
  expect_refusal(train("stream", "x") + "--set data.order=by_length --set model.state=none",
                 {"no field has rows of unequal lengths"});
  expect_refusal(train("stream", "x") + "--set batch.global=128 --set batch.micro=64",
                 {"88 samples are fewer than the 128 rows", "stream of its own"});
  expect_refusal(train("stream", "x") + "--set data.validation.path=" + file("other"),
                 {"vocabulary", "--vocabulary-from"});
  expect_refusal(train("pairs", "x") + "--set 'loss={softmax_cross_entropy: {class_axis: last}}'",
                 {"unequal lengths", "token_cross_entropy"});
  expect_refusal(train("gpt", "x") + "--set model.heads=3", {"3 heads do not divide the width 16"});
  expect_refusal(train("gpt", "x") + "--set model.positions=5", {"6 steps", "5 positions", "window"});
  expect_refusal(train("masked", "x") + "--set model.vocabulary=10", {"data.masking", "10"});
  expect_refusal(train("masked", "x") + "--set data.masking=1.5", {"(0, 1)", "0.15"});
  write_job("labelled", "{zoo: seq2seq, hidden: 8}", "{train: " + file("labelled") + "}");
  expect_refusal(train("labelled", "x"), {"'source'"});
}

}  // namespace
}  // namespace lockstep
