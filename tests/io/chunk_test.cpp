// Chunked datasets read by their index against HDF5's own reading, byte for byte: element types, filters and
// their order, chunk shapes that do not divide the dataset, chunks that are missing or left unfiltered; and
// what damaged chunks say.
#include <fcntl.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <filesystem>
#include <thread>

#include "io/dataset/dataset.h"
#include "io/hdf5/chunk_reader.h"
#include "io/hdf5/hdf5.h"
#include "kernels/error.h"
#include "kernels/random.h"
#include "tests/support/error_of.h"
#include "tests/support/hdf5_files.h"

namespace lockstep {
namespace {

struct Layout {
  std::vector<hsize_t> extents, chunk;
  std::string filters;  // in order: d deflate, s shuffle, f fletcher32, n nbit (none of ours)
  hid_t type = H5T_NATIVE_FLOAT;
  bool latest_format = false, whole_edges = true;
  std::vector<hsize_t> maximum;
};

/// A dataset "x" of small random numbers, which compress.
void write(const std::string& path, const Layout& layout) {
  const auto guard = h5::lock();
  const h5::Id access = h5::own(H5Pcreate(H5P_FILE_ACCESS), "H5Pcreate", path);
  if (layout.latest_format) H5Pset_libver_bounds(access.get(), H5F_LIBVER_LATEST, H5F_LIBVER_LATEST);
  h5::Id file = h5::create_file(path, access.get());
  const auto rank = static_cast<int>(layout.extents.size());
  const h5::Id space = h5::own(
      H5Screate_simple(rank, layout.extents.data(), layout.maximum.empty() ? nullptr : layout.maximum.data()),
      "H5Screate_simple", path);
  const h5::Id plist = h5::own(H5Pcreate(H5P_DATASET_CREATE), "H5Pcreate", path);
  h5::check(H5Pset_chunk(plist.get(), rank, layout.chunk.data()), "H5Pset_chunk", path);
  for (char filter : layout.filters) {
    const herr_t status = filter == 'd'   ? H5Pset_deflate(plist.get(), 1)
                          : filter == 's' ? H5Pset_shuffle(plist.get())
                          : filter == 'f' ? H5Pset_fletcher32(plist.get())
                                          : H5Pset_nbit(plist.get());
    h5::check(status, "setting a filter", path);
  }
  if (!layout.whole_edges) H5Pset_chunk_opts(plist.get(), H5D_CHUNK_DONT_FILTER_PARTIAL_CHUNKS);
  const h5::Id dataset =
      h5::own(H5Dcreate2(file.get(), "x", layout.type, space.get(), H5P_DEFAULT, plist.get(), H5P_DEFAULT),
              "H5Dcreate", path);
  std::vector<double> values(static_cast<size_t>(H5Sget_simple_extent_npoints(space.get())));
  const RandomStream random(7, RandomPurpose::kSynthetic, 1, 0);
  for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<double>(random.bits(i / 2) % 50);
  h5::check(H5Dwrite(dataset.get(), H5T_NATIVE_DOUBLE, H5S_ALL, H5S_ALL, H5P_DEFAULT, values.data()),
            "H5Dwrite", path);
  file.close();
}

/// All rows as HDF5 hands them over in the stored type.
std::vector<std::byte> read_by_hdf5(const std::string& path) {
  const auto guard = h5::lock();
  const h5::Id file = h5::open_file(path);
  const h5::Id dataset = h5::own(H5Dopen2(file.get(), "x", H5P_DEFAULT), "H5Dopen", path);
  const h5::Id type = h5::own(H5Dget_type(dataset.get()), "H5Dget_type", path);
  const h5::Id space = h5::own(H5Dget_space(dataset.get()), "H5Dget_space", path);
  std::vector<std::byte> bytes(static_cast<size_t>(H5Sget_simple_extent_npoints(space.get())) *
                               H5Tget_size(type.get()));
  h5::check(H5Dread(dataset.get(), type.get(), H5S_ALL, H5S_ALL, H5P_DEFAULT, bytes.data()), "H5Dread", path);
  return bytes;
}

/// Every run of rows of several lengths, by the index alone. Returns bytes compared.
int64_t compare(const std::string& path, const std::vector<std::byte>& expected, int64_t n_rows,
                int64_t cache_bytes = 1 << 20) {
  const std::shared_ptr<const ChunkIndex> index = read_chunk_index(path, "x");
  EXPECT_TRUE(index);
  if (!index) return 0;
  const FileHandle file(path, O_RDONLY);
  ChunkCache cache(cache_bytes);
  const auto row_bytes = static_cast<int64_t>(expected.size()) / n_rows;
  int64_t n_compared = 0;
  for (int64_t count : {int64_t{1}, int64_t{3}, int64_t{8}, n_rows}) {
    for (int64_t first = 0; first + count <= n_rows; ++first) {
      std::vector<std::byte> got(static_cast<size_t>(count * row_bytes) + 8, std::byte{0x5A});
      EXPECT_TRUE(read_chunked_rows(*index, file, cache, 0, first, count, got.data()));
      EXPECT_TRUE(std::equal(got.begin(), got.end() - 8, expected.begin() + first * row_bytes))
          << "rows " << first << " + " << count;
      EXPECT_TRUE(std::all_of(got.end() - 8, got.end(), [](std::byte b) { return b == std::byte{0x5A}; }));
      n_compared += count * row_bytes;
    }
  }
  return n_compared;
}

TEST(Chunks, EqualHdf5ForEveryTypeFilterAndShape) {
  const std::vector<std::pair<std::vector<hsize_t>, std::vector<hsize_t>>> shapes = {
      {{23}, {5}},                      // labels, a partial last chunk
      {{23}, {23}},                     // one chunk
      {{23, 7}, {4, 7}},                // whole rows
      {{23, 7}, {1, 7}},                // one row a chunk
      {{23, 7}, {6, 3}},                // split rows, partial edges both ways
      {{11, 3, 10, 9}, {4, 1, 4, 9}},   // planes of images
      {{11, 3, 10, 9}, {11, 2, 7, 5}},  // every dimension partial
      {{5, 2, 3, 4, 5}, {2, 1, 3, 2, 3}},
  };
  const std::vector<hid_t> types = {H5T_NATIVE_UINT8, H5T_NATIVE_INT32,  H5T_NATIVE_INT64,
                                    H5T_NATIVE_FLOAT, H5T_NATIVE_DOUBLE, h5::native_type(DType::kFloat16)};
  int64_t n_compared = 0, n_layouts = 0;
  const TemporaryFolder folder;
  for (const auto& [extents, chunk] : shapes) {
    for (hid_t type : types) {
      for (const char* filters : {"", "d", "s", "sd", "f", "sdf", "fd", "fsd", "ds"}) {
        SCOPED_TRACE("rank " + std::to_string(extents.size()) + ", type of " +
                     std::to_string(H5Tget_size(type)) + " bytes, filters \"" + filters + "\"");
        const std::string path = folder.file("a.h5");
        write(path, {extents, chunk, filters, type});
        const std::vector<std::byte> expected = read_by_hdf5(path);
        n_compared += compare(path, expected, static_cast<int64_t>(extents[0]));
        const Dataset data = Dataset::open(path);
        std::vector<std::byte> got(expected.size());
        data.read("x", 0, data.n_samples(), got.data());
        EXPECT_EQ(got, expected);
        ++n_layouts;
      }
    }
  }
  EXPECT_EQ(n_layouts, 8 * 6 * 9);
  EXPECT_GT(n_compared, 1 << 20);
}

TEST(Chunks, EqualHdf5ForEveryIndexOfTheLatestFormat) {
  // Single chunk, fixed array, extensible array, version 2 B-tree; and a file with a user block.
  const std::vector<Layout> layouts = {
      {{9, 4}, {9, 4}, "sd", H5T_NATIVE_FLOAT, true},
      {{50, 4}, {3, 4}, "sd", H5T_NATIVE_FLOAT, true},
      {{50, 4}, {3, 4}, "sd", H5T_NATIVE_FLOAT, true, true, {H5S_UNLIMITED, 4}},
      {{50, 4}, {3, 3}, "d", H5T_NATIVE_FLOAT, true, true, {H5S_UNLIMITED, H5S_UNLIMITED}},
      {{50, 4}, {8, 6}, "", H5T_NATIVE_FLOAT, true, true, {H5S_UNLIMITED, H5S_UNLIMITED}},
  };
  const TemporaryFolder folder;
  for (size_t i = 0; i < layouts.size(); ++i) {
    SCOPED_TRACE("layout " + std::to_string(i));
    const std::string path = folder.file("a.h5");
    write(path, layouts[i]);
    EXPECT_GT(compare(path, read_by_hdf5(path), static_cast<int64_t>(layouts[i].extents[0])), 0);
  }
  FixtureField field{"x", {20, 3}, "float32", std::vector<double>(60, 2.5), Storage::kGzip, {}, {}};
  field.values[31] = 7;
  write_hdf5(folder.file("block.h5"), {field}, {}, 512);
  EXPECT_GT(compare(folder.file("block.h5"), read_by_hdf5(folder.file("block.h5")), 20), 0);
}

TEST(Chunks, LeaveTheRestToHdf5) {
  const TemporaryFolder folder;
  const std::string path = folder.file("a.h5");
  const std::vector<Layout> layouts = {
      {{20, 3}, {7, 3}, "n"},                  // a filter that is none of ours
      {{20, 3}, {7, 3}, "d", H5T_STD_I16LE},   // converted to int32
      {{20, 3}, {7, 3}, "d", H5T_IEEE_F32BE},  // byte order
      {{20, 3}, {7, 3}, "sd", H5T_NATIVE_FLOAT, true, /*whole_edges=*/false},  // border chunks unfiltered
  };
  for (size_t i = 0; i < layouts.size(); ++i) {
    write(path, layouts[i]);
    EXPECT_FALSE(read_chunk_index(path, "x")) << "layout " << i;
    const Dataset data = Dataset::open(path);
    std::vector<std::byte> got(static_cast<size_t>(60 * size_of(data.field("x").dtype)));
    data.read("x", 0, 20, got.data());
    EXPECT_TRUE(std::any_of(got.begin(), got.end(), [](std::byte b) { return b != std::byte{0}; }));
  }
  write_hdf5(path, {{"x", {20, 3}, "float32", std::vector<double>(60, 1), Storage::kContiguous, {}, {}}});
  EXPECT_FALSE(read_chunk_index(path, "x"));
}

TEST(Chunks, MissingOnesAreFillValuesAndFiltersMayBeLeftOut) {
  const TemporaryFolder folder;
  const std::string path = folder.file("a.h5");
  {
    const auto guard = h5::lock();
    h5::Id file = h5::create_file(path);
    const hsize_t extents[] = {20, 4}, chunk[] = {5, 4};
    const h5::Id space = h5::own(H5Screate_simple(2, extents, nullptr), "H5Screate_simple", path);
    const h5::Id plist = h5::own(H5Pcreate(H5P_DATASET_CREATE), "H5Pcreate", path);
    const float fill = 3;
    H5Pset_chunk(plist.get(), 2, chunk);
    H5Pset_shuffle(plist.get());
    H5Pset_deflate(plist.get(), 1);
    H5Pset_fill_value(plist.get(), H5T_NATIVE_FLOAT, &fill);
    const h5::Id dataset = h5::own(
        H5Dcreate2(file.get(), "x", H5T_NATIVE_FLOAT, space.get(), H5P_DEFAULT, plist.get(), H5P_DEFAULT),
        "H5Dcreate", path);
    const std::vector<float> plain(20, 8);
    const hsize_t at[] = {10, 0};  // the third chunk, as it is
    h5::check(H5Dwrite_chunk(dataset.get(), H5P_DEFAULT, 3, at, 80, plain.data()), "H5Dwrite_chunk", path);
    file.close();
  }
  const std::shared_ptr<const ChunkIndex> index = read_chunk_index(path, "x");
  ASSERT_TRUE(index);
  EXPECT_EQ(index->chunks[0].n_bytes, 0u);
  EXPECT_EQ(index->chunks[2].n_bytes, 80u);
  EXPECT_EQ(index->chunks[2].filter_mask, 3u);
  const Dataset data = Dataset::open(path);
  std::vector<float> got(80);
  data.read("x", 0, 20, got.data());
  for (size_t i = 0; i < 80; ++i) ASSERT_EQ(got[i], i >= 40 && i < 60 ? 8.0f : 3.0f) << i;
}

TEST(Chunks, DamageIsAnErrorThatNamesFileDatasetAndRows) {
  const TemporaryFolder folder;
  const std::string path = folder.file("a.h5");
  int64_t n_found = 0, n_silent = 0;
  for (const std::string filters : {"d", "sd", "f", "sdf", "fd"}) {
    const Layout layout{{40, 30}, {8, 30}, filters};
    write(path, layout);
    const StoredChunk chunk = read_chunk_index(path, "x")->chunks[2];
    const Dataset data = Dataset::open(path);
    for (int64_t at : {int64_t{0}, int64_t{1}, int64_t{chunk.n_bytes / 2}, int64_t{chunk.n_bytes} - 1}) {
      write(path, layout);
      std::byte b{};
      FileHandle file(path, O_RDWR);
      file.read_at(&b, 1, chunk.offset + at);
      b ^= std::byte{0x41};
      file.write_at(&b, 1, chunk.offset + at);
      file.close();
      const Dataset damaged = Dataset::open(path);
      std::vector<float> rows(40 * 30);
      EXPECT_EQ(error_of([&] { damaged.read("x", 0, 16, rows.data()); }), "");
      const std::string message = error_of([&] { damaged.read("x", 17, 2, rows.data()); });
      if (message.empty()) {
        ++n_silent;
        continue;
      }
      ++n_found;
      EXPECT_NAMES(message, path + ": dataset x, rows 17 to 18 cannot be read: ");
      EXPECT_NAMES(message, "remedy: copy the file again");
      EXPECT_EQ(error_of([&] { damaged.read("x", 24, 16, rows.data()); }), "");
    }
  }
  EXPECT_EQ(n_found, 5 * 4);
  EXPECT_EQ(n_silent, 0);
}

TEST(Chunks, TruncatedFilesAndImpossibleSizesAreErrors) {
  const TemporaryFolder folder;
  const std::string path = folder.file("a.h5");
  write(path, {{4000, 30}, {80, 30}, "sd"});
  const ChunkIndex index = *read_chunk_index(path, "x");
  const Dataset data = Dataset::open(path);
  std::vector<float> rows(4000 * 30);
  data.read("x", 0, 80, rows.data());  // the index is there, most chunks are not
  std::filesystem::resize_file(path, static_cast<uintmax_t>(index.chunks[20].offset));
  const std::string message = error_of([&] { data.read("x", 1600, 80, rows.data()); });
  EXPECT_NAMES(message, path + ": dataset x, rows 1600 to 1679 cannot be read: ");

  // Sizes in the index that the chunk does not have.
  write(path, {{40, 30}, {8, 30}, "sdf"});
  const std::shared_ptr<const ChunkIndex> good = read_chunk_index(path, "x");
  const FileHandle file(path, O_RDONLY);
  for (uint32_t n_bytes : {1u, 3u, 4u, 17u, good->chunks[1].n_bytes - 1, good->chunks[1].n_bytes + 1, 900u}) {
    ChunkIndex wrong = *good;
    wrong.chunks[1].n_bytes = n_bytes;
    ChunkCache cache(1 << 20);
    EXPECT_FALSE(read_chunked_rows(wrong, file, cache, 0, 8, 8, reinterpret_cast<std::byte*>(rows.data())));
    EXPECT_TRUE(read_chunked_rows(wrong, file, cache, 0, 0, 8, reinterpret_cast<std::byte*>(rows.data())));
  }
}

TEST(Chunks, ManyThreadsShareASmallCache) {
  const TemporaryFolder folder;
  const std::string path = folder.file("a.h5");
  write(path, {{400, 30}, {16, 11}, "sd"});
  const std::vector<std::byte> expected = read_by_hdf5(path);
  const std::shared_ptr<const ChunkIndex> index = read_chunk_index(path, "x");
  const FileHandle file(path, O_RDONLY);
  ChunkCache cache(3 * index->chunk_bytes());  // they take each other's chunks away
  std::atomic<int64_t> n_equal = 0;
  std::vector<std::thread> threads;
  for (uint64_t t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      const RandomStream random(1, RandomPurpose::kSynthetic, 2, t);
      std::vector<std::byte> got(120);
      for (uint64_t i = 0; i < 500; ++i) {
        const auto row = static_cast<int64_t>(random.bits(i) % 400);
        if (!read_chunked_rows(*index, file, cache, 0, row, 1, got.data())) continue;
        n_equal += std::equal(got.begin(), got.end(), expected.begin() + row * 120);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(n_equal, 4 * 500);
}

TEST(ChunkCache, KeepsItsBoundAndForgetsWhatFailed) {
  ChunkCache cache(100);
  int n_decoded = 0;
  const auto get = [&](uint64_t key, bool succeeds = true) {
    return cache.get(key, 40, {}, [&](std::byte* dst) {
      ++n_decoded;
      dst[0] = static_cast<std::byte>(key);
      return succeeds;
    });
  };
  const ChunkCache::Chunk held = get(1);
  get(2), get(1), get(2);
  EXPECT_EQ(n_decoded, 2);
  get(3);  // takes the place of 1
  get(2), get(3);
  EXPECT_EQ(n_decoded, 3);
  EXPECT_EQ(held[0], std::byte{1});
  get(1);
  EXPECT_EQ(n_decoded, 4);
  EXPECT_FALSE(get(9, false));
  EXPECT_TRUE(get(9));
  EXPECT_EQ(n_decoded, 6);
  EXPECT_THROW(cache.get(10, 40, {}, [](std::byte*) -> bool { throw Error("x", "y"); }), Error);
  EXPECT_TRUE(get(10));
  cache.allow(1000);
  get(11), get(12), get(13);
  n_decoded = 0;
  get(11), get(12), get(13), get(10);
  EXPECT_EQ(n_decoded, 0);
}

TEST(ChunkCache, WhatWasReadFromFrontToBackLeavesAndItsMemoryIsTakenAgain) {
  ChunkCache cache(1000);
  const auto get = [&](uint64_t key, const ChunkCache::Rows& rows) {
    return cache.get(key, 40, rows, [&](std::byte* dst) {
      dst[0] = static_cast<std::byte>(key);
      return true;
    });
  };
  const std::byte* const memory = get(1, {0, 4, 10}).get();
  get(1, {4, 9, 10});
  EXPECT_TRUE(cache.has(1));
  const ChunkCache::Chunk held = get(1, {9, 10, 10});
  EXPECT_FALSE(cache.has(1));
  EXPECT_EQ(held.get(), memory);
  EXPECT_NE(get(2, {0, 9, 10}).get(), memory);  // it is still held
  EXPECT_EQ(held[0], std::byte{1});
  get(2, {9, 10, 10});
  EXPECT_FALSE(cache.has(2));

  get(3, {5, 10, 10}), get(3, {0, 5, 10}), get(3, {9, 10, 10});  // in no order: it stays
  EXPECT_TRUE(cache.has(3));
  const std::byte* const fourth = get(4, {0, 10, 10}).get();
  EXPECT_FALSE(cache.has(4));
  EXPECT_EQ(get(5, {0, 1, 10}).get(), fourth);

  auto gone = std::make_unique<ChunkCache>(1000);
  const ChunkCache::Chunk survivor = gone->get(1, 40, {}, [](std::byte* dst) {
    dst[39] = std::byte{7};
    return true;
  });
  gone.reset();
  EXPECT_EQ(survivor[39], std::byte{7});
}

}  // namespace
}  // namespace lockstep
