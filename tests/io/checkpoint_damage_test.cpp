// Damaged checkpoint files: after any flipped bit, any truncation, lost pages or foreign
// edits, reading either throws Error or gives the right values; verify_checkpoint names it.
// Nothing crashes.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>

#include "io/checkpoint/checkpoint.h"
#include "io/hdf5/hdf5.h"
#include "kernels/error.h"
#include "tests/io/checkpoint_state.h"
#include "tests/support/hdf5_files.h"

namespace lockstep {
namespace {

namespace fs = std::filesystem;

std::string read_file(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
}

/// In place: some file systems write to the disk at once where a file is truncated and refilled.
void write_file(const std::string& path, const std::string& bytes) {
  if (!fs::exists(path)) std::ofstream(path, std::ios::binary).flush();
  fs::resize_file(path, bytes.size());
  std::fstream(path, std::ios::binary | std::ios::in | std::ios::out)
      .write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
}

class DamageTest : public testing::Test {
 protected:
  void SetUp() override {
    bytes = read_file(save_checkpoint(comm, folder.path(), state.info, state.tensors()));
    ASSERT_GT(bytes.size(), 4000u);
    damaged = folder.file("damaged.h5");
  }

  bool info_is_right(const CheckpointInfo& info) const {
    return info.step == state.info.step && info.epoch == state.info.epoch && info.seed == state.info.seed &&
           info.step_in_epoch == state.info.step_in_epoch && info.job == state.info.job &&
           info.numbers == state.info.numbers && info.texts == state.info.texts;
  }

  /// Whether reading throws Error; a wrong value or another exception fails the test.
  bool reading_throws(const std::string& path, const std::string& what) {
    bool threw = false;
    try {
      EXPECT_TRUE(info_is_right(read_checkpoint_info(path))) << what;
    } catch (const Error&) {
      threw = true;
    }
    TestState loaded = state;
    for (TestTensor& t : loaded.storage) std::fill(t.bytes.begin(), t.bytes.end(), '\x5A');
    try {
      load_checkpoint(path, loaded.tensors());
      for (size_t i = 0; i < state.storage.size(); ++i) {
        EXPECT_EQ(loaded.storage[i].bytes, state.storage[i].bytes) << what;
      }
    } catch (const Error&) {
      threw = true;
    }
    return threw;
  }

  /// Damage must be noticed by verify; returns whether reading throws, too.
  bool check(const std::string& content, const std::string& what) {
    write_file(damaged, content);
    EXPECT_FALSE(verify_checkpoint(damaged).empty()) << what;
    return reading_throws(damaged, what);
  }

  Communicator comm = Communicator::world();
  TemporaryFolder folder;
  TestState state = make_state("small");
  std::string bytes, damaged;
};

TEST_F(DamageTest, TheUntouchedFileIsWhole) {
  write_file(damaged, bytes);
  EXPECT_EQ(verify_checkpoint(damaged), std::vector<std::string>());
  EXPECT_FALSE(reading_throws(damaged, "untouched"));
}

TEST_F(DamageTest, FlippedBits) {
  std::mt19937_64 random(1);
  std::vector<std::pair<size_t, int>> flips;
  for (size_t i = 0; i < 300; ++i) flips.emplace_back(i, static_cast<int>(random() % 8));
  for (size_t i = 0; i < 120; ++i) {
    for (int bit = 0; bit < 8; ++bit) flips.emplace_back(bytes.size() - 1 - i, bit);
  }
  for (int i = 0; i < 3000; ++i) flips.emplace_back(random() % bytes.size(), static_cast<int>(random() % 8));
  int64_t n_threw = 0;
  for (const auto& [at, bit] : flips) {
    std::string copy = bytes;
    copy[at] = static_cast<char>(copy[at] ^ (1 << bit));
    n_threw += check(copy, "bit " + std::to_string(bit) + " of byte " + std::to_string(at));
  }
  EXPECT_EQ(n_threw, static_cast<int64_t>(flips.size()));
}

TEST_F(DamageTest, EveryByteOfATensorIsCovered) {
  const auto& content = state.storage[1].bytes;  // fc.bias, 40 bytes
  const size_t at = bytes.find(std::string(content.begin(), content.end()));
  ASSERT_NE(at, std::string::npos);
  for (size_t i = 0; i < content.size(); ++i) {
    std::string copy = bytes;
    copy[at + i] = static_cast<char>(copy[at + i] ^ 1);
    EXPECT_TRUE(check(copy, "content byte " + std::to_string(i)));
    const std::vector<std::string> problems = verify_checkpoint(damaged);
    ASSERT_EQ(problems.size(), 1u);
    EXPECT_NE(problems[0].find("/parameters/fc.bias"), std::string::npos) << problems[0];
  }
}

TEST_F(DamageTest, Truncation) {
  std::vector<size_t> lengths;
  for (size_t n = 0; n < 300; ++n) lengths.push_back(n);
  for (size_t n = 300; n + 300 < bytes.size(); n += 61) lengths.push_back(n);
  for (size_t n = bytes.size() - 300; n < bytes.size(); ++n) lengths.push_back(n);
  int64_t n_threw = 0;
  for (const size_t n : lengths) n_threw += check(bytes.substr(0, n), "length " + std::to_string(n));
  EXPECT_EQ(n_threw, static_cast<int64_t>(lengths.size()) - 1);  // exactly the seal may be missing
  EXPECT_GT(lengths.size(), 700u);
}

TEST_F(DamageTest, LostPagesAndChangedLengths) {
  for (size_t at = 0; at < bytes.size(); at += 512) {
    std::string copy = bytes;
    const size_t n = std::min<size_t>(512, bytes.size() - at);
    copy.replace(at, n, n, '\0');
    if (copy != bytes) check(copy, "zeros at " + std::to_string(at));
  }
  check(bytes + std::string(1, '\0'), "one byte more");
  check(bytes + bytes, "twice");
  check(bytes.substr(0, 600) + bytes.substr(601), "one byte cut out");
  check(bytes.substr(0, 600) + "x" + bytes.substr(600), "one byte put in");
  std::mt19937 random(2);
  std::string noise(5000, '\0');
  for (char& c : noise) c = static_cast<char>(random());
  check(noise, "noise");
  check(bytes.substr(0, 8) + noise, "noise after HDF5's signature");
}

TEST_F(DamageTest, WithoutItsSealTheFileIsStillReadAndChecked) {
  const size_t n_seal_bytes = state.storage.size() * 16 + 40;
  write_file(damaged, bytes.substr(0, bytes.size() - n_seal_bytes));
  EXPECT_FALSE(reading_throws(damaged, "no seal"));
  const std::vector<std::string> problems = verify_checkpoint(damaged);
  ASSERT_EQ(problems.size(), 1u);
  EXPECT_NE(problems[0].find("no seal"), std::string::npos) << problems[0];
}

/// The file edited through HDF5 after its seal was cut off.
class EditTest : public DamageTest {
 protected:
  template <typename Edit>
  std::string reason_after(Edit&& edit) {
    write_file(damaged, bytes.substr(0, bytes.size() - (state.storage.size() * 16 + 40)));
    {
      const auto guard = h5::lock();
      h5::Id file = h5::own(H5Fopen(damaged.c_str(), H5F_ACC_RDWR, H5P_DEFAULT), "H5Fopen", damaged);
      edit(file.get());
      file.close();
    }
    EXPECT_TRUE(reading_throws(damaged, "edited"));
    try {
      read_checkpoint_info(damaged);
    } catch (const Error& error) {
      return error.what();
    }
    return "";
  }
};

TEST_F(EditTest, HeaderChecksumCoversAttributesAndNames) {
  const char* kWanted = "do not agree with their checksum";
  EXPECT_NE(reason_after([](hid_t file) { h5::write_attribute(file, "step", int64_t{999}); }).find(kWanted),
            std::string::npos);
  EXPECT_NE(
      reason_after([](hid_t file) { h5::write_attribute(file, "job", std::string("other")); }).find(kWanted),
      std::string::npos);
  EXPECT_NE(reason_after([](hid_t file) {
              H5Lmove(file, "/parameters/fc.bias", file, "/parameters/fc.bios", H5P_DEFAULT, H5P_DEFAULT);
            }).find(kWanted),
            std::string::npos);
  EXPECT_NE(reason_after([](hid_t file) {
              const h5::Id numbers = h5::own(H5Gopen2(file, "/numbers", H5P_DEFAULT), "H5Gopen2", "/numbers");
              h5::write_attribute(numbers.get(), "best_accuracy", 0.2);
            }).find(kWanted),
            std::string::npos);
}

TEST_F(EditTest, AGroupThatContainsItselfIsNoCheckpoint) {
  const std::string reason = reason_after(
      [](hid_t file) { H5Lcreate_hard(file, "/", file, "/parameters/again", H5P_DEFAULT, H5P_DEFAULT); });
  EXPECT_NE(reason.find("contain themselves"), std::string::npos) << reason;
}

TEST_F(EditTest, OtherFilesAreNamedForWhatTheyAre) {
  const std::string newer =
      reason_after([](hid_t file) { h5::write_attribute(file, "format_version", int64_t{2}); });
  EXPECT_NE(newer.find("checkpoint format 2"), std::string::npos) << newer;
  const std::string foreign = reason_after([](hid_t file) { H5Adelete(file, "format_version"); });
  EXPECT_NE(foreign.find("not a checkpoint"), std::string::npos) << foreign;
}

}  // namespace
}  // namespace lockstep
