// generate as a user meets it: a small translator and a small language model, trained for a moment, write for
// prompts and for datasets; the same on any number of ranks; what is refused, and how.
#include <gtest/gtest.h>

#include <filesystem>

#include "tests/jobs/program.h"

namespace lockstep {
namespace {

namespace fs = std::filesystem;

std::string lines_of(const std::string& text, int n) {
  size_t end = 0;
  for (int i = 0; i < n; ++i) end = text.find('\n', end) + 1;
  return text.substr(0, end);
}

void expect_error(const std::string& words, int status, const std::string& part) {
  const Ended ended = lockstep("generate " + words);
  EXPECT_EQ(ended.status, status) << words << "\n" << ended.output;
  EXPECT_NE(ended.output.find(part), std::string::npos) << "lacks: " << part << "\n" << ended.output;
  EXPECT_EQ(count(ended.output, "lockstep: "), 1) << ended.output;
  EXPECT_EQ(count(ended.output, "remedy: "), 1) << ended.output;
}

class Generate : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    folder_ = new TemporaryFolder;
    std::string pairs, text;
    for (int i = 0; i < 96; ++i) {
      const int day = 1 + i * 7 % 28, month = 1 + i * 5 % 12;
      pairs += std::to_string(day) + "/" + std::to_string(month) + "\t" + (month < 10 ? "0" : "") +
               std::to_string(month) + "-" + (day < 10 ? "0" : "") + std::to_string(day) + "\n";
      text += "abc bca cab\n";
    }
    write_file(file("dates.tsv"), pairs);
    write_file(file("text.txt"), text);
    write_file(file("other.tsv"), "x\ty\n");
    expect_done("convert pairs " + file("dates.tsv") + " --out " + file("train") + " --skip 24");
    expect_done("convert pairs " + file("dates.tsv") + " --out " + file("validation") +
                " --limit 24 --vocabulary-from " + file("train"));
    expect_done("convert pairs " + file("other.tsv") + " --out " + file("other"));
    expect_done("convert text " + file("text.txt") + " --validation-fraction 0.2 --out " + file("text"));
    const std::string jobs = std::string(LOCKSTEP_SOURCE_DIR) + "/jobs/";
    expect_done("train " + jobs + "dates-attention.yaml --out " + file("translator") +
                " --set data.train=" + file("train") + " --set data.validation=" + file("validation") +
                " --set model.hidden=8 --set model.embedding=4 --set train.epochs=2 --set batch.global=8"
                " --set batch.micro=4");
    expect_done("train " + jobs + "char-lstm-shakespeare.yaml --out " + file("writer") +
                " --set data.train.path=" + file("text/train") +
                " --set data.validation.path=" + file("text/validation") +
                " --set data.train.window=16 --set data.validation.window=16 --set model.hidden=8"
                " --set model.embedding=4 --set batch.global=4 --set batch.micro=2 --set train.epochs=2");
  }
  static void TearDownTestSuite() {
    delete folder_;
    folder_ = nullptr;
  }
  static void expect_done(const std::string& words) {
    const Ended ended = lockstep(words);
    ASSERT_EQ(ended.status, 0) << words << "\n" << ended.output;
  }
  static std::string file(const std::string& name) { return folder_->file(name); }
  static std::string translator() { return file("translator/checkpoints/best.h5 "); }
  static std::string writer() { return file("writer/checkpoints/best.h5 "); }
  static std::string written(const std::string& words, int n_ranks = 1) {
    const Ended ended =
        n_ranks > 1 ? lockstep_on(n_ranks, "generate " + words) : lockstep("generate " + words);
    EXPECT_EQ(ended.status, 0) << words << "\n" << ended.output;
    return ended.output;
  }

 private:
  static inline TemporaryFolder* folder_ = nullptr;
};

TEST_F(Generate, ADecoderWritesForAPrompt) {
  const std::string greedy = written(translator() + "--prompt 1/1");
  EXPECT_EQ(count(greedy, "\n"), 1) << greedy;
  EXPECT_GT(greedy.size(), 1u);
  EXPECT_EQ(written(translator() + "--prompt 1/1"), greedy);
  EXPECT_EQ(written(translator() + "--prompt 1/1 --beams 1 --length-penalty 2"), greedy);
  EXPECT_EQ(written(translator() + "--prompt 1/1", 2), greedy);
  const std::string two = written(translator() + "--prompt 1/1 --max-length 2");  // tokens
  EXPECT_LT(two.size(), greedy.size());
  EXPECT_EQ(greedy.substr(0, two.size() - 1) + "\n", two);
  const std::string beams = written(translator() + "--prompt 1/1 --beams 3");
  EXPECT_EQ(count(beams, "\n"), 1) << beams;
}

TEST_F(Generate, ADecoderWritesForADataset) {
  const std::string data = translator() + "--data " + file("validation") + " --beams 3 ";
  const std::string figures = written(data + "--out " + file("lines.txt"));
  EXPECT_NE(figures.find("samples      24"), std::string::npos) << figures;
  EXPECT_NE(figures.find("exact match"), std::string::npos) << figures;
  EXPECT_NE(figures.find("BLEU"), std::string::npos) << figures;
  const std::string lines = read_file(file("lines.txt"));
  EXPECT_EQ(count(lines, "\n"), 24) << lines;
  EXPECT_EQ(lines_of(lines, 1), written(translator() + "--prompt 1/1 --beams 3"));
  EXPECT_EQ(written(data + "--out " + file("two.txt"), 2), figures);
  EXPECT_EQ(read_file(file("two.txt")), lines);
  const std::string json = written(data + "--limit 5 --json --out " + file("five.txt"));
  EXPECT_NE(json.find("\"samples\": 5, \"exact_match\": "), std::string::npos) << json;
  EXPECT_EQ(read_file(file("five.txt")), lines_of(lines, 5));
  EXPECT_EQ(written(translator() + "--data validation --beams 3 --out " + file("own.txt")), figures);
  EXPECT_EQ(read_file(file("own.txt")), lines);
  EXPECT_NE(written(translator() + "--data " + file("validation")).find("samples      24"),
            std::string::npos);
}

TEST_F(Generate, ALanguageModelGoesOn) {
  const std::string prompt = writer() + "--prompt abc --length ", words = prompt + "40 ";
  const std::string drawn = written(words + "--seed 3");
  EXPECT_EQ(drawn.substr(0, 3), "abc");
  EXPECT_EQ(drawn.size(), 44u) << drawn;
  EXPECT_EQ(written(words + "--seed 3"), drawn);
  EXPECT_NE(written(words + "--seed 4"), drawn);
  const std::string probable = written(words + "--temperature 0");
  EXPECT_EQ(written(words + "--top-k 1 --seed 3"), probable);
  EXPECT_EQ(written(words + "--top-p 0.0001 --seed 4"), probable);
  EXPECT_EQ(written(prompt + "0"), "abc\n");
}

TEST_F(Generate, ALanguageModelOfBytePairs) {
  const std::string tokenizer = file("pairs.json"), job = std::string(LOCKSTEP_SOURCE_DIR) + "/jobs/";
  expect_done("tokenizer train " + file("text.txt") + " --vocab-size 262 --special '<|endoftext|>' --out " +
              tokenizer);
  expect_done("convert text " + file("text.txt") + " --tokenizer " + tokenizer +
              " --validation-fraction 0.2 --out " + file("pairs"));
  const std::string options =
      " --set data.train.window=16 --set data.validation.window=16 --set model.hidden=8"
      " --set model.embedding=4 --set batch.global=4 --set batch.micro=2"
      " --set train.epochs=1";
  expect_done("train " + job + "char-lstm-shakespeare.yaml --out " + file("pairs_writer") +
              " --set data.train.path=" + file("pairs/train") +
              " --set data.validation.path=" + file("pairs/validation") + options);
  const std::string checkpoint = file("pairs_writer/checkpoints/best.h5 ");
  // The prompt becomes ids and text again by the checkpoint's own tokenizer, also where it has bytes of no
  // token of training, and a character is many ids.
  fs::remove(tokenizer);
  EXPECT_EQ(written(checkpoint + "--prompt 'abc bca 日本<|endoftext|>' --length 0"), "abc bca 日本\n");
  const std::string ids = written(checkpoint + "--prompt 'abc bca' --length 0 --ids");
  EXPECT_LT(count(ids, " "), 7) << ids;  // merged
  EXPECT_EQ(written(checkpoint + "--prompt abc --length 20").substr(0, 3), "abc");
  EXPECT_EQ(lockstep("evaluate " + checkpoint + " --data " + file("pairs/validation")).status, 0);
  // Data of another tokenizer are refused.
  expect_done("tokenizer train " + file("dates.tsv") + " --vocab-size 262 --special '<|endoftext|>' --out " +
              tokenizer);
  expect_done("convert text " + file("text.txt") + " --tokenizer " + tokenizer + " --out " + file("others"));
  const Ended refused = lockstep("evaluate " + checkpoint + " --data " + file("others"));
  EXPECT_EQ(refused.status, 1);
  EXPECT_NE(refused.output.find("is another than that of training"), std::string::npos) << refused.output;
}

TEST_F(Generate, TokenizersAreTriedOut) {
  const std::string tokenizer = file("tried.json");
  const std::string train = "tokenizer train " + file("text.txt") + " --vocab-size 300 --out " + tokenizer;
  expect_done(train);
  const Ended encoded = lockstep("tokenizer encode " + tokenizer + " 'abc é'");
  EXPECT_EQ(encoded.status, 0);
  std::string ids = encoded.output.substr(0, encoded.output.find('\n'));
  EXPECT_EQ(lockstep("tokenizer decode " + tokenizer + " " + ids).output, "abc é\n");
  EXPECT_EQ(count(lockstep("tokenizer encode " + tokenizer + " 'abc é' --tokens").output, "\n"),
            count(ids, " ") + 1);
  const Ended again = lockstep(train);
  EXPECT_EQ(again.status, 1);
  EXPECT_NE(again.output.find("exists"), std::string::npos) << again.output;
  EXPECT_EQ(lockstep("tokenizer decode " + tokenizer + " 7 x").status, 2);
  EXPECT_EQ(lockstep("tokenizer decode " + tokenizer + " 300").status, 1);
  const Ended unknown = lockstep("tokenizer encod " + tokenizer + " a");
  EXPECT_EQ(unknown.status, 2);
  EXPECT_NE(unknown.output.find("did you mean 'encode'?"), std::string::npos) << unknown.output;
}

TEST_F(Generate, WhatIsRefused) {
  expect_error(translator() + "--prompt 1/1 --beams 0", 2, "--beams 0 is not between 1 and 1000");
  expect_error(translator() + "--prompt 1/1 --length-penalty nan", 2, "--length-penalty");
  expect_error(translator() + "--prompt 1/1 --max-length -1", 2, "--max-length -1 is below 0");
  expect_error(translator() + "--prompt 1/1 --data " + file("validation"), 2, "both given");
  expect_error(translator(), 1, "nothing that the decoder could write for");
  expect_error(translator() + "--prompt ''", 2, "--prompt is empty");
  expect_error(translator() + "--data " + file("other"), 1, "is another than that of training");
  write_file(file("there.txt"), "");
  expect_error(translator() + "--data " + file("validation") + " --out " + file("there.txt"), 1, "exists");
  expect_error(writer() + "--prompt 'abc\u03a9'", 1, "at byte 3 is none of the");
  expect_error(writer() + "--temperature -1", 2, "--temperature -1 is below 0");
  expect_error(writer() + "--top-k -1", 2, "--top-k -1 is below 0");
  expect_error(writer() + "--top-p 0", 2, "--top-p 0 is no probability");
  expect_error(writer() + "--length -1", 2, "--length -1 is below 0");
  expect_error(writer() + "--beams many", 2, "beams");
  expect_error(writer() + "--data " + file("validation"), 1, "reads one sequence and writes no other one");
}

}  // namespace
}  // namespace lockstep
