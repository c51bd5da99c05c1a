// Judges converter output: the test states the rows it expects, this writes them as shards by
// ShardWriter in one process, without a communicator, and compares the files byte for byte.
// So equal output on 1, 2 and 4 ranks follows from each being equal to the same reference.
#pragma once

#include <gtest/gtest.h>
#include <zlib.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "comm/agreement.h"
#include "comm/communicator.h"
#include "io/convert/convert.h"
#include "io/dataset/shard_writer.h"
#include "io/files/checksum.h"
#include "tests/support/hdf5_files.h"

namespace lockstep::testing {

/// A temporary folder of rank 0 that all ranks know; on a shared file system by assumption.
class SharedFolder {
 public:
  explicit SharedFolder(Communicator& comm) : comm_(comm) {
    if (comm.is_root()) folder_ = std::make_unique<TemporaryFolder>();
    path_ = comm.broadcast_string(folder_ ? folder_->path() : "");
  }
  ~SharedFolder() { comm_.barrier(); }  // before root deletes it
  std::string file(const std::string& name) const { return path_ + "/" + name; }
  /// Root writes; all ranks may read afterwards.
  std::string write(const std::string& name, const std::string& content) const {
    if (folder_) std::ofstream(file(name), std::ios::binary) << content;
    comm_.barrier();
    return file(name);
  }

 private:
  Communicator& comm_;
  std::unique_ptr<TemporaryFolder> folder_;
  std::string path_;
};

inline std::string read_bytes(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

inline std::set<std::string> names_in(const std::string& folder) {
  std::set<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(folder))
    names.insert(entry.path().filename().string());
  return names;
}

/// Times would make equal content differ from one second to the next.
inline void expect_no_times(const std::string& path, const std::vector<std::string>& objects) {
  const auto guard = h5::lock();
  h5::Id file = h5::open_file(path);
  for (const std::string& object : objects) {
    H5O_info_t info{};
    ASSERT_GE(H5Oget_info_by_name2(file.get(), object.c_str(), &info, H5O_INFO_TIME, H5P_DEFAULT), 0);
    EXPECT_EQ(info.atime, 0) << object;
    EXPECT_EQ(info.mtime, 0) << object;
    EXPECT_EQ(info.ctime, 0) << object;
    EXPECT_EQ(info.btime, 0) << object;
  }
}

/// All rows of one field.
struct ExpectedField {
  Field field;
  std::vector<std::byte> rows;

  template <typename T>
  static ExpectedField of(const std::string& name, DType dtype, Shape shape, const std::vector<T>& values) {
    ExpectedField result{{name, dtype, shape}, std::vector<std::byte>(values.size() * sizeof(T))};
    std::memcpy(result.rows.data(), values.data(), result.rows.size());
    return result;
  }
};

/// "0", "1" … : what numeric labels below n are called.
inline std::vector<std::string> numbered(int n) {
  std::vector<std::string> names;
  for (int i = 0; i < n; ++i) names.push_back(std::to_string(i));
  return names;
}

/// On root: `folder` holds exactly the shards that one process writes for these rows.
inline void expect_shards(Communicator& comm, const std::string& folder, int64_t n_samples, int64_t n_shards,
                          const std::vector<ExpectedField>& expected,
                          const std::vector<std::string>& class_names, const std::string& source) {
  comm.barrier();
  if (!comm.is_root()) return;
  TemporaryFolder reference;
  std::vector<Field> fields;
  for (const ExpectedField& e : expected) fields.push_back(e.field);
  std::vector<std::vector<std::vector<int64_t>>> parts(fields.size());
  std::set<std::string> names;
  ChunkedChecksum conversion;  // over the shards' hashes
  for (int64_t shard = 0, begin = 0; shard < n_shards; ++shard) {
    const int64_t count = n_samples / n_shards + (shard < n_samples % n_shards);
    const std::string name = "shard-0000" + std::to_string(shard) + ".h5";
    names.insert(name);
    ShardWriter writer(reference.file(name), fields, count);
    for (int64_t row = begin; row < begin + count; ++row) {  // one row at a time, unlike the converter
      std::vector<const std::byte*> data;
      for (const ExpectedField& e : expected)
        data.push_back(e.rows.data() + row * (e.field.shape.n_elements() * size_of(e.field.dtype)));
      writer.append(data, 1);
    }
    for (size_t f = 0; f < fields.size(); ++f) parts[f].push_back(writer.moments()[f].packed());
    const uint64_t content = writer.content_hash();
    conversion.update(&content, sizeof content);
    writer.close();
    begin += count;
  }
  char id[17];
  std::snprintf(id, sizeof id, "%016llx", static_cast<unsigned long long>(conversion.digest()));
  DatasetDescription description{{}, class_names, source, id, n_shards};
  for (size_t f = 0; f < fields.size(); ++f)
    description.statistics.push_back(ChannelMoments::applies_to(fields[f])
                                         ? ChannelMoments::combine(fields[f], parts[f])
                                         : Dataset::Statistics{});
  EXPECT_EQ(names_in(folder), names);
  std::vector<std::string> objects{"/"};
  for (const Field& field : fields) objects.push_back(field.name);
  expect_no_times(folder + "/shard-00000.h5", objects);
  int64_t index = 0;
  for (const std::string& name : names) {
    ShardWriter::describe(reference.file(name), fields, description, index++);
    const std::string mine = read_bytes(reference.file(name)), theirs = read_bytes(folder + "/" + name);
    EXPECT_FALSE(mine.empty());
    EXPECT_TRUE(mine == theirs) << folder << "/" << name << " differs from the reference";
  }
}

/// Runs `convert` and returns the message of the AgreedError that it must throw on this rank.
template <typename Convert>
std::string error_of(const Convert& convert) {
  try {
    convert();
  } catch (const AgreedError& error) {
    EXPECT_FALSE(error.remedy().empty()) << error.what();
    return error.what();
  }
  ADD_FAILURE() << "no error was thrown";
  return "";
}

/// One gzip member.
inline std::string gzip(const std::string& plain) {
  z_stream stream{};
  deflateInit2(&stream, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY);
  std::string packed(plain.size() + 100, '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(plain.data()));
  stream.avail_in = static_cast<uInt>(plain.size());
  stream.next_out = reinterpret_cast<Bytef*>(packed.data());
  stream.avail_out = static_cast<uInt>(packed.size());
  EXPECT_EQ(deflate(&stream, Z_FINISH), Z_STREAM_END);
  packed.resize(stream.total_out);
  deflateEnd(&stream);
  return packed;
}

/// Calls `use` with `n` damaged versions of a file: cut short, or with one to four bytes changed. An Error
/// or success are both fine; a crash is not. Some must be noticed. LOCKSTEP_DAMAGE_FACTOR=k
/// does k times as much.
template <typename Use>
void damage_at_random(const std::string& file, int n, const Use& use) {
  if (const char* factor = std::getenv("LOCKSTEP_DAMAGE_FACTOR")) n *= std::atoi(factor);
  std::mt19937 random(1);  // the same damage on every rank
  int n_noticed = 0;
  for (int i = 0; i < n; ++i) {
    std::string damaged = file;
    if (i % 2) {
      damaged.resize(random() % file.size());
    } else {
      for (unsigned k = 0, n_bytes = 1 + random() % 4; k < n_bytes; ++k)
        damaged[random() % file.size()] ^= static_cast<char>(1 + random() % 255);
    }
    try {
      use(damaged);
    } catch (const Error&) {
      ++n_noticed;
    }
  }
  EXPECT_GT(n_noticed, 0);
}

/// The folder of real data: LOCKSTEP_TEST_DATA, or shared/data beside the sources. Empty if absent.
inline std::string test_data(const std::string& name) {
  const char* folder = std::getenv("LOCKSTEP_TEST_DATA");
  const std::string path =
      (folder ? std::string(folder) : LOCKSTEP_SOURCE_DIR "/../shared/data") + "/" + name;
  return std::filesystem::exists(path) ? path : "";
}

}  // namespace lockstep::testing
