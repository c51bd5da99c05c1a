// Byte-level byte-pair encoding against the ids and texts of Hugging Face's library
// (tests/fixtures/make_tokenizer_fixtures.py), and what files it refuses.
#include "io/tokenizer/tokenizer.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "io/files/json_parse.h"
#include "io/files/regular_file.h"
#include "io/tokenizer/byte_level.h"
#include "io/tokenizer/byte_pair_training.h"
#include "kernels/error.h"

namespace lockstep {
namespace {

const std::string kFolder = std::string(LOCKSTEP_SOURCE_DIR) + "/tests/fixtures/tokenizers/";

std::vector<int32_t> ids_of(const JsonValue& array) {
  std::vector<int32_t> ids;
  for (const JsonValue& id : *array.array()) ids.push_back(static_cast<int32_t>(*id.number()));
  return ids;
}

const JsonValue& cases() {
  static const JsonValue file = parse_json(read_text_file(kFolder + "cases.json"));
  return file;
}

class EveryTokenizer : public testing::TestWithParam<std::string> {};

TEST_P(EveryTokenizer, GivesTheIdsOfTheLibrary) {
  Tokenizer tokenizer = Tokenizer::load(kFolder + GetParam() + ".json");
  // What is written has the same meaning, and is written alike again.
  const std::string json = tokenizer_json(tokenizer.spec());
  Tokenizer again = Tokenizer::parse(json, "written");
  EXPECT_EQ(tokenizer_json(again.spec()), json);
  const JsonArray& texts = *cases().find("texts")->array();
  const JsonValue& expected = *cases().find("tokenizers")->find(GetParam());
  int64_t n_ids = 0;
  for (size_t i = 0; i < texts.size(); ++i) {
    const std::string& text = *texts[i].text();
    const std::vector<int32_t> ids = ids_of((*expected.find("ids")->array())[i]);
    EXPECT_EQ(tokenizer.encode(text), ids) << "text " << i << ": " << text;
    EXPECT_EQ(again.encode(text), ids) << "text " << i << ": " << text;
    const JsonValue& back = (*expected.find("texts")->array())[i];
    EXPECT_EQ(tokenizer.decode(ids), back.is_null() ? text : *back.text()) << i;
    n_ids += static_cast<int64_t>(ids.size());
  }
  EXPECT_GT(texts.size(), 80u);
  EXPECT_GT(n_ids, 3000);
  const JsonArray& random = *expected.find("random_ids")->array();
  for (size_t i = 0; i < random.size(); ++i)
    EXPECT_EQ(tokenizer.decode(ids_of(random[i])), *(*expected.find("random_texts")->array())[i].text()) << i;
  EXPECT_EQ(random.size(), 20u);
}

INSTANTIATE_TEST_SUITE_P(Tokenizer, EveryTokenizer,
                         testing::Values("gpt2", "roberta", "llama3", "o200k", "digits", "unknown", "fused"),
                         [](const auto& about) { return about.param; });

TEST(Tokenizer, ReadsVocabularyAndMerges) {
  const std::string folder = kFolder + "gpt2_files";
  const std::string text = "First Citizen:\nWe'll  see, don't we?";
  const std::vector<int32_t> ids = Tokenizer::load(kFolder + "gpt2.json").encode(text);
  EXPECT_EQ(Tokenizer::load(folder).encode(text), ids);
  EXPECT_EQ(Tokenizer::load(folder + "/vocab.json").encode(text), ids);
  EXPECT_EQ(Tokenizer::load(folder + "/merges.txt").encode(text), ids);
}

TEST(Tokenizer, SameIdsWhereTextIsCutBetweenLines) {
  const std::string text = "To be,\nor not\n\n to be:\n\nthat\nis 12\n34\n\n\n!?\nx";
  int64_t n_cuts = 0;
  for (const std::string name : {"gpt2", "llama3"}) {
    Tokenizer tokenizer = Tokenizer::load(kFolder + name + ".json");
    ASSERT_TRUE(tokenizer.may_cut_between_lines());
    const std::vector<int32_t> whole = tokenizer.encode(text);
    for (size_t at = 1; at + 1 < text.size(); ++at) {
      if (text[at] != '\n' || text[at - 1] <= ' ' || text[at + 1] <= ' ') continue;
      std::vector<int32_t> ids = tokenizer.encode(text.substr(0, at + 1));
      for (const int32_t id : tokenizer.encode(text.substr(at + 1))) ids.push_back(id);
      EXPECT_EQ(ids, whole) << at;
      ++n_cuts;
    }
  }
  EXPECT_GE(n_cuts, 8);
  for (const std::string name : {"roberta", "o200k", "digits"})
    EXPECT_FALSE(Tokenizer::load(kFolder + name + ".json").may_cut_between_lines()) << name;
}

TEST(Tokenizer, LongPieces) {
  Tokenizer tokenizer = Tokenizer::load(kFolder + "gpt2.json");
  const std::string text(300000, 'a'), blanks = std::string(300000, ' ') + "x\n" + std::string(300000, '\n');
  EXPECT_EQ(tokenizer.decode(tokenizer.encode(text)), text);
  EXPECT_EQ(tokenizer.decode(tokenizer.encode(blanks)), blanks);
  Tokenizer llama = Tokenizer::load(kFolder + "llama3.json");
  EXPECT_EQ(llama.decode(llama.encode(blanks)), blanks);
}

TEST(Tokenizer, TextThatItCannotEncode) {
  Tokenizer tokenizer = Tokenizer::load(kFolder + "gpt2.json");
  try {
    tokenizer.encode("ab\xC3(");
    FAIL();
  } catch (const Error& error) {
    EXPECT_NE(error.reason().find("byte 2 "), std::string::npos) << error.what();
  }
  TokenizerSpec few = parse_tokenizer(
      R"({"model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": ["a b"]},
          "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false}})",
      "few.json");
  Tokenizer small(few, "few.json");
  EXPECT_EQ(small.encode("abba"), (std::vector<int32_t>{2, 1, 0}));
  try {
    small.encode("abc");
    FAIL();
  } catch (const Error& error) {
    EXPECT_NE(error.reason().find("byte 2 is 0x63"), std::string::npos) << error.what();
  }
  EXPECT_THROW(small.decode(std::vector<int32_t>{3}), Error);
}

struct Refusal {
  std::string file, reason;
};

TEST(Tokenizer, RefusesByName) {
  const std::string bytes = R"(, "pre_tokenizer": {"type": "ByteLevel"})";
  const auto model = [](const std::string& members) { return "{\"model\": {" + members + "}"; };
  const std::string good = R"("type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": [["a", "b"]])";
  const std::vector<Refusal> refusals = {
      {model(R"("type": "WordPiece", "vocab": {"a": 0})") + bytes + "}", "'WordPiece'"},
      {model(R"("type": "Unigram", "vocab": [["a", -1]])") + bytes + "}", "'Unigram'"},
      {model(good) + R"(, "pre_tokenizer": {"type": "Metaspace"}})", "'Metaspace'"},
      {model(good) + R"(, "pre_tokenizer": null})", "no pre_tokenizer ByteLevel"},
      {model(good) + R"(, "pre_tokenizer": {"type": "Sequence", "pretokenizers": []}})", "no pre_tokenizer"},
      {model(good) + bytes + R"(, "normalizer": {"type": "NFC"}})", "'NFC'"},
      {model(good) + bytes +
           R"(, "normalizer": {"type": "Sequence", "normalizers": [{"type": "Lowercase"}]}})",
       "'Lowercase'"},
      {model(R"("type": "BPE", "vocab": {"a": 0, "b": 1}, "merges": ["a b"])") + bytes + "}",
       "merge 1 of 'a' and 'b' needs the token 'ab'"},
      {model(R"("type": "BPE", "vocab": {"a": 0, "b": 1}, "merges": ["a b c"])") + bytes + "}", "merge 1 is"},
      {model(R"("type": "BPE", "vocab": {"a": 0, "b": 0}, "merges": [])") + bytes + "}", "have one id, 0"},
      {model(R"("type": "BPE", "vocab": {"a": 0, "a": 1}, "merges": [])") + bytes + "}", "'a' twice"},
      {model(R"("type": "BPE", "vocab": {"a": 0, "b": 7}, "merges": [])") + bytes + "}",
       "the id of 'b' is 7"},
      {model(R"("type": "BPE", "vocab": {"a": 0, "b": 0.5}, "merges": [])") + bytes + "}", "no whole number"},
      {model(R"("type": "BPE", "vocab": {"a": 0}, "merges": [])") + bytes +
           R"(, "added_tokens": [{"id": 2, "content": "x"}, {"id": 3, "content": "y"}]})",
       "the id of 'y' is 3"},
      {model(good + R"(, "dropout": 0.1)") + bytes + "}", "dropout"},
      {model(good + R"(, "byte_fallback": true)") + bytes + "}", "SentencePiece"},
      {model(good + R"(, "end_of_word_suffix": "</w>")") + bytes + "}", "'</w>'"},
      {model(good) + bytes + R"(, "added_tokens": [{"id": 1, "content": "a"}]})",
       "the id 1, in its vocabulary 0"},
      {model(good) + bytes, "broken JSON"},
      {"[1, 2]", "is no tokenizer.json"},
      {"{\"a\": 1}", "has no model"},
      {"", "broken JSON"},
      {model(good) + bytes + "}x", "broken JSON"},
  };
  for (const Refusal& refusal : refusals) {
    try {
      parse_tokenizer(refusal.file, "tokenizer.json");
      ADD_FAILURE() << "was taken: " << refusal.file;
    } catch (const Error& error) {
      EXPECT_NE(error.reason().find(refusal.reason), std::string::npos) << error.what();
      EXPECT_EQ(error.where(), "tokenizer.json");
      EXPECT_FALSE(error.remedy().empty()) << error.what();
    }
  }
}

TEST(Tokenizer, RefusesPatternsThatReadOtherwise) {
  for (const std::string pattern : {R"(\p{N}{1,3}+)", R"([a&&b])", R"([[ab]c])", R"(\h+)", R"(\p{Han})",
                                    R"(a\1)", R"((?<name>a))", R"([\S])", "(", "[a", R"(a\)"}) {
    try {
      Pattern(pattern, "tokenizer.json");
      ADD_FAILURE() << "was taken: " << pattern;
    } catch (const Error& error) {
      EXPECT_NE(error.reason().find("pattern"), std::string::npos) << error.what();
    }
  }
}

TEST(Tokenizer, RefusesFilesOfOtherKinds) {
  const std::string folder = testing::TempDir() + "lockstep-tokenizer/";
  std::filesystem::remove_all(folder);
  std::filesystem::create_directories(folder);
  const auto reason = [](const std::string& path) -> std::string {
    try {
      Tokenizer::load(path);
      return "was taken";
    } catch (const Error& error) {
      return error.reason();
    }
  };
  EXPECT_NE(reason(folder).find("holds no tokenizer.json"), std::string::npos);
  std::ofstream(folder + "spm.model") << "\x0A\x0E";
  EXPECT_EQ(reason(folder + "spm.model"), "is a SentencePiece model");
  std::ofstream(folder + "cl100k.tiktoken") << "IQ== 0\n";
  EXPECT_NE(reason(folder + "cl100k.tiktoken").find("tiktoken"), std::string::npos);
  std::ofstream(folder + "vocab.json") << "{}";
  EXPECT_NE(reason(folder + "vocab.json").find("needs vocab.json and merges.txt"), std::string::npos);
  std::ofstream(folder + "merges.txt") << "#version: 0.2\na b\n";
  EXPECT_NE(reason(folder).find("merge 1 of 'a' and 'b'"), std::string::npos);
  std::filesystem::remove_all(folder);
}

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  for (size_t begin = 0, end = 0; begin < text.size(); begin = end) {
    end = std::min(text.find('\n', begin), text.size() - 1) + 1;
    lines.push_back(text.substr(begin, end - begin));
  }
  return lines;
}

TEST(BytePairTraining, LearnsTheMergesOfTheLibrary) {
  const TokenizerSpec expected = read_tokenizer_file(kFolder + "trained.json");
  BytePairTraining training;
  for (const std::string& line : lines_of(read_text_file(kFolder + "training.txt"))) training.add(line);
  const TokenizerSpec spec = training.train({1000, 2, {"<|endoftext|>", "<pad>"}});
  ASSERT_GT(expected.merges.size(), 300u);
  EXPECT_EQ(spec.tokens, expected.tokens);
  EXPECT_EQ(tokenizer_json(spec), tokenizer_json(expected));
}

TEST(BytePairTraining, StopsWhereNoPairIsFrequent) {
  BytePairTraining training;
  training.add("ab ab ab\n");
  EXPECT_EQ(training.train({1000, 2, {}}).merges.size(), 2u);  // a b, Ġ ab
  EXPECT_EQ(training.train({1000, 4, {}}).merges.size(), 0u);
  EXPECT_EQ(training.train({257, 2, {}}).merges.size(), 1u);
  EXPECT_THROW(training.train({256, 2, {"<s>"}}), Error);
  EXPECT_THROW(training.train({400, 2, {"<s>", "<s>"}}), Error);
  EXPECT_THROW(training.train({400, 2, {"a"}}), Error);
}

TEST(ByteLevel, CharactersOfBytes) {
  EXPECT_EQ(byte_characters(" \n\tA\xAD\xFF"), "ĠĊĉAŃÿ");
  std::string all;
  for (int byte = 0; byte < 256; ++byte) all += static_cast<char>(byte);
  EXPECT_EQ(bytes_of_token(byte_characters(all)), all);
  EXPECT_EQ(bytes_of_token("<|a b|>"), "<|a b|>");  // a blank stands for no byte
  // One U+FFFD for each maximal part (Unicode 15, tables 3-8 to 3-11).
  EXPECT_EQ(utf8_with_replacements("\xC0\xAF\xE0\x80\xBF\xF0\x81\x82\x41"),
            "\uFFFD\uFFFD\uFFFD\uFFFD\uFFFD\uFFFD\uFFFD\uFFFDA");
  EXPECT_EQ(utf8_with_replacements("\xE1\x80\xE2\xF0\x91\x92\xF1\xBF\x41"), "\uFFFD\uFFFD\uFFFD\uFFFDA");
}

}  // namespace
}  // namespace lockstep
