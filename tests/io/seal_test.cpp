// A shard that Lockstep wrote notices every bit that flips outside its content before HDF5 sees the file;
// what other programs wrote or changed has no seal and is read all the same.
#include "io/files/seal.h"

#include <fcntl.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>

#include "io/dataset/dataset.h"
#include "io/dataset/shard_writer.h"
#include "io/files/files.h"
#include "io/hdf5/hdf5.h"
#include "kernels/error.h"
#include "tests/support/error_of.h"
#include "tests/support/hdf5_files.h"

namespace lockstep {
namespace {

const std::vector<Field> kFields = {{"image", DType::kUInt8, {2, 3, 4}}, {"label", DType::kInt64, {}}};

/// Ten samples of image and label, with statistics, class names and checksums.
void write_shard(const std::string& path, int64_t n = 10) {
  ShardWriter writer(path, kFields, n);
  std::vector<uint8_t> images(static_cast<size_t>(n * 24));
  std::vector<int64_t> labels(static_cast<size_t>(n));
  for (size_t i = 0; i < images.size(); ++i) images[i] = static_cast<uint8_t>(i * 7);
  for (size_t i = 0; i < labels.size(); ++i) labels[i] = static_cast<int64_t>(i % 3);
  const std::byte* data[] = {reinterpret_cast<const std::byte*>(images.data()),
                             reinterpret_cast<const std::byte*>(labels.data())};
  writer.append(data, n);
  writer.close();
  ShardWriter::describe(path, kFields,
                        {{{{1, 2}, {3, 4}}, {}}, {"a", "bc", "d"}, "test", "0123456789abcdef", 1}, 0);
}

TEST(Seal, EveryFlippedBitOutsideTheContentIsAnError) {
  const TemporaryFolder folder;
  const std::string path = folder.file("a.h5");
  write_shard(path);
  ASSERT_EQ(Dataset::open(path).n_samples(), 10);
  ASSERT_EQ(check_seal(path, ""), Seal::kWhole);

  std::vector<char> bytes;
  {
    std::ifstream in(path, std::ios::binary);
    bytes.assign(std::istreambuf_iterator<char>(in), {});
  }
  std::vector<bool> is_content(bytes.size(), false);
  for (const char* name : {"image", "label"}) {
    const h5::Id file = h5::open_file(path);
    const h5::Id dataset = h5::own(H5Dopen2(file.get(), name, H5P_DEFAULT), "H5Dopen2", path);
    const haddr_t first = H5Dget_offset(dataset.get());
    for (hsize_t i = 0; i < H5Dget_storage_size(dataset.get()); ++i) is_content[first + i] = true;
  }
  FileHandle file(path, O_RDWR);
  int64_t n_flips = 0, n_content = 0;
  for (size_t at = 0; at < bytes.size(); ++at) {
    if (is_content[at]) {
      ++n_content;
      continue;
    }
    const char flipped = static_cast<char>(bytes[at] ^ (1 << (at % 8)));
    file.write_at(&flipped, 1, static_cast<int64_t>(at));
    const std::string message = error_of([&] { Dataset::open(path); });
    ASSERT_EQ(message.compare(0, path.size(), path), 0) << "byte " << at << ": \"" << message << '"';
    EXPECT_NAMES(message, "copy the file again");
    file.write_at(&bytes[at], 1, static_cast<int64_t>(at));
    ++n_flips;
  }
  EXPECT_EQ(n_content, 10 * (24 + 8));
  EXPECT_GT(n_flips, 500);
  EXPECT_EQ(error_of([&] { Dataset::open(path); }), "");
}

TEST(Seal, AShardThatIsCutOffInItsSealIsAnError) {
  const TemporaryFolder folder;
  const std::string path = folder.file("a.h5");
  write_shard(path);
  const auto n_bytes = static_cast<int64_t>(std::filesystem::file_size(path));
  for (int64_t cut = 1; cut < 72; ++cut) {  // two ranges and the tail
    std::filesystem::resize_file(path, static_cast<uintmax_t>(n_bytes - cut));
    EXPECT_NAMES(error_of([&] { Dataset::open(path); }), "a.h5: its seal is damaged");
  }
}

TEST(Seal, WhatOtherProgramsChangeHasNone) {
  const TemporaryFolder folder;
  const std::string path = folder.file("a.h5");
  write_shard(path);
  {
    const h5::Id file = h5::own(H5Fopen(path.c_str(), H5F_ACC_RDWR, H5P_DEFAULT), "H5Fopen", path);
    h5::write_attribute(file.get(), "class_names", std::vector<std::string>{"x", "y", "z"});
  }
  EXPECT_EQ(check_seal(path, ""), Seal::kNone);
  EXPECT_EQ(Dataset::open(path).class_names(), (std::vector<std::string>{"x", "y", "z"}));
}

TEST(Seal, ForeignFilesMayHaveBytesBehindTheirEnd) {
  const TemporaryFolder folder;
  const std::string path = folder.file("a.h5");
  write_hdf5(path, {{"x", {4, 2}, "float32", {1, 2, 3, 4, 5, 6, 7, 8}, Storage::kContiguous, {}, {}}});
  std::ofstream(path, std::ios::binary | std::ios::app)
      << "a signature of somebody else, padded to some length";
  EXPECT_EQ(check_seal(path, ""), Seal::kBareTail);
  EXPECT_EQ(Dataset::open(path).n_samples(), 4);
}

TEST(Seal, NoFileIsTooShort) {
  const TemporaryFolder folder;
  const std::string path = folder.file("a.h5");
  for (int version = 0; version < 5; ++version) {
    std::string bytes = "\x89HDF\r\n\x1a\n" + std::string(1, static_cast<char>(version));
    for (; bytes.size() < 60; bytes.push_back('\x7f')) {
      std::ofstream(path, std::ios::binary) << bytes;
      EXPECT_EQ(check_seal(path, ""), Seal::kNone) << bytes.size() << " bytes, version " << version;
    }
  }
}

TEST(Seal, ShardsWithoutSamplesHaveOne) {
  const TemporaryFolder folder;
  write_shard(folder.file("a.h5"), 0);
  EXPECT_EQ(check_seal(folder.file("a.h5"), ""), Seal::kWhole);
}

}  // namespace
}  // namespace lockstep
