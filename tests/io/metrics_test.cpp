// JSON text, metrics.jsonl and its reading back: doubles keep their bits, any text survives,
// killed and resumed runs leave a readable file.
#include "io/files/metrics.h"

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <bit>
#include <cmath>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <limits>
#include <random>

#include "io/files/files.h"
#include "kernels/error.h"
#include "tests/support/hdf5_files.h"

namespace lockstep {
namespace {

using Limits = std::numeric_limits<double>;

std::string read_file(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
}

void write_file(const std::string& path, const std::string& text) {
  std::ofstream(path, std::ios::binary | std::ios::trunc) << text;
}

std::string reason_of(const std::string& path) {
  try {
    read_metrics(path);
  } catch (const Error& error) {
    return error.what();
  }
  return "(no error)";
}

TEST(Json, LiteralTexts) {
  EXPECT_EQ(JsonObject().str(), "{}");
  EXPECT_EQ(JsonObject().set("step", 10).set("loss", 0.25).str(), R"({"step": 10, "loss": 0.25})");
  EXPECT_EQ(JsonObject().set("a", true).set("b", "x\"y").set_raw("c", "[1, 2]").str(),
            R"({"a": true, "b": "x\"y", "c": [1, 2]})");
  EXPECT_EQ(JsonObject().set("a", 1).set("b", 2).set("a", 3).str(), R"({"a": 3, "b": 2})");
  EXPECT_EQ(JsonObject().set("n", std::numeric_limits<int64_t>::min()).str(),
            R"({"n": -9223372036854775808})");
  EXPECT_EQ(json_number(0.1), "0.1");
  EXPECT_EQ(json_number(-0.0), "-0");
  EXPECT_EQ(json_number(1e300), "1e+300");
  EXPECT_EQ(json_number(5e-324), "5e-324");
  for (const double value : {Limits::infinity(), -Limits::infinity(), Limits::quiet_NaN()}) {
    EXPECT_EQ(json_number(value), "null");
  }
  EXPECT_EQ(json_quote("\n\t\r\\/\"\x01\x1f\x7f"), R"("\n\t\r\\/\"\u0001\u001f\u007f")");
  EXPECT_EQ(json_quote("caf\xC3\xA9 \xF0\x9F\x98\x80"), "\"caf\xC3\xA9 \xF0\x9F\x98\x80\"");
  // Not UTF-8: a lone tail, a cut sequence, an overlong slash, a surrogate, above U+10FFFF.
  EXPECT_EQ(json_quote("\x80"), R"("\ufffd")");
  EXPECT_EQ(json_quote("a\xC3"), R"("a\ufffd")");
  EXPECT_EQ(json_quote("\xC0\xAF"), R"("\ufffd\ufffd")");
  EXPECT_EQ(json_quote("\xED\xA0\x80"), R"("\ufffd\ufffd\ufffd")");
  EXPECT_EQ(json_quote("\xF4\x90\x80\x80"), R"("\ufffd\ufffd\ufffd\ufffd")");
}

TEST(Metrics, DoublesComeBackWithTheSameBits) {
  TemporaryFolder folder;
  std::vector<double> values = {0.0,
                                -0.0,
                                0.1,
                                1.0 / 3,
                                Limits::min(),
                                Limits::max(),
                                Limits::lowest(),
                                Limits::denorm_min(),
                                -Limits::denorm_min(),
                                Limits::epsilon(),
                                1e22,
                                123456789.0,
                                0x1.fffffffffffffp-1023};
  std::mt19937_64 random(3);
  while (values.size() < 20000) {
    const double value = std::bit_cast<double>(random());
    if (std::isfinite(value)) values.push_back(value);
  }
  {
    MetricsWriter writer(folder.file("metrics.jsonl"), -1);
    for (const double value : values) writer.write(JsonObject().set("value", value));
    writer.write(JsonObject().set("value", Limits::quiet_NaN()));
  }
  const std::vector<MetricsLine> lines = read_metrics(folder.file("metrics.jsonl"));
  ASSERT_EQ(lines.size(), values.size() + 1);
  for (size_t i = 0; i < values.size(); ++i) {
    ASSERT_NE(lines[i].number("value"), nullptr);
    ASSERT_EQ(std::bit_cast<uint64_t>(*lines[i].number("value")), std::bit_cast<uint64_t>(values[i]))
        << values[i];
  }
  ASSERT_NE(lines.back().number("value"), nullptr);
  EXPECT_TRUE(std::isnan(*lines.back().number("value")));
}

TEST(Metrics, TextsComeBack) {
  TemporaryFolder folder;
  std::string all;
  for (int c = 0; c < 128; ++c) all += static_cast<char>(c);
  const std::vector<std::string> texts = {"", all, "caf\xC3\xA9 \xE2\x82\xAC \xF0\x9F\x98\x80",
                                          "{\"a\": [1]}", "\\u0041"};
  {
    MetricsWriter writer(folder.file("new/folder/m.jsonl"), -1);
    for (const std::string& text : texts) writer.write(JsonObject().set("text", text).set(text, true));
  }
  const std::vector<MetricsLine> lines = read_metrics(folder.file("new/folder/m.jsonl"));
  ASSERT_EQ(lines.size(), texts.size());
  for (size_t i = 0; i < texts.size(); ++i) {
    ASSERT_NE(lines[i].text("text"), nullptr);
    EXPECT_EQ(*lines[i].text("text"), texts[i]);
    EXPECT_EQ(lines[i].items.at(1).first, texts[i]);
    EXPECT_TRUE(std::get<bool>(lines[i].items.at(1).second));
  }
}

TEST(Metrics, ReadsJsonOfOtherWriters) {
  TemporaryFolder folder;
  const std::string path = folder.file("m.jsonl");
  write_file(
      path,
      "{\"a\":1,\"b\":\"\\u00e9\\ud83d\\ude00\\/\\b\\f\",\"c\":[1,{\"d\":[]}],\"e\":{ },\"f\":null}\r\n"
      "\n"
      "  { \"x\" : -1.5E+3 , \"y\" : false }  \n");
  const std::vector<MetricsLine> lines = read_metrics(path);
  ASSERT_EQ(lines.size(), 2u);
  EXPECT_EQ(*lines[0].number("a"), 1);
  EXPECT_EQ(*lines[0].text("b"), "\xC3\xA9\xF0\x9F\x98\x80/\b\f");
  EXPECT_EQ(*lines[0].text("c"), "[1,{\"d\":[]}]");
  EXPECT_EQ(*lines[0].text("e"), "{ }");
  EXPECT_TRUE(std::isnan(*lines[0].number("f")));
  EXPECT_EQ(lines[0].number("absent"), nullptr);
  EXPECT_EQ(lines[0].text("a"), nullptr);
  EXPECT_EQ(*lines[1].number("x"), -1500);
  EXPECT_EQ(lines[1].items.size(), 2u);
}

TEST(Metrics, BrokenLinesAreNamedExceptTheLast) {
  TemporaryFolder folder;
  const std::string path = folder.file("m.jsonl");
  const char* broken[] = {"{\"a\": 1",
                          "{\"a\": 01}",
                          "{\"a\": 1.}",
                          "{\"a\": inf}",
                          "{\"a\": NaN}",
                          "{\"a\"}",
                          "{\"a\": 1,}",
                          "{a: 1}",
                          "[1]",
                          "1",
                          "{\"a\": 1} x",
                          "{\"a\": \"x}",
                          "{\"a\": tru}",
                          "{\"a\": \"\\x\"}",
                          "{\"a\": \"\\ud800\"}",
                          "{\"a\": -}",
                          "{\"a\": 1e999}",
                          "{\"a\": [1,}",
                          "{\"a\": [1 2]}",
                          "{\"a\": \"\x01\"}",
                          "{\"a\": +1}",
                          "{\"a\": 1e}",
                          "{\"a\": .5}",
                          "{\"a\": {\"b\":}}",
                          "{\"a\": \"\\u12g4\"}"};
  for (const char* line : broken) {
    write_file(path, std::string("{\"a\": 1}\n") + line + "\n{\"a\": 2}\n");
    const std::string reason = reason_of(path);
    EXPECT_NE(reason.find("m.jsonl:2: broken JSON at column"), std::string::npos) << line << ": " << reason;
    write_file(path, std::string("{\"a\": 1}\n") + line);
    EXPECT_EQ(read_metrics(path).size(), 1u) << line;
  }
  write_file(path, "{\"a\": " + std::string(100000, '[') + "}\n{}\n");
  EXPECT_NE(reason_of(path).find("nested too deeply"), std::string::npos);
  write_file(path, "");
  EXPECT_TRUE(read_metrics(path).empty());
  EXPECT_THROW(read_metrics(folder.file("absent")), Error);
}

TEST(Metrics, EveryHalfLineOfAKilledRunIsDropped) {
  TemporaryFolder folder;
  const std::string path = folder.file("m.jsonl");
  const std::string first = "{\"step\": 1, \"loss\": 0.5}\n",
                    second = "{\"step\": 2, \"note\": \"x\\u0041\", \"b\": true}\n";
  for (size_t n = 0; n + 1 < second.size(); ++n) {
    write_file(path, first + second.substr(0, n));
    EXPECT_EQ(read_metrics(path).size(), 1u) << n;
    {
      MetricsWriter writer(path, 5);
      writer.write(JsonObject().set("step", 3));
    }
    EXPECT_EQ(read_file(path), first + "{\"step\": 3}\n") << n;
  }
}

TEST(Metrics, ResumeDropsLaterSteps) {
  TemporaryFolder folder;
  const std::string path = folder.file("m.jsonl");
  {
    MetricsWriter writer(path, 100);  // resumed, but the file is gone
    writer.write(JsonObject().set("host", "a"));
    for (int step = 0; step <= 50; step += 10)
      writer.write(JsonObject().set("step", step).set("loss", 1.0 / (step + 1)));
    writer.write(JsonObject().set("step", 50).set("validation_loss", 0.1));
  }
  const std::string before = read_file(path);
  {
    MetricsWriter writer(path, 30);
    EXPECT_EQ(read_metrics(path).size(), 5u);  // the host, 0, 10, 20, 30
    writer.write(JsonObject().set("step", 40));
  }
  const std::string after = read_file(path);
  const size_t n_kept = before.find("{\"step\": 40");
  EXPECT_EQ(after, before.substr(0, n_kept) + "{\"step\": 40}\n");
  { MetricsWriter writer(path, 0); }
  EXPECT_EQ(read_metrics(path).size(), 2u);
  { MetricsWriter writer(path, -1); }
  EXPECT_EQ(read_file(path), "");
}

TEST(Metrics, LinesAreThereBeforeTheWriterIsClosed) {
  TemporaryFolder folder;
  MetricsWriter writer(folder.file("m.jsonl"), -1);
  for (int i = 1; i <= 3; ++i) {
    writer.write(JsonObject().set("i", i));
    EXPECT_EQ(read_metrics(folder.file("m.jsonl")).size(), static_cast<size_t>(i));
  }
}

TEST(Metrics, AFullDiskThrowsAndLeavesWholeLines) {
  TemporaryFolder folder;
  const std::string path = folder.file("m.jsonl");
  std::signal(SIGXFSZ, SIG_IGN);
  MetricsWriter writer(path, -1);
  writer.write(JsonObject().set("step", 1));
  rlimit old{};
  ::getrlimit(RLIMIT_FSIZE, &old);
  const rlimit tight{20, old.rlim_max};
  ::setrlimit(RLIMIT_FSIZE, &tight);
  EXPECT_THROW(writer.write(JsonObject().set("step", 2).set("loss", 0.125)), Error);
  ::setrlimit(RLIMIT_FSIZE, &old);
  EXPECT_EQ(read_file(path), "{\"step\": 1}\n");
  writer.write(JsonObject().set("step", 3));
  EXPECT_EQ(read_file(path), "{\"step\": 1}\n{\"step\": 3}\n");
}

TEST(Files, TextIsReplacedWholeAndErrorsNameThePath) {
  TemporaryFolder folder;
  const std::string path = folder.file("job.yaml");
  write_text_file_atomically(path, "one");
  write_text_file_atomically(path, "two\n");
  EXPECT_EQ(read_file(path), "two\n");
  std::filesystem::create_directory(folder.file("taken"));
  write_file(folder.file("taken/inside"), "x");
  try {
    write_text_file_atomically(folder.file("taken"), "text");
    FAIL();
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("taken"), std::string::npos);
  }
  EXPECT_THROW(write_text_file_atomically(folder.file("absent/file"), "x"), Error);
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder.path()),
                          std::filesystem::directory_iterator()),
            2);  // no temporary file is left
}

}  // namespace
}  // namespace lockstep
