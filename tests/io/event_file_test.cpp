// Event files: CRC-32C by its published values, one record byte by byte (made by an
// independent Python script), resuming, broken ends.
#include "io/files/event_file.h"

#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "kernels/error.h"
#include "tests/support/hdf5_files.h"

namespace lockstep {
namespace {

std::string read_file(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
}

std::string hex(const std::string& bytes) {
  std::string out;
  char text[3];
  for (const char c : bytes)
    out.append(text, std::snprintf(text, sizeof text, "%02x", static_cast<unsigned char>(c)));
  return out;
}

/// The records' data; fails the test where the framing is broken.
std::vector<std::string> records_of(const std::string& text) {
  std::vector<std::string> records;
  for (size_t at = 0; at < text.size();) {
    uint64_t n = 0;
    std::memcpy(&n, text.data() + at, 8);
    const std::string data = text.substr(at + 12, n);
    EXPECT_EQ(hex(frame_record(data)), hex(text.substr(at, 16 + n)));
    records.push_back(data);
    at += 16 + n;
  }
  return records;
}

TEST(Crc32c, PublishedValues) {
  EXPECT_EQ(crc32c("123456789"), 0xE3069283u);
  EXPECT_EQ(crc32c(""), 0u);
  // RFC 3720, B.4
  EXPECT_EQ(crc32c(std::string(32, '\0')), 0x8A9136AAu);
  EXPECT_EQ(crc32c(std::string(32, '\xFF')), 0x62A8AB43u);
  std::string ascending;
  for (char c = 0; c < 32; ++c) ascending += c;
  EXPECT_EQ(crc32c(ascending), 0x46DD794Eu);
}

TEST(EventFile, OneRecordByteByByte) {
  const EventScalar loss{"loss", 0.5f};
  EXPECT_EQ(hex(frame_record(encode_event(1.5, 300, {&loss, 1}))),
            "1b00000000000000"    // length 27
            "1a0d9e13"            // masked CRC of the length
            "09000000000000f83f"  // wall_time 1.5
            "10ac02"              // step 300
            "2a0d0a0b"            // summary, value
            "0a046c6f7373"        // tag "loss"
            "150000003f"          // simple_value 0.5
            "69f9315b");          // masked CRC of the data
}

TEST(EventFile, TextsAndHyperParametersAreWhatTensorBoardWouldWrite) {
  const std::vector<HyperParameter> parameters = {{"lr", 0.5}, {"on", true}, {"zoo", std::string("mlp")}};
  const std::vector<std::string> metrics = {"train/loss"};
  // By the classes of tensorboard 2.21.0, serialized in the order of the fields.
  EXPECT_EQ(hex(encode_text(1.5, "job", "a: 1")),
            "09000000000000f83f2a230a210a036a6f62420e08071204120208014204613a20314a0a0a060a04"
            "746578742002");
  EXPECT_EQ(hex(encode_experiment(1.5, parameters, metrics)),
            "09000000000000f83f2a5b0a590a145f68706172616d735f2f6578706572696d656e744a410a3f0a"
            "0768706172616d731234123219000000000000f83f22060a026c72200322060a026f6e200222070a"
            "037a6f6f20012a0e0a0c120a747261696e2f6c6f7373");
  EXPECT_EQ(hex(encode_session_start(1.5, parameters)),
            "09000000000000f83f2a630a610a1c5f68706172616d735f2f73657373696f6e5f73746172745f69"
            "6e666f4a410a3f0a0768706172616d7312341a320a0f0a026c72120911000000000000e03f0a080a"
            "026f6e120220010a0c0a037a6f6f12051a036d6c7029000000000000f83f");
}

TEST(EventFile, LongTagsAndManyScalarsInOneRecord) {
  const std::string tag(200, 't');
  const EventScalar scalars[] = {{tag, 1.0f}, {"b", -2.0f}};
  EXPECT_EQ(hex(encode_event(0, 0, scalars)),
            "090000000000000000"
            "2add01"  // no step; summary of 221 bytes
            "0ad001"
            "0ac801" +
                hex(tag) +
                "150000803f"
                "0a08"
                "0a0162"
                "15000000c0");
}

TEST(EventFile, WritesVersionFirstAndCutsBackOnResume) {
  TemporaryFolder folder;
  std::string path;
  {
    EventFileWriter writer(folder.path() + "/tb", -1);
    path = writer.path();
    EXPECT_NE(path.find("tfevents"), std::string::npos);  // how TensorBoard finds it
    for (int64_t step = 1; step <= 5; ++step) {
      const EventScalar scalars[] = {{"loss", 1.0f / static_cast<float>(step)}, {"lr", 0.1f}};
      writer.write(step * 100, scalars);
    }
  }
  std::string text = read_file(path);
  std::vector<std::string> records = records_of(text);
  ASSERT_EQ(records.size(), 6u);
  EXPECT_EQ(hex(records[0].substr(9)), "1a0d" + hex("brain.Event:2"));

  // The run was killed in the middle of a record.
  std::ofstream(path, std::ios::app | std::ios::binary) << text.substr(0, 20);
  {
    EventFileWriter writer(folder.path() + "/tb", 300);
    const EventScalar loss{"loss", 7};
    writer.write(301, {&loss, 1});
  }
  const std::vector<std::string> resumed = records_of(read_file(path));
  ASSERT_EQ(resumed.size(), 5u);
  for (size_t i = 0; i < 4; ++i) EXPECT_EQ(resumed[i], records[i]);
  EXPECT_EQ(hex(resumed[4].substr(9, 3)), "10ad02");  // step 301

  EventFileWriter fresh(folder.path() + "/tb", -1);
  EXPECT_EQ(records_of(read_file(path)).size(), 1u);
}

TEST(EventFile, AForeignFileIsNotOverwrittenOnResume) {
  TemporaryFolder folder;
  std::ofstream(folder.file("events.out.tfevents.lockstep")) << "something else, not made by this program";
  EXPECT_THROW(EventFileWriter(folder.path(), 10), Error);
  EXPECT_EQ(std::filesystem::file_size(folder.file("events.out.tfevents.lockstep")), 40u);
}

}  // namespace
}  // namespace lockstep
