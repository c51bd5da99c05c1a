// Datasets written by the HDF5 C API and by h5py read back value by value: every storage,
// byte order and element type; and every broken dataset is refused with a message that
// names the shard.
#include "io/dataset/dataset.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/file.h>
#include <unistd.h>

#include <cmath>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <thread>

#include "io/files/checksum.h"
#include "io/hdf5/hdf5.h"
#include "kernels/error.h"
#include "tests/support/error_of.h"
#include "tests/support/hdf5_files.h"

namespace lockstep {
namespace {

std::vector<double> counting(int64_t n, double first = 0) {
  std::vector<double> values(static_cast<size_t>(n));
  for (int64_t i = 0; i < n; ++i) values[static_cast<size_t>(i)] = first + static_cast<double>(i % 100);
  return values;
}

FixtureField images(int64_t n, const std::string& type = "uint8", Storage storage = Storage::kContiguous) {
  return {"image", {n, 2, 3}, type, counting(n * 6), storage, {}, {}};
}
FixtureField labels(int64_t n) {
  std::vector<double> values;
  for (int64_t i = 0; i < n; ++i) values.push_back(static_cast<double>(i % 10));
  return {"label", {n}, "int64", values, Storage::kContiguous, {}, {}};
}

std::string open_error(const std::string& path) {
  return error_of([&] { Dataset::open(path); });
}
double element(const std::byte* bytes, DType dtype, int64_t i) {
  const auto as = [&](auto value) {
    std::memcpy(&value, bytes + i * static_cast<int64_t>(sizeof value), sizeof value);
    return value;
  };
  switch (dtype) {
    case DType::kUInt8: return as(uint8_t{});
    case DType::kInt32: return as(int32_t{});
    case DType::kInt64: return static_cast<double>(as(int64_t{}));
    case DType::kFloat32: return as(float{});
    case DType::kFloat64: return as(double{});
    case DType::kFloat16: {  // the fixtures hold small whole numbers: exponent and mantissa suffice
      const uint16_t bits = as(uint16_t{});
      const double sign = bits & 0x8000 ? -1 : 1;
      return bits & 0x7FFF ? sign * std::ldexp(1024 + (bits & 0x3FF), ((bits >> 10) & 0x1F) - 25) : 0;
    }
    case DType::kBFloat16: break;
  }
  return -1e9;
}

/// Reads [first, first + count) and compares with `expected` (all rows of the field).
int64_t compare(const Dataset& data, const std::string& name, int64_t first, int64_t count,
                const std::vector<double>& expected) {
  const Field& field = data.field(name);
  const int64_t n = field.shape.n_elements();
  std::vector<std::byte> bytes(static_cast<size_t>(count * n * size_of(field.dtype)) + 8, std::byte{0x5A});
  data.read(name, first, count, bytes.data());
  for (size_t i = bytes.size() - 8; i < bytes.size(); ++i) EXPECT_EQ(bytes[i], std::byte{0x5A});
  for (int64_t i = 0; i < count * n; ++i) {
    EXPECT_EQ(element(bytes.data(), field.dtype, i), expected[static_cast<size_t>(first * n + i)])
        << name << " element " << i << " from row " << first;
  }
  return count * n;
}

TEST(Dataset, ReadsEveryTypeAndStorage) {
  const std::vector<std::pair<std::string, DType>> types = {
      {"uint8", DType::kUInt8},      {"int8", DType::kInt32},       {"int16", DType::kInt32},
      {"int32", DType::kInt32},      {"uint32", DType::kInt64},     {"int64", DType::kInt64},
      {"float16", DType::kFloat16},  {"float32", DType::kFloat32},  {"float64", DType::kFloat64},
      {">int16", DType::kInt32},     {">int32", DType::kInt32},     {">int64", DType::kInt64},
      {">float16", DType::kFloat16}, {">float32", DType::kFloat32}, {">float64", DType::kFloat64}};
  int64_t n_compared = 0;
  for (Storage storage : {Storage::kContiguous, Storage::kChunked, Storage::kGzip}) {
    for (const auto& [type, dtype] : types) {
      SCOPED_TRACE(type + ", storage " + std::to_string(static_cast<int>(storage)));
      const TemporaryFolder folder;
      write_hdf5(folder.file("a.h5"), {images(23, type, storage), labels(23)});
      const Dataset data = Dataset::open(folder.file("a.h5"));
      ASSERT_EQ(data.field("image").dtype, dtype);
      ASSERT_EQ(data.field("image").shape, (Shape{2, 3}));
      ASSERT_EQ(data.field("label").shape, Shape{});
      n_compared += compare(data, "image", 0, 23, counting(23 * 6));
      n_compared += compare(data, "image", 5, 9, counting(23 * 6));
      n_compared += compare(data, "image", 22, 1, counting(23 * 6));
      n_compared += compare(data, "image", 23, 0, counting(23 * 6));
    }
  }
  EXPECT_EQ(n_compared, 3 * 15 * 33 * 6);
}

TEST(Dataset, SpansShardsInNameOrder) {
  const TemporaryFolder folder;
  std::vector<double> all;
  int64_t first = 0;
  // Written in another order than that of their names; the middle one is empty.
  for (auto [name, n] : {std::pair{"c.hdf5", 4}, {"a.h5", 5}, {"b.h5", 0}}) {
    FixtureField field = {"x", {n}, "int32", counting(n, 1000 * name[0]), Storage::kContiguous, {}, {}};
    write_hdf5(folder.file(name), {field});
  }
  std::ofstream(folder.file("notes.txt")) << "not a shard";
  std::ofstream(folder.file(".d.h5")) << "hidden: a file being written";
  for (int n : {5, 4}) {
    const std::vector<double> part = counting(n, 1000 * (n == 5 ? 'a' : 'c'));
    all.insert(all.end(), part.begin(), part.end());
  }
  const Dataset data = Dataset::open(folder.path());
  ASSERT_EQ(data.n_samples(), 9);
  ASSERT_EQ(data.shards().size(), 3u);
  for (const Dataset::Shard& shard : data.shards()) {
    EXPECT_EQ(shard.first, first);
    first += shard.n_samples;
  }
  int64_t n_compared = 0;
  for (int64_t begin = 0; begin <= 9; ++begin) {
    for (int64_t end = begin; end <= 9; ++end) n_compared += compare(data, "x", begin, end - begin, all);
  }
  EXPECT_EQ(n_compared, 165);
}

/// Half of a dataset is no dataset: HDF5 under other names beside the shards is not passed over.
TEST(Dataset, HDF5UnderOtherNamesIsRefused) {
  const FixtureField field = {"x", {3}, "int32", counting(3), Storage::kContiguous, {}, {}};
  int n_refused = 0;
  for (const char* name : {"b.hdf", "b.he5", "b.nc", "b.nc4", "b.H5", "b.HDF5", "b.h5ad", "b.mat"}) {
    const TemporaryFolder folder;
    write_hdf5(folder.file("a.h5"), {field});
    write_hdf5(folder.file("b.hdf5"), {field});
    EXPECT_EQ(Dataset::open(folder.path()).n_samples(), 6);
    write_hdf5(folder.file(name), {field});
    const std::string text = error_of([&] { Dataset::open(folder.path()); });
    EXPECT_NE(text.find(std::string("not named .h5 or .hdf5, as shards are, such as ") + name),
              std::string::npos)
        << text;
    EXPECT_NE(text.find("beside 2 that are"), std::string::npos) << text;
    ++n_refused;
    std::filesystem::remove(folder.file("a.h5"));
    std::filesystem::remove(folder.file("b.hdf5"));
    EXPECT_NE(error_of([&] { Dataset::open(folder.path()); }).find("1 file is HDF5 but not named"),
              std::string::npos);
    EXPECT_EQ(Dataset::open(folder.file(name)).n_samples(), 3);  // by itself it is fine
    std::ofstream(folder.file(name)) << "CDF: another format";
    write_hdf5(folder.file("a.h5"), {field});
    EXPECT_EQ(Dataset::open(folder.path()).n_samples(), 3);
  }
  EXPECT_EQ(n_refused, 8);
}

TEST(Dataset, AFolderTooHighNamesThoseBelow) {
  const TemporaryFolder folder;
  for (const char* part : {"train", "test", "empty"}) std::filesystem::create_directory(folder.file(part));
  const FixtureField field = {"x", {3}, "int32", counting(3), Storage::kContiguous, {}, {}};
  write_hdf5(folder.file("train/a.h5"), {field});
  write_hdf5(folder.file("test/a.hdf5"), {field});
  const std::string text = error_of([&] { Dataset::open(folder.path()); });
  EXPECT_NE(text.find("one of the folders below it: test, train"), std::string::npos) << text;
}

TEST(Dataset, BlocksHoldTheRowsThatSingleReadsGive) {
  for (Storage storage : {Storage::kContiguous, Storage::kChunked, Storage::kGzip}) {
    const TemporaryFolder folder;
    // 120 bytes a row, 1,092 rows a block: several blocks, the last one of a shard not full, a shard of one
    // row.
    const std::vector<int64_t> sizes = {3000, 1, 2500};
    double value = 0;
    int n_written = 0;
    for (int64_t n : sizes) {
      FixtureField field = {"x", {n, 30}, "int32", {}, storage, {}, {}};
      for (int64_t i = 0; i < n * 30; ++i) field.values.push_back(value++);
      write_hdf5(folder.file(std::to_string(n_written++) + ".h5"), {field});
    }
    const Dataset data = Dataset::open(folder.path());
    ASSERT_EQ(data.n_samples(), 5501);
    if (storage == Storage::kContiguous) {
      EXPECT_EQ(data.rows_decoded_together("x"), 1);
      EXPECT_EQ(data.rows_of_block("x"), (128 << 10) / 120);
    }
    std::vector<int32_t> single(30), block(30);
    for (int64_t i = 0; i < 5501; ++i) {
      const int64_t row = i * 7919 % 5501;  // to and fro
      data.read("x", row, 1, single.data());
      const std::shared_ptr<const std::byte> in_block = data.row_of_block("x", row);
      if (!in_block) {
        ASSERT_EQ(row, 3000);  // the shard of one row has a chunk of one row
        continue;
      }
      std::memcpy(block.data(), in_block.get(), 120);
      ASSERT_EQ(block, single) << "row " << row;
      ASSERT_EQ(single[29], static_cast<int32_t>(row * 30 + 29));
    }
  }
}

TEST(Dataset, SkipsAUserBlock) {
  const TemporaryFolder folder;
  write_hdf5(folder.file("a.h5"), {images(10), labels(10)}, {}, 1024);
  EXPECT_EQ(compare(Dataset::open(folder.path()), "image", 3, 7, counting(60)), 42);
}

TEST(Dataset, ReadsMetadata) {
  const TemporaryFolder folder;
  FixtureField field = images(4);
  field.mean = {0.5, 1.5};
  field.stddev = {2, 3};
  write_hdf5(folder.file("a.h5"), {field, labels(4)}, {"cat", "dog"});
  write_hdf5(folder.file("b.h5"), {field, labels(4)}, {"cat", "dog"});
  const Dataset data = Dataset::open(folder.path());
  EXPECT_EQ(data.class_names(), (std::vector<std::string>{"cat", "dog"}));
  ASSERT_NE(data.statistics("image"), nullptr);
  EXPECT_EQ(data.statistics("image")->mean, (std::vector<double>{0.5, 1.5}));
  EXPECT_EQ(data.statistics("image")->stddev, (std::vector<double>{2, 3}));
  EXPECT_EQ(data.statistics("label"), nullptr);
}

TEST(Dataset, ReadsFilesOfH5py) {
  if (!has_h5py()) GTEST_SKIP() << "python3-h5py is not installed, so no file of another writer is read";
  const TemporaryFolder folder;
  ASSERT_EQ(run_h5py(folder.path(), R"(
x = (np.arange(23 * 6) % 100).reshape(23, 2, 3)
with h5py.File(folder + '/a.h5', 'w') as f:
    f.attrs['class_names'] = ['zero', 'eins', 'zwei ü']
    f['plain'] = x.astype('f4')
    f.create_dataset('chunked', data=x.astype('u1'), chunks=(5, 2, 2))
    f.create_dataset('packed', data=x.astype('i4'), chunks=(4, 2, 3), compression='gzip', shuffle=True)
    f.create_dataset('sums', data=x.astype('f8'), chunks=(4, 2, 3), fletcher32=True)
    f['big'] = x.astype('>f8')
    f['half'] = x.astype('f2')
    f['flag'] = (x[:, 0, 0] % 2).astype(bool)
    f['name'] = ['s%d' % i for i in range(23)]
    f['version'] = 3
    f.create_dataset('lazy', shape=(23,), dtype='i4', fillvalue=7)
    f['group/weights'] = np.ones(5)
    f['words'] = np.arange(40)
    f['words_offsets'] = np.arange(24)
    f['chunked'].attrs['mean'] = np.float32([1, 2])
    f['chunked'].attrs['stddev'] = [3.0, 4.0]
)"),
            "");
  const Dataset data = Dataset::open(folder.path());
  ASSERT_EQ(data.n_samples(), 23);
  EXPECT_EQ(data.class_names(), (std::vector<std::string>{"zero", "eins", "zwei ü"}));
  const std::vector<double> x = counting(23 * 6);
  int64_t n_compared = 0;
  for (const char* name : {"plain", "chunked", "packed", "sums", "big", "half"}) {
    n_compared += compare(data, name, 0, 23, x);
    n_compared += compare(data, name, 3, 11, x);
  }
  EXPECT_EQ(n_compared, 6 * 34 * 6);
  EXPECT_EQ(compare(data, "lazy", 2, 4, std::vector<double>(23, 7)), 4);
  EXPECT_EQ(data.statistics("chunked")->mean, (std::vector<double>{1, 2}));
  EXPECT_EQ(data.fields().size(), 8u);
  EXPECT_EQ(data.field("flag").dtype, DType::kUInt8);  // True and False are 1 and 0
  EXPECT_NAMES(error_of([&] { data.field("name"); }), "strings");
  EXPECT_NAMES(error_of([&] { data.field("version"); }), "scalar");
  EXPECT_NAMES(error_of([&] { data.field("words"); }), "words_offsets, which ends with 23");
  EXPECT_NAMES(error_of([&] { data.field("weights"); }), "has no field");
}

TEST(Dataset, ReadsFromManyThreadsAndManyShards) {
  // More shards than files are kept open, of both kinds of storage.
  const TemporaryFolder folder;
  const int64_t n_shards = 150, n_per_shard = 3;
  std::vector<double> all;
  for (int64_t i = 0; i < n_shards; ++i) {
    const Storage storage = i % 2 ? Storage::kGzip : Storage::kContiguous;
    const std::vector<double> values = counting(n_per_shard, static_cast<double>(1000 * i));
    all.insert(all.end(), values.begin(), values.end());
    std::string name = std::to_string(1000 + i) + ".h5";
    write_hdf5(folder.file(name), {{"x", {n_per_shard}, "int32", values, storage, {}, {}}});
  }
  const Dataset data = Dataset::open(folder.path());
  ASSERT_EQ(data.n_samples(), n_shards * n_per_shard);
  int64_t n_open = 0;
  std::vector<int64_t> n_wrong(4);
  std::vector<std::thread> threads;
  for (size_t t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (int64_t i = 0; i < 2000; ++i) {
        const int64_t row = (i * 7919 + static_cast<int64_t>(t) * 131) % (data.n_samples() - 4);
        int32_t values[4];
        data.read("x", row, 4, values);
        for (int64_t j = 0; j < 4; ++j) n_wrong[t] += values[j] != all[static_cast<size_t>(row + j)];
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(n_wrong, std::vector<int64_t>(4));
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd"))
    n_open += entry.exists() || true;
  EXPECT_LT(n_open, 150);
}

TEST(Dataset, RefusesWhatIsNoDataset) {
  const TemporaryFolder folder;
  std::string message = open_error(folder.file("nowhere"));
  EXPECT_NAMES(message, "nowhere: there is no such file or folder");
  EXPECT_NAMES(message, "lockstep convert");
  message = open_error(folder.path());
  EXPECT_NAMES(message, "no .h5 or .hdf5 file");
  std::ofstream(folder.file("a.h5")) << "this is text";
  message = open_error(folder.path());
  EXPECT_NAMES(message, "a.h5: is not a readable HDF5 file");
  write_hdf5(folder.file("a.h5"), {});
  EXPECT_NAMES(open_error(folder.path()), "holds no dataset of numbers");
  write_hdf5(folder.file("a.h5"), {images(0), labels(0)});
  EXPECT_NAMES(open_error(folder.path()), "the dataset has no samples");
  write_hdf5(folder.file("a.h5"), {images(4), labels(5)});
  message = error_of([&] { Dataset::open(folder.path(), {.fields = {"image", "label"}}); });
  EXPECT_NAMES(message, "dataset label cannot be a field: it has another sample count in");
  EXPECT_NAMES(message, "a.h5: 5 rows, but image has 4");
  EXPECT_NAMES(error_of([&] { Dataset::open(folder.path()).field("label"); }), "5 rows, but image has 4");
  FixtureField unknown = images(4);
  unknown.mean = {0, std::nan("")};
  unknown.stddev = {1, 1};
  write_hdf5(folder.file("a.h5"), {unknown});
  EXPECT_NAMES(open_error(folder.path()),
               "a.h5: holds no dataset of numbers with a sample dimension; image has attributes mean and "
               "stddev that are not finite");
}

TEST(Dataset, RefusesShardsThatDisagree) {
  const TemporaryFolder folder;
  write_hdf5(folder.file("a.h5"), {images(4), labels(4)}, {"cat", "dog"});
  const auto with = [&](const std::vector<FixtureField>& fields, const std::vector<std::string>& names = {}) {
    write_hdf5(folder.file("b.h5"), fields, names);
    const std::string message = error_of([&] {
      Dataset::open(folder.path(), {.fields = {"image", "label"}});
    });
    EXPECT_NAMES(message, "b.h5");
    return message;
  };
  EXPECT_NAMES(with({images(4)}), "label cannot be a field: it is missing in");
  EXPECT_NAMES(with({labels(4)}), "has no field \"image\", but");
  EXPECT_NAMES(with({images(4, "float32"), labels(4)}), "float32 (2, 3)");
  FixtureField other = images(4);
  other.extents = {4, 3, 2};
  EXPECT_NAMES(with({other, labels(4)}), "uint8 (3, 2)");
  EXPECT_NAMES(with({images(4), labels(4)}, {"dog", "cat"}), "class names");
  other = images(4);
  other.mean = other.stddev = {1, 1};
  EXPECT_NAMES(with({other, labels(4)}), "mean or stddev");
  write_hdf5(folder.file("b.h5"), {images(4), labels(4), {"extra", {4}, "uint8", counting(4)}});
  const Dataset data = Dataset::open(folder.path());
  EXPECT_EQ(data.n_samples(), 8);
  const std::string message = error_of([&] { data.field("extra"); });
  EXPECT_NAMES(message, "fields that exist: image, label");
}

TEST(Dataset, RefusesTruncatedShards) {
  int64_t n_refused = 0;
  for (Storage storage : {Storage::kContiguous, Storage::kGzip}) {
    const TemporaryFolder folder;
    write_hdf5(folder.file("a.h5"), {images(1000, "uint8", storage), labels(1000)});
    const auto n_bytes = std::filesystem::file_size(folder.file("a.h5"));
    for (uintmax_t cut : {uintmax_t{1}, n_bytes / 2, n_bytes - 100, n_bytes}) {
      std::filesystem::resize_file(folder.file("a.h5"), n_bytes - cut);
      const std::string message = open_error(folder.path());
      EXPECT_NAMES(message, "a.h5");
      EXPECT_NAMES(message, "copy the file again");
      n_refused += !message.empty();
    }
  }
  EXPECT_EQ(n_refused, 8);
}

TEST(Dataset, RefusesContentBeyondTheEndOfTheFile) {
  // HDF5 compares the file's size with the one in its superblock (version 0: at byte 40);
  // a file whose superblock is content still must hold every row.
  const TemporaryFolder folder;
  write_hdf5(folder.file("a.h5"), {images(1000), labels(1000)});
  uint64_t n_bytes = std::filesystem::file_size(folder.file("a.h5"));
  {
    std::fstream file(folder.file("a.h5"), std::ios::in | std::ios::out | std::ios::binary);
    uint64_t stored = 0;
    file.seekg(40).read(reinterpret_cast<char*>(&stored), 8);
    ASSERT_EQ(stored, n_bytes);
    n_bytes -= 100;
    file.seekp(40).write(reinterpret_cast<const char*>(&n_bytes), 8);
  }
  std::filesystem::resize_file(folder.file("a.h5"), n_bytes);
  EXPECT_NAMES(open_error(folder.path()), "is cut off: its content ends at byte");
}

/// A chunked dataset `image` of that shape, to which nothing was ever written.
void write_unwritten(const std::string& path, const std::vector<hsize_t>& extents,
                     const std::vector<hsize_t>& chunk) {
  const auto guard = h5::lock();
  h5::Id file = h5::create_file(path);
  const auto rank = static_cast<int>(extents.size());
  const h5::Id space(H5Screate_simple(rank, extents.data(), nullptr)), plist(H5Pcreate(H5P_DATASET_CREATE));
  ASSERT_GE(H5Pset_chunk(plist.get(), rank, chunk.data()), 0);
  const h5::Id dataset(
      H5Dcreate2(file.get(), "image", H5T_STD_I64LE, space.get(), H5P_DEFAULT, plist.get(), H5P_DEFAULT));
  ASSERT_TRUE(dataset);
}

TEST(Dataset, ImpossibleExtentsAreNotAskedMemoryFor) {
  const TemporaryFolder folder;
  write_unwritten(folder.file("a.h5"), {3, hsize_t{1} << 40}, {1, 16});
  EXPECT_NAMES(open_error(folder.path()), "bytes cannot hold");
  write_unwritten(folder.file("a.h5"), {hsize_t{1} << 40, hsize_t{1} << 40}, {1, 16});
  EXPECT_NAMES(open_error(folder.path()), "bytes cannot hold");
  // Rows that were never written take no bytes, so that they may be many; they are zeros.
  write_unwritten(folder.file("a.h5"), {hsize_t{1} << 50}, {1});
  const Dataset data = Dataset::open(folder.path());
  int64_t last = -1;
  data.read("image", data.n_samples() - 1, 1, &last);
  EXPECT_EQ(last, 0);
  for (int i = 0; i < 16; ++i)  // together more than int64 counts
    write_unwritten(folder.file("b" + std::to_string(i) + ".h5"), {hsize_t{1} << 59}, {1});
  EXPECT_NAMES(open_error(folder.path()), "claims 576460752303423488 samples");
}

TEST(Dataset, ReportsAFileThatShrankAfterOpening) {
  const TemporaryFolder folder;
  write_hdf5(folder.file("a.h5"), {images(1000), labels(1000)});
  const Dataset data = Dataset::open(folder.path());
  std::filesystem::resize_file(folder.file("a.h5"), 4096);
  std::vector<std::byte> bytes(1000 * 6);
  const std::string message = error_of([&] { data.read("image", 0, 1000, bytes.data()); });
  EXPECT_NAMES(message, "a.h5: dataset image, rows 0 to 999 cannot be read: ends before byte");
  const std::string of_block = error_of([&] { data.row_of_block("image", 999); });
  EXPECT_NAMES(of_block, "a.h5: dataset image, rows 0 to 999 cannot be read: ends before byte");
}

TEST(Dataset, SaysWhenAnotherProgramLocksAShard) {
  if (std::getenv("HDF5_USE_FILE_LOCKING"))
    GTEST_SKIP() << "HDF5_USE_FILE_LOCKING is set, so HDF5 may ignore locks";
  const TemporaryFolder folder;
  write_hdf5(folder.file("a.h5"), {images(4)});
  const int file = ::open(folder.file("a.h5").c_str(), O_RDONLY);
  ASSERT_EQ(::flock(file, LOCK_EX | LOCK_NB), 0);
  const std::string message = open_error(folder.path());
  EXPECT_NAMES(message, "a.h5: cannot be opened");
  EXPECT_NAMES(message, "HDF5_USE_FILE_LOCKING=FALSE");
  ::close(file);
  EXPECT_EQ(open_error(folder.path()), "");
}

TEST(Dataset, RefusesANewerFormat) {
  const TemporaryFolder folder;
  write_hdf5(folder.file("a.h5"), {images(4)});
  const auto set_version = [&](int64_t version) {
    const auto guard = h5::lock();
    const h5::Id file(H5Fopen(folder.file("a.h5").c_str(), H5F_ACC_RDWR, H5P_DEFAULT));
    h5::write_attribute(file.get(), "lockstep_format_version", version);
  };
  set_version(1);
  EXPECT_EQ(open_error(folder.path()), "");
  set_version(2);
  EXPECT_NAMES(open_error(folder.path()), "version 2");
}

TEST(Dataset, VerifiesChecksums) {
  const TemporaryFolder folder;
  std::vector<double> values = counting(300000);
  write_hdf5(folder.file("a.h5"),
             {{"x", {1000, 300}, "int32", values, Storage::kGzip, {}, {}}, labels(1000)});
  write_hdf5(folder.file("b.h5"), {{"x", {1000, 300}, ">int32", values}, labels(1000)});
  ChunkedChecksum checksum;
  for (double value : values) {
    const auto x = static_cast<int32_t>(value);
    checksum.update(&x, 4);
  }
  for (const char* name : {"a.h5", "b.h5"}) {
    const auto guard = h5::lock();
    const h5::Id file(H5Fopen(folder.file(name).c_str(), H5F_ACC_RDWR, H5P_DEFAULT));
    const h5::Id x(H5Dopen2(file.get(), "x", H5P_DEFAULT));
    h5::write_attribute(file.get(), "lockstep_format_version", int64_t{1});
    h5::write_attribute(x.get(), "checksum", static_cast<int64_t>(checksum.digest()));
  }
  int64_t n_checked = -1, n_unchecked = -1;
  EXPECT_EQ(Dataset::open(folder.path()).verify(&n_checked, &n_unchecked), std::vector<std::string>{});
  EXPECT_EQ(n_checked, 2);
  EXPECT_EQ(n_unchecked, 2);
  {
    const auto guard = h5::lock();
    const h5::Id file(H5Fopen(folder.file("b.h5").c_str(), H5F_ACC_RDWR, H5P_DEFAULT));
    const h5::Id x(H5Dopen2(file.get(), "x", H5P_DEFAULT));
    values[299999] += 1;
    ASSERT_GE(H5Dwrite(x.get(), H5T_NATIVE_DOUBLE, H5S_ALL, H5S_ALL, H5P_DEFAULT, values.data()), 0);
  }
  const std::vector<std::string> problems = Dataset::open(folder.path()).verify(&n_checked, &n_unchecked);
  ASSERT_EQ(problems.size(), 1u);
  EXPECT_NAMES(problems[0], "b.h5: dataset x: wrong checksum");
}

TEST(Checksum, DoesNotDependOnHowContentArrives) {
  std::vector<unsigned char> bytes(5 * ChunkedChecksum::kPieceBytes / 2);
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<unsigned char>(i * 2654435761u >> 13);
  const auto n = static_cast<int64_t>(bytes.size());
  ChunkedChecksum whole, by_pieces;
  whole.update(bytes.data(), n);
  for (int64_t at = 0; at < n; at += ChunkedChecksum::kPieceBytes)
    by_pieces.update_piece(piece_checksum(bytes.data() + at, std::min(ChunkedChecksum::kPieceBytes, n - at)));
  EXPECT_EQ(whole.digest(), by_pieces.digest());
  for (int64_t step : {int64_t{999}, int64_t{1} << 16, (int64_t{1} << 20) + 1}) {
    ChunkedChecksum part;
    for (int64_t at = 0; at < n; at += step) part.update(bytes.data() + at, std::min(step, n - at));
    EXPECT_EQ(part.digest(), whole.digest()) << step;
  }
  EXPECT_EQ(ChunkedChecksum().digest(), 0x2d06800538d394c2u);  // XXH3_64 of nothing, as published
  bytes[1234567] ^= 1;
  ChunkedChecksum changed;
  changed.update(bytes.data(), n);
  EXPECT_NE(changed.digest(), whole.digest());
}

}  // namespace
}  // namespace lockstep
