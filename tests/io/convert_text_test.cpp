// convert text: tokens, vocabularies and ids against stated ones, byte for byte on any number of ranks;
// splits; bytes that are no text; tinyshakespeare where it is at hand, against counts of its own.
#include <algorithm>
#include <filesystem>
#include <numeric>

#include "io/convert/text/text_tokens.h"
#include "io/convert/text/vocabulary.h"
#include "io/dataset/dataset.h"
#include "io/tokenizer/tokenizer.h"
#include "tests/io/convert_check.h"
#include "tests/support/error_of.h"

namespace lockstep::testing {
namespace {

std::vector<std::string> tokens_of(TokenLevel level, std::string_view text) {
  std::vector<std::string> tokens;
  each_token(level, text, [&](std::string_view token, int64_t offset) {
    if (token != kEndOfLine) {
      EXPECT_EQ(text.substr(static_cast<size_t>(offset), token.size()), token);
    }
    tokens.emplace_back(token);
  });
  return tokens;
}
using Texts = std::vector<std::string>;

TEST(TextTokens, WordsFollowTheRule) {
  EXPECT_EQ(tokens_of(TokenLevel::kWords, "To be,  or not\tto be:\r\n"),
            (Texts{"To", "be", ",", "or", "not", "to", "be", ":", "<eol>"}));
  EXPECT_EQ(tokens_of(TokenLevel::kWords, "don't 'tis rock'n'roll dogs' I’m"),
            (Texts{"don't", "'", "tis", "rock'n'roll", "dogs", "'", "I’m"}));
  EXPECT_EQ(tokens_of(TokenLevel::kWords, "a_1 3.14 x-y <unk> é\u00A0naïve«ja»—再会。ok…"),
            (Texts{"a_1", "3",     ".", "14", "x", "-", "y",    "<",  "unk", ">",
                   "é",   "naïve", "«", "ja", "»", "—", "再会", "。", "ok",  "…"}));
  EXPECT_EQ(tokens_of(TokenLevel::kWords, "\n\n \n"), (Texts{"<eol>", "<eol>", "<eol>"}));
  EXPECT_TRUE(tokens_of(TokenLevel::kWords, "").empty());
  EXPECT_EQ(tokens_of(TokenLevel::kCharacters, "aü€𝄞\r\n"), (Texts{"a", "ü", "€", "𝄞", "\r", "\n"}));
}

TEST(TextTokens, BytesThatAreNoTextAreFound) {
  EXPECT_EQ(first_invalid_byte("aü€𝄞"), 10);
  EXPECT_EQ(first_invalid_byte("a\xC3"), 1);
  EXPECT_EQ(first_invalid_byte("\xC3\xBC\xFFz"), 2);
  EXPECT_EQ(first_invalid_byte(std::string_view("ab\0c", 4)), 2);
  EXPECT_EQ(first_invalid_byte("x\xED\xA0\x80"), 1);  // half of a surrogate pair
  EXPECT_EQ(with_replacements("a\xFF\xFE b\xC3"), "a\uFFFD\uFFFD b\uFFFD");
  EXPECT_EQ(with_replacements("ü"), "ü");
}

class ConvertText : public ::testing::Test {
 protected:
  Communicator comm = Communicator::world();
  SharedFolder folder{comm};

  ConvertResult convert(const std::string& content, TextOptions text = {}, ConvertOptions options = {}) {
    text.files = {folder.write("text.txt", content)};
    options.out = folder.file("out");
    options.overwrite = true;
    return convert_text(comm, text, options);
  }
  void expect_error(const std::string& part, const std::string& content, TextOptions text = {}) {
    const std::string message = error_of([&] { convert(content, text); });
    EXPECT_NE(message.find(part), std::string::npos) << "'" << part << "' is not in: " << message;
    comm.barrier();
  }
  /// On root: the ids and the vocabulary in a folder below out.
  template <typename T>
  void expect_tokens(const std::string& part, const std::vector<T>& ids, const Texts& vocabulary) {
    comm.barrier();
    if (!comm.is_root()) return;
    const Dataset data = Dataset::open(folder.file("out" + part));
    ASSERT_EQ(data.n_samples(), static_cast<int64_t>(ids.size()));
    ASSERT_EQ(data.field("tokens").dtype, sizeof(T) == 1 ? DType::kUInt8 : DType::kInt32);
    EXPECT_EQ(data.field("tokens").shape, Shape({}));
    std::vector<T> read(ids.size());
    data.read("tokens", 0, data.n_samples(), read.data());
    EXPECT_EQ(read, ids);
    EXPECT_EQ(data.vocabulary("tokens"), vocabulary);
    EXPECT_EQ(data.statistics("tokens"), nullptr);  // of ids a mean says nothing
    EXPECT_TRUE(data.passed_over().empty());
    int64_t n_checked = 0, n_unchecked = 0;
    EXPECT_TRUE(data.verify(&n_checked, &n_unchecked).empty());
    EXPECT_EQ(n_unchecked, 0);
  }
};

TEST_F(ConvertText, CharactersByCodePoint) {
  ConvertOptions options;
  options.n_shards = 3;
  const ConvertResult result = convert("hallo ö\na", {}, options);
  EXPECT_EQ(result.n_samples, 9);
  EXPECT_EQ(result.n_shards, 3);
  expect_tokens<uint8_t>("", {3, 2, 4, 4, 5, 1, 6, 0, 2}, {"\n", " ", "a", "h", "l", "o", "ö"});
}

TEST_F(ConvertText, OfTheMostFrequentCharactersTheOthersAreUnknown) {
  TextOptions text;
  text.vocabulary = 3;
  const ConvertResult result = convert("abbcccdd", text);  // c three times; b and d twice, b by code point
  expect_tokens<uint8_t>("", {0, 1, 1, 2, 2, 2, 0, 0}, {"<unk>", "b", "c"});
  if (comm.is_root()) {
    EXPECT_NAMES(result.notes.at(0), "vocabulary of 3; 3 are <unk>");
  }
  text.vocabulary = 4;  // all four have room without <unk>
  convert("abbcccdd", text);
  expect_tokens<uint8_t>("", {0, 1, 1, 2, 2, 2, 3, 3}, {"a", "b", "c", "d"});
  text.vocabulary = 1;
  expect_error("a vocabulary of 1 has no room", "abc", text);
}

TEST_F(ConvertText, BytePairsOfATokenizer) {
  const std::string fixtures = std::string(LOCKSTEP_SOURCE_DIR) + "/tests/fixtures/tokenizers/";
  std::mt19937 random(3);
  std::string content = "First Citizen:\n";
  const char* const words[] = {" the", "x", "\n", "\n\n", " don't", "  ", " 12", "日本", "é", ".\n", "!"};
  while (content.size() < (size_t{5} << 20) / 2) content += words[random() % 11];  // three blocks
  for (const std::string name : {"gpt2", "roberta"}) {  // of the latter a text is not cut
    TextOptions text;
    text.tokenizer = fixtures + name + ".json";
    const ConvertResult result = convert(content, text);
    Tokenizer tokenizer = Tokenizer::load(text.tokenizer);
    expect_tokens<int32_t>("", tokenizer.encode(content), tokenizer.spec().tokens);
    if (!comm.is_root()) continue;
    EXPECT_EQ(Dataset::open(folder.file("out")).tokenizer("tokens"), tokenizer_json(tokenizer.spec()));
    EXPECT_NAMES(result.notes.at(0), "bytes each; vocabulary of " + std::to_string(tokenizer.size()));
  }
  // Another text by the tokenizer of that dataset.
  comm.barrier();
  if (comm.is_root()) std::filesystem::rename(folder.file("out"), folder.file("first"));
  comm.barrier();
  TextOptions text;
  text.vocabulary_from = folder.file("first");
  convert("lord  x<mask>", text);
  Tokenizer roberta = Tokenizer::load(fixtures + "roberta.json");
  expect_tokens<int32_t>("", roberta.encode("lord  x<mask>"), roberta.spec().tokens);
  text.tokenizer = fixtures + "gpt2.json";
  expect_error("the tokenizer has its own", "abc", text);
  text.vocabulary_from.clear();
  expect_error("byte 2", "ab\xFF", text);
}

TEST_F(ConvertText, WordsByFrequency) {
  TextOptions text;
  text.level = TokenLevel::kWords;
  convert("the cat, the dog\nthe cat.", text);
  expect_tokens<uint8_t>("", {1, 2, 3, 1, 6, 5, 1, 2, 4}, {"<unk>", "the", "cat", ",", ".", "<eol>", "dog"});
  text.vocabulary = 3;
  convert("the cat, the dog\nthe cat.", text);
  expect_tokens<uint8_t>("", {1, 2, 0, 1, 0, 0, 1, 2, 0}, {"<unk>", "the", "cat"});
}

TEST_F(ConvertText, ManyWordsAndBlocksAreTheSameOnAnyNumberOfRanks) {
  std::mt19937 random(2);
  std::string content;
  std::vector<int> words;
  while (content.size() < (size_t{5} << 20) / 2) {  // three blocks
    words.push_back(static_cast<int>(random() % 40 * (random() % 40)));
    content += "w" + std::to_string(words.back()) + (random() % 9 ? " " : "é ");
    if (content.ends_with("é ")) words.back() += 100000;
  }
  TextOptions text;
  text.level = TokenLevel::kWords;
  ConvertOptions options;
  options.n_shards = 4;
  convert(content, text, options);
  std::map<std::string, int64_t> counts;
  const auto name = [](int word) {
    return "w" + std::to_string(word % 100000) + (word >= 100000 ? "é" : "");
  };
  for (const int word : words) ++counts[name(word)];
  std::vector<std::pair<int64_t, std::string>> order;
  for (const auto& [word, n] : counts) order.emplace_back(-n, word);
  std::sort(order.begin(), order.end());
  Texts vocabulary{"<unk>"};
  std::map<std::string, int32_t> ids;
  for (const auto& [n, word] : order) {
    ids[word] = static_cast<int32_t>(vocabulary.size());
    vocabulary.push_back(word);
  }
  std::vector<int32_t> expected;
  for (const int word : words) expected.push_back(ids[name(word)]);
  ASSERT_GT(vocabulary.size(), 256u);
  expect_tokens<int32_t>("", expected, vocabulary);
  comm.barrier();
  if (!comm.is_root()) return;
  // One process writes the same bytes.
  TemporaryFolder reference;
  const int64_t n = static_cast<int64_t>(expected.size());
  const std::vector<Field> fields{{"tokens", DType::kInt32, {}}};
  ChunkedChecksum conversion;
  for (int64_t shard = 0, begin = 0; shard < 4; ++shard) {
    const int64_t count = n / 4 + (shard < n % 4);
    ShardWriter writer(reference.file(std::to_string(shard)), fields, count);
    const auto* rows = reinterpret_cast<const std::byte*>(expected.data() + begin);
    writer.append(std::vector<const std::byte*>{rows}, count);
    const uint64_t content_hash = writer.content_hash();
    conversion.update(&content_hash, sizeof content_hash);
    writer.close();
    begin += count;
  }
  char id[17];
  std::snprintf(id, sizeof id, "%016llx", static_cast<unsigned long long>(conversion.digest()));
  for (int64_t shard = 0; shard < 4; ++shard) {
    ShardWriter::describe(reference.file(std::to_string(shard)), fields,
                          {{{}}, {}, "text", id, 4, {vocabulary}}, shard);
    EXPECT_TRUE(read_bytes(reference.file(std::to_string(shard))) ==
                read_bytes(folder.file("out/shard-0000" + std::to_string(shard) + ".h5")));
  }
  expect_no_times(folder.file("out/shard-00000.h5"), {"/", "tokens", "tokens_vocabulary"});
}

TEST_F(ConvertText, SeveralFilesAreOneStream) {
  TextOptions text;
  text.files = {folder.write("a.txt",
                             "\xEF\xBB\xBF"
                             "ab"),
                folder.write("empty.txt", ""), folder.write("b.txt", "ba")};
  ConvertOptions options;
  options.out = folder.file("out");
  convert_text(comm, text, options);
  expect_tokens<uint8_t>("", {0, 1, 1, 0}, {"a", "b"});
}

TEST_F(ConvertText, TheLastPartIsForValidation) {
  TextOptions text;
  text.validation_fraction = 0.25;
  const ConvertResult result = convert("abcdefghij", text);
  EXPECT_EQ(result.n_samples, 10);
  const Texts all{"a", "b", "c", "d", "e", "f", "g", "h", "i", "j"};
  expect_tokens<uint8_t>("/train", {0, 1, 2, 3, 4, 5, 6}, all);
  expect_tokens<uint8_t>("/validation", {7, 8, 9}, all);
  // Neither part is touched where one of them may not be written.
  comm.barrier();
  const std::string message = error_of([&] {
    ConvertOptions options;
    options.out = folder.file("out");
    text.files = {folder.write("text.txt", "xyz")};
    convert_text(comm, text, options);
  });
  EXPECT_NAMES(message, "not empty");
  expect_tokens<uint8_t>("/train", {0, 1, 2, 3, 4, 5, 6}, all);
  text.validation_fraction = 0.1;
  EXPECT_NAMES(error_of([&] {
                 ConvertOptions options;
                 options.out = folder.file("new");
                 text.files = {folder.write("text.txt", "a")};
                 convert_text(comm, text, options);
               }),
               "leaves one part empty");
  comm.barrier();
  EXPECT_FALSE(std::filesystem::exists(folder.file("new")));
  text.validation_fraction = 1;
  expect_error("fraction 1", "abc", text);
}

TEST_F(ConvertText, TheVocabularyOfAnotherDatasetIsKept) {
  convert("cab");
  if (comm.is_root()) std::filesystem::rename(folder.file("out"), folder.file("earlier"));
  comm.barrier();
  TextOptions text;
  text.vocabulary_from = folder.file("earlier");
  convert("bb", text);
  expect_tokens<uint8_t>("", {1, 1}, {"a", "b", "c"});
  expect_error("text.txt: byte 2", "abxb", text);
  expect_error("holds 'x', which is not in the vocabulary", "abxb", text);
  text.vocabulary = 4;
  expect_error("leave out --vocabulary or", "ab", text);
  text.vocabulary = 2;
  text.vocabulary_from.clear();
  convert("aabc", text);
  if (comm.is_root()) std::filesystem::rename(folder.file("out"), folder.file("unknown"));
  comm.barrier();
  text.vocabulary = 0;
  text.vocabulary_from = folder.file("unknown");
  convert("abxa", text);
  expect_tokens<uint8_t>("", {1, 0, 0, 1}, {"<unk>", "a"});
}

TEST_F(ConvertText, BytesThatAreNoTextAreRefusedOrReplaced) {
  expect_error("text.txt: byte 3",
               "abc\xFF"
               "d");
  expect_error("is not UTF-8",
               "abc\xFF"
               "d");
  expect_error("zero byte", std::string("ab\0c", 4));
  expect_error("holds no samples", "");
  TextOptions text;
  text.lossy = true;
  convert(
      "ab\xFF"
      "b",
      text);
  expect_tokens<uint8_t>("", {0, 1, 2, 1}, {"a", "b", "\uFFFD"});
  text.files = {folder.file("missing.txt")};
  EXPECT_NAMES(error_of([&] { convert_text(comm, text, {folder.file("other")}); }), "missing.txt");
}

TEST_F(ConvertText, Tinyshakespeare) {
  const std::string path = test_data("tinyshakespeare.txt");
  if (path.empty()) GTEST_SKIP() << "tinyshakespeare.txt is not at hand (LOCKSTEP_TEST_DATA)";
  TextOptions text;
  text.files = {path};
  text.validation_fraction = 0.1;
  ConvertOptions options;
  options.out = folder.file("out");
  convert_text(comm, text, options);
  const std::string content = read_bytes(path);
  std::set<char> characters(content.begin(), content.end());
  ASSERT_EQ(content.size(), 1115394u);
  ASSERT_EQ(characters.size(), 65u);
  Texts vocabulary;
  for (const char c : characters) vocabulary.emplace_back(1, c);
  std::vector<uint8_t> ids;
  for (const char c : content)
    ids.push_back(static_cast<uint8_t>(std::distance(characters.begin(), characters.find(c))));
  expect_tokens<uint8_t>("/train", {ids.begin(), ids.begin() + 1003854}, vocabulary);
  expect_tokens<uint8_t>("/validation", {ids.begin() + 1003854, ids.end()}, vocabulary);
}

}  // namespace
}  // namespace lockstep::testing
