// The loader delivers the sampler's order whatever the rank split, start, storage, cache and
// timing: each sample once per epoch, values converted exactly, errors at their place, and
// no hang in the destructor.
#include "io/loader/loader.h"

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <atomic>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <functional>
#include <limits>
#include <memory>
#include <new>
#include <set>
#include <thread>

#include "kernels/error.h"
#include "tests/support/error_of.h"
#include "tests/support/hdf5_files.h"

// Counts allocations of the calling thread, to show that next() makes none.
namespace {
thread_local int64_t n_allocations = 0;
void* allocate(std::size_t n, std::size_t alignment) {
  ++n_allocations;
  const std::size_t size = (n + alignment - 1) / alignment * alignment;
  if (void* p = std::aligned_alloc(alignment, size ? size : alignment)) return p;
  throw std::bad_alloc();
}
}  // namespace
void* operator new(std::size_t n) { return allocate(n, alignof(std::max_align_t)); }
void* operator new(std::size_t n, std::align_val_t a) { return allocate(n, static_cast<std::size_t>(a)); }
void operator delete(void* p) noexcept { std::free(p); }
void operator delete(void* p, std::size_t) noexcept { std::free(p); }
void operator delete(void* p, std::align_val_t) noexcept { std::free(p); }
void operator delete(void* p, std::size_t, std::align_val_t) noexcept { std::free(p); }

namespace lockstep {
namespace {

double image_value(int64_t sample, int64_t element) {
  return static_cast<double>((sample * 31 + element * 7) % 251);
}

/// n samples in shards of 13: image (2, 3) of `type`, label int64 = sample % 10.
struct Files {
  TemporaryFolder folder;
  Dataset data;
  Files(int64_t n, Storage storage, const std::string& type = "uint8")
      : data((write(folder, n, storage, type), Dataset::open(folder.path()))) {}

  static void write(const TemporaryFolder& folder, int64_t n, Storage storage, const std::string& type) {
    for (int64_t first = 0; first < n; first += 13) {
      const int64_t count = std::min<int64_t>(13, n - first);
      FixtureField image = {"image", {count, 2, 3}, type, {}, storage, {}, {}};
      FixtureField label = {"label", {count}, "int64", {}, storage, {}, {}};
      for (int64_t i = first; i < first + count; ++i) {
        for (int64_t j = 0; j < 6; ++j) image.values.push_back(image_value(i, j));
        label.values.push_back(static_cast<double>(i % 10));
      }
      write_hdf5(folder.file("shard" + std::to_string(10000 + first) + ".h5"), {image, label});
    }
  }
};

LoaderOptions options_of(int64_t global, int64_t micro) {
  LoaderOptions options;
  options.fields = {{"image", DType::kFloat32, {2, 3}, {}, {}, 0}, {"label", DType::kInt64, {}, {}, {}, 10}};
  options.global_batch = global;
  options.micro_batch = micro;
  options.n_micro = global / micro;
  options.seed = 17;
  return options;
}

/// A copy of what next() delivered.
struct Copy {
  int64_t epoch, step, micro, n_valid;
  std::vector<int64_t> ids;
  std::vector<float> images;
  std::vector<int64_t> labels;
  bool operator==(const Copy&) const = default;
};
Copy copy_of(const MicroBatch& batch) {
  const auto* images = static_cast<const float*>(batch.data[0]);
  const auto* labels = static_cast<const int64_t*>(batch.data[1]);
  const size_t n = batch.sample_ids.size();
  return {batch.epoch,      batch.step_in_epoch,      batch.micro,         batch.n_valid,
          batch.sample_ids, {images, images + 6 * n}, {labels, labels + n}};
}

/// Checks ids against the sampler and rows against the files; returns rows compared.
int64_t check(const Copy& got, const Sampler& sampler, int64_t global, int64_t micro) {
  int64_t n_valid = 0;
  for (int64_t row = 0; row < micro; ++row) {
    const int64_t position = got.step * global + got.micro * micro + row;
    const bool is_valid = position < sampler.n_samples();
    n_valid += is_valid;
    const int64_t id = is_valid ? sampler.sample_at(got.epoch, position) : -1;
    EXPECT_EQ(got.ids[static_cast<size_t>(row)], id);
    EXPECT_EQ(got.labels[static_cast<size_t>(row)], is_valid ? id % 10 : 0);
    for (int64_t j = 0; j < 6; ++j)
      EXPECT_EQ(got.images[static_cast<size_t>(row * 6 + j)],
                is_valid ? static_cast<float>(image_value(id, j)) : 0.0f);
  }
  EXPECT_EQ(got.n_valid, n_valid);
  return micro;
}

class EveryStorage : public ::testing::TestWithParam<std::tuple<Storage, bool, bool>> {};

TEST_P(EveryStorage, DeliversTheSamplersOrder) {
  const auto [storage, shuffle, cached] = GetParam();
  const Files files(61, storage);
  for (auto [global, micro] : {std::pair<int64_t, int64_t>{16, 4}, {24, 8}, {61, 61}, {128, 32}, {1, 1}}) {
    LoaderOptions options = options_of(global, micro);
    options.shuffle.is_on = shuffle;
    options.cache_limit_bytes = cached ? 1 << 20 : 0;
    DataLoader loader(files.data, options, 0);
    ASSERT_EQ(loader.steps_per_epoch(), (61 + global - 1) / global);
    const Sampler sampler(61, options.seed, {shuffle});
    int64_t n_rows = 0;
    for (int64_t epoch = 0; epoch < 2; ++epoch) {
      std::multiset<int64_t> seen;
      for (int64_t step = 0; step < loader.steps_per_epoch(); ++step) {
        for (int64_t m = 0; m < options.n_micro; ++m) {
          const Copy got = copy_of(loader.next());
          ASSERT_EQ(got.epoch, epoch);
          ASSERT_EQ(got.step, step);
          ASSERT_EQ(got.micro, m);
          n_rows += check(got, sampler, global, micro);
          seen.insert(got.ids.begin(), got.ids.end());
        }
      }
      for (int64_t id = 0; id < 61; ++id) ASSERT_EQ(seen.count(id), 1u) << id;
    }
    EXPECT_EQ(n_rows, 2 * loader.steps_per_epoch() * global);
  }
}

INSTANTIATE_TEST_SUITE_P(Loader, EveryStorage,
                         ::testing::Combine(::testing::Values(Storage::kContiguous, Storage::kChunked,
                                                              Storage::kGzip),
                                            ::testing::Bool(), ::testing::Bool()));

TEST(Loader, RanksTogetherEqualOneRank) {
  const Files files(61, Storage::kContiguous);
  const int64_t global = 16, micro = 2, n_micros = global / micro;
  const LoaderOptions options = options_of(global, micro);
  std::vector<Copy> single;
  DataLoader loader(files.data, options, 0);
  for (int64_t k = 0; k < 2 * loader.steps_per_epoch() * n_micros; ++k)
    single.push_back(copy_of(loader.next()));
  int64_t n_compared = 0;
  for (int64_t n_ranks : {1, 2, 4, 8}) {
    std::vector<std::unique_ptr<DataLoader>> ranks;
    for (int64_t r = 0; r < n_ranks; ++r) {
      LoaderOptions mine = options;
      mine.first_micro = r * n_micros / n_ranks;
      mine.n_micro = n_micros / n_ranks;
      mine.prefetch = 1 + r;
      mine.cache_limit_bytes = r % 2 ? 0 : 1 << 20;
      ranks.push_back(std::make_unique<DataLoader>(files.data, mine, 0));
    }
    size_t k = 0;
    for (int64_t step = 0; step < 2 * loader.steps_per_epoch(); ++step) {
      for (auto& rank : ranks) {
        for (int64_t m = 0; m < n_micros / n_ranks; ++m, ++n_compared)
          ASSERT_EQ(copy_of(rank->next()), single[k++]) << n_ranks << " ranks, step " << step;
      }
    }
    EXPECT_EQ(k, single.size());
  }
  EXPECT_EQ(n_compared, 4 * 2 * 4 * 8);
}

TEST(Loader, ResumesAnywhere) {
  const Files files(61, Storage::kGzip);
  LoaderOptions options = options_of(16, 4);
  options.first_micro = 1;
  options.n_micro = 2;
  std::vector<Copy> all;
  DataLoader loader(files.data, options, 0);
  for (int k = 0; k < 24; ++k) all.push_back(copy_of(loader.next()));
  int64_t n_compared = 0;
  for (int64_t start = 0; start < 12; ++start) {
    DataLoader resumed(files.data, options, start);
    for (size_t k = static_cast<size_t>(start * 2); k < all.size(); ++k, ++n_compared)
      ASSERT_EQ(copy_of(resumed.next()), all[k]) << "from step " << start;
  }
  EXPECT_EQ(n_compared, 24 * 13 / 2);
  DataLoader far(files.data, options, int64_t{4} << 40);  // seeking costs nothing
  const Copy got = copy_of(far.next());
  EXPECT_EQ(got.epoch, int64_t{1} << 40);
  check(got, Sampler(61, options.seed, {true}), 16, 4);
}

TEST(Loader, ThreadsPrefetchAndCacheChangeNothing) {
  for (Storage storage : {Storage::kContiguous, Storage::kChunked, Storage::kGzip}) {
    const Files files(61, storage);
    LoaderOptions options = options_of(16, 4);
    std::vector<Copy> expected;
    {
      DataLoader loader(files.data, options, 0);
      for (int k = 0; k < 64; ++k) expected.push_back(copy_of(loader.next()));
    }
    int64_t n_compared = 0;
    for (int threads : {1, 2, 3, 8}) {
      for (int64_t prefetch : {1, 5}) {
        for (int64_t limit : {0, 1 << 14}) {
          for (int64_t cache : {0, 1 << 20}) {
            options.threads = threads;
            options.prefetch = prefetch;
            options.prefetch_limit_bytes = limit;
            options.cache_limit_bytes = cache;
            DataLoader loader(files.data, options, 0);
            for (const Copy& one : expected) {
              ASSERT_EQ(copy_of(loader.next()), one) << threads << " threads, prefetch " << prefetch;
              ++n_compared;
            }
          }
        }
      }
    }
    EXPECT_EQ(n_compared, 4 * 2 * 2 * 2 * 64);
  }
}

TEST(Loader, WindowsAreSharedByRanksAndResume) {
  // Ragged everything: 61 samples, windows of 20 in blocks of 3, shards of 13, chunks of 7.
  for (Storage storage : {Storage::kContiguous, Storage::kChunked, Storage::kGzip}) {
    const Files files(61, storage);
    LoaderOptions options = options_of(16, 2);
    options.shuffle = {true, 20, 3};
    options.cache_limit_bytes = 0;
    const Sampler sampler(61, options.seed, options.shuffle);
    std::vector<Copy> single;
    DataLoader loader(files.data, options, 0);
    for (int64_t k = 0; k < 3 * 4 * 8; ++k) {
      single.push_back(copy_of(loader.next()));
      check(single.back(), sampler, 16, 2);
    }
    for (int64_t n_ranks : {2, 4, 8}) {
      for (int64_t start : {0, 5}) {
        std::vector<std::unique_ptr<DataLoader>> ranks;
        for (int64_t r = 0; r < n_ranks; ++r) {
          LoaderOptions mine = options;
          mine.first_micro = r * 8 / n_ranks;
          mine.n_micro = 8 / n_ranks;
          mine.threads = static_cast<int>(1 + r % 3);
          ranks.push_back(std::make_unique<DataLoader>(files.data, mine, start));
        }
        auto k = static_cast<size_t>(start * 8);
        while (k < single.size()) {
          for (auto& rank : ranks) {
            for (int64_t m = 0; m < 8 / n_ranks; ++m)
              ASSERT_EQ(copy_of(rank->next()), single[k++]) << n_ranks;
          }
        }
      }
    }
  }
}

TEST(Loader, PrefetchGrowsWhereItHelpsAndWithinItsLimit) {
  const Files files(61, Storage::kContiguous);
  LoaderOptions options = options_of(16, 4);
  options.prefetch = 1;
  const int64_t slot_bytes = 2 * 4096;  // two small arrays take a page each
  options.prefetch_limit_bytes = 6 * slot_bytes;
  DataLoader loader(files.data, options, 0);
  EXPECT_EQ(loader.prefetch(), 1);
  // A consumer in bursts: the reader is ahead, then behind.
  for (int burst = 0; burst < 2000 && loader.prefetch() < 5; ++burst) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
    for (int k = 0; k < 20; ++k) loader.next();
  }
  EXPECT_EQ(loader.prefetch(), 5);  // and the one in hand
  for (int burst = 0; burst < 20; ++burst) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
    for (int k = 0; k < 20; ++k) loader.next();
  }
  EXPECT_EQ(loader.prefetch(), 5);

  options.prefetch_limit_bytes = 0;
  DataLoader fixed(files.data, options, 0);
  for (int burst = 0; burst < 20; ++burst) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
    for (int k = 0; k < 20; ++k) fixed.next();
  }
  EXPECT_EQ(fixed.prefetch(), 1);

  // What is held at first keeps to the limit as well.
  options.prefetch = 1'000'000;
  options.prefetch_limit_bytes = 20 * slot_bytes;
  DataLoader many(files.data, options, 0);
  EXPECT_EQ(many.prefetch(), 19);  // and the one in hand
  options.prefetch_limit_bytes = 1;
  DataLoader fewest(files.data, options, 0);
  EXPECT_EQ(fewest.prefetch(), 4);
}

TEST(Loader, ThreadsThatTheSystemRefusesAreAnError) {
  const Files files(61, Storage::kContiguous);
  LoaderOptions options = options_of(16, 4);
  rlimit old, low;
  ASSERT_EQ(getrlimit(RLIMIT_AS, &old), 0);
  low = old;
  low.rlim_cur = rlim_t{4} << 30;  // room for some hundred stacks
  options.threads = 3000;
  ASSERT_EQ(setrlimit(RLIMIT_AS, &low), 0);
  const std::string message = error_of([&] { DataLoader(files.data, options, 0); });
  ASSERT_EQ(setrlimit(RLIMIT_AS, &old), 0);
  EXPECT_NAMES(message, "data.threads: no thread could be started");
  EXPECT_NAMES(message, "of 3000");
}

TEST(Loader, ErrorsOfManyThreadsComeInOrder) {
  const TemporaryFolder folder;
  FixtureField image = {"image", {40, 2, 3}, "uint8", std::vector<double>(240), Storage::kContiguous, {}, {}};
  FixtureField label = {"label", {40}, "int32", std::vector<double>(40, 3), Storage::kContiguous, {}, {}};
  for (size_t i = 21; i < 40; ++i) label.values[i] = 10;  // every later micro-batch fails too
  write_hdf5(folder.file("a.h5"), {image, label});
  const Dataset data = Dataset::open(folder.path());
  for (int repeat = 0; repeat < 20; ++repeat) {
    LoaderOptions options = options_of(8, 4);
    options.shuffle.is_on = false;
    options.threads = 4;
    DataLoader loader(data, options, 0);
    for (int k = 0; k < 5; ++k) ASSERT_EQ(loader.next().n_valid, 4);
    EXPECT_NAMES(error_of([&] { loader.next(); }), "row 21: value 10");
    EXPECT_NAMES(error_of([&] { loader.next(); }), "row 21: value 10");
  }
}

TEST(Loader, ConvertsAndNormalisesEveryType) {
  int64_t n_compared = 0;
  for (const std::string type :
       {"uint8", "int16", "int32", "uint32", "int64", "float16", "float32", "float64"}) {
    for (bool cached : {false, true}) {
      for (int64_t n_statistics : {0, 1, 2}) {
        const Files files(30, Storage::kContiguous, type);
        LoaderOptions options = options_of(30, 10);
        options.cache_limit_bytes = cached ? 1 << 20 : 0;
        const std::vector<float> mean = {3.5f, 100}, stddev = {7, 0.3f};
        options.fields[0].mean.assign(mean.begin(), mean.begin() + n_statistics);
        options.fields[0].stddev.assign(stddev.begin(), stddev.begin() + n_statistics);
        DataLoader loader(files.data, options, 0);
        for (int m = 0; m < 3; ++m) {
          const Copy got = copy_of(loader.next());
          for (int64_t row = 0; row < 10; ++row) {
            for (int64_t j = 0; j < 6; ++j, ++n_compared) {
              const auto channel = static_cast<size_t>(n_statistics == 2 ? j / 3 : 0);
              auto expected = static_cast<float>(image_value(got.ids[static_cast<size_t>(row)], j));
              if (n_statistics > 0) {
                volatile float centred = expected - mean[channel];
                volatile float scale = 1.0f / stddev[channel];
                expected = centred * scale;
              }
              ASSERT_EQ(got.images[static_cast<size_t>(row * 6 + j)], expected)
                  << type << " " << n_statistics;
            }
          }
        }
      }
    }
  }
  EXPECT_EQ(n_compared, 8 * 2 * 3 * 180);
}

// What is read in place, from the cache and by runs; as bytes and normalised.
TEST(Loader, DeliversTheMiddleOfImagesAndBytesAsStored) {
  const TemporaryFolder folder;
  FixtureField image{"image", {9, 2, 5, 8}, "uint8", {}};
  for (int64_t i = 0; i < 9 * 80; ++i) image.values.push_back(static_cast<double>(i * 31 % 251));
  write_hdf5(folder.file("data.h5"), {image});
  const Dataset data = Dataset::open(folder.path());
  int64_t n_compared = 0;
  for (const bool cached : {false, true})
    for (const DType dtype : {DType::kUInt8, DType::kFloat32})
      for (const Shape& window : {Shape{}, Shape{2, 5, 8}, Shape{2, 4, 4}, Shape{2, 1, 7}, Shape{2, 2, 8}}) {
        LoaderOptions options;
        const Shape shape = window.rank() > 0 ? window : Shape{2, 5, 8};
        options.fields = {{"image", dtype, shape, {}, {}, 0, window}};
        if (dtype == DType::kFloat32) options.fields[0].mean = {8, 16};
        options.global_batch = options.micro_batch = 9;
        options.shuffle.is_on = false;
        options.cache_limit_bytes = cached ? 1 << 20 : 0;
        DataLoader loader(data, options, 0);
        const void* got = loader.next().data[0];
        // torchvision's CenterCrop: half a pixel too many goes to the even side.
        const int64_t top = shape[1] == 4 ? 0 : shape[1] == 1 ? 2 : shape[1] == 2 ? 2 : 0;
        const int64_t left = shape[2] == 4 ? 2 : 0;
        for (int64_t i = 0; i < 9 * shape.n_elements(); ++i, ++n_compared) {
          const int64_t x = i % shape[2], y = i / shape[2] % shape[1], plane = i / (shape[1] * shape[2]);
          const auto value =
              static_cast<float>(image.values[static_cast<size_t>((plane * 5 + top + y) * 8 + left + x)]);
          if (dtype == DType::kUInt8)
            ASSERT_EQ(static_cast<const uint8_t*>(got)[i], value);
          else
            ASSERT_EQ(static_cast<const float*>(got)[i], value - (plane % 2 == 0 ? 8 : 16));
        }
      }
  EXPECT_EQ(n_compared, 4 * 9 * (80 + 80 + 32 + 14 + 32));
  LoaderOptions options;
  options.fields = {{"image", DType::kUInt8, {2, 6, 8}, {}, {}, 0, {2, 6, 8}}};
  EXPECT_NAMES(error_of([&] { DataLoader(data, options, 0); }), "no window (2, 6, 8) in their middle");
}

TEST(Loader, ConvertsLongRowsAndSpecialValues) {
  // Long enough for every vector width with a remainder; special values survive.
  const double infinity = std::numeric_limits<double>::infinity();
  for (const std::string type : {"float16", "float32", "float64"}) {
    const TemporaryFolder folder;
    FixtureField x = {"x", {2, 3, 331}, type, {}, Storage::kContiguous, {}, {}};
    for (int64_t i = 0; i < 2 * 993; ++i)
      x.values.push_back(std::ldexp(i % 37 - 18, static_cast<int>(i % 11) - 24));
    x.values[5] = infinity;
    x.values[6] = -infinity;
    x.values[7] = -0.0;
    write_hdf5(folder.file("a.h5"), {x});
    const Dataset data = Dataset::open(folder.path());
    LoaderOptions options;
    options.shuffle.is_on = false;
    options.fields = {{"x", DType::kFloat32, {993}, {}, {}, 0}};
    DataLoader plain(data, options, 0);
    const auto* got = static_cast<const float*>(plain.next().data[0]);
    for (size_t i = 0; i < 993; ++i) {
      const auto expected = static_cast<float>(x.values[i]);
      ASSERT_EQ(std::memcmp(&got[i], &expected, 4), 0) << type << " element " << i << ": " << got[i];
    }
    options.fields[0].mean = {0, 1, 2};
    options.fields[0].stddev = {1, 2, 3};
    DataLoader scaled(data, options, 0);
    got = static_cast<const float*>(scaled.next().data[0]);
    for (size_t i = 0; i < 993; ++i) {
      const auto c = static_cast<float>(i / 331);
      const volatile float scale = 1.0f / (c + 1);
      const volatile float centred = static_cast<float>(x.values[i]) - c;
      ASSERT_EQ(got[i], centred * scale) << type << " element " << i;
    }
  }
}

TEST(Loader, ConvertsEveryHalf) {
  // All 65,536 bit patterns against HDF5's own conversion.
  const TemporaryFolder folder;
  std::vector<double> values;
  for (int64_t bits = 0; bits < 65536; ++bits) {
    const double magnitude =
        (bits & 0x7C00) == 0 ? std::ldexp(bits & 0x3FF, -24)
        : (bits & 0x7C00) == 0x7C00
            ? std::numeric_limits<double>::infinity()
            : std::ldexp(1024 + (bits & 0x3FF), static_cast<int>((bits >> 10) & 31) - 25);
    values.push_back(bits & 0x8000 ? -magnitude : magnitude);
  }
  write_hdf5(folder.file("a.h5"), {{"x", {1, 65536}, "float16", values, Storage::kContiguous, {}, {}}});
  const Dataset data = Dataset::open(folder.path());
  LoaderOptions options;
  options.fields = {{"x", DType::kFloat32, {65536}, {}, {}, 0}};
  DataLoader loader(data, options, 0);
  const auto* got = static_cast<const float*>(loader.next().data[0]);
  for (size_t i = 0; i < 65536; ++i) ASSERT_EQ(got[i], static_cast<float>(values[i])) << i;
}

TEST(Loader, ReusesItsBuffersAndAllocatesNothing) {
  const Files files(61, Storage::kContiguous);
  LoaderOptions options = options_of(16, 4);
  options.prefetch = 3;
  DataLoader loader(files.data, options, 0);
  std::set<const void*> arrays;
  for (int k = 0; k < 50; ++k) arrays.insert(loader.next().data[0]);
  EXPECT_LE(arrays.size(), 4u);
  for (const void* array : arrays) EXPECT_EQ(reinterpret_cast<uintptr_t>(array) % 64, 0u);
  const int64_t before = n_allocations;
  for (int k = 0; k < 100; ++k) loader.next();
  EXPECT_EQ(n_allocations, before);
  std::make_unique<int>();  // the counter counts
  EXPECT_EQ(n_allocations, before + 1);
}

TEST(Loader, KeepsItsBatchUntilTheNextCall) {
  const Files files(61, Storage::kContiguous);
  LoaderOptions options = options_of(16, 4);
  options.prefetch = 1;
  DataLoader loader(files.data, options, 0);
  for (int k = 0; k < 20; ++k) {
    const MicroBatch& batch = loader.next();
    const Copy before = copy_of(batch);
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
    ASSERT_EQ(copy_of(batch), before);
  }
}

TEST(Loader, LabelErrorsReachNextAtTheirPlace) {
  const TemporaryFolder folder;
  FixtureField image = {"image", {40, 2, 3}, "uint8", std::vector<double>(240), Storage::kContiguous, {}, {}};
  FixtureField label = {"label", {40}, "int32", std::vector<double>(40, 3), Storage::kContiguous, {}, {}};
  for (double bad : {10.0, -1.0}) {
    label.values[21] = bad;
    write_hdf5(folder.file("a.h5"), {image, label});
    const Dataset data = Dataset::open(folder.path());
    LoaderOptions options = options_of(8, 4);
    options.shuffle.is_on = false;
    DataLoader loader(data, options, 0);
    for (int k = 0; k < 5; ++k) EXPECT_EQ(loader.next().n_valid, 4);
    for (int repeat = 0; repeat < 2; ++repeat) {
      const std::string message = error_of([&] { loader.next(); });
      EXPECT_NAMES(message, folder.path() + ": field label, row 21: value " +
                                std::to_string(static_cast<int>(bad)) + " is not a class in [0, 10)");
      EXPECT_NAMES(message, "remedy: correct the labels");
    }
  }
  label.values[21] = 2.5;
  label.type = "float32";
  write_hdf5(folder.file("a.h5"), {image, label});
  const Dataset data = Dataset::open(folder.path());
  DataLoader loader(data, options_of(40, 40), 0);
  EXPECT_NAMES(error_of([&] { loader.next(); }), "row 21: value 2.500000");
}

TEST(Loader, ReadErrorsReachNext) {
  const Files files(61, Storage::kContiguous);
  for (const auto& shard : files.data.shards()) std::filesystem::resize_file(shard.path, 100);
  DataLoader loader(files.data, options_of(16, 4), 0);
  EXPECT_NAMES(error_of([&] { loader.next(); }), "cannot be read: ends before byte");
}

TEST(Loader, EndsPromptlyInEveryState) {
  const Files files(61, Storage::kContiguous);
  const auto start = std::chrono::steady_clock::now();
  int64_t n_ended = 0;
  for (int64_t n_taken : {0, 1, 2, 9}) {
    for (int64_t prefetch : {1, 4, 100}) {
      LoaderOptions options = options_of(16, 4);
      options.prefetch = prefetch;
      DataLoader loader(files.data, options, 0);
      for (int64_t k = 0; k < n_taken; ++k) loader.next();
      if (n_taken == 2)
        std::this_thread::sleep_for(std::chrono::milliseconds(5));  // the reader waits for a slot
      ++n_ended;
    }
  }
  LoaderOptions options = options_of(16, 4);
  options.fields[1].n_classes = 5;  // the reader has thrown, and nobody has asked
  DataLoader loader(files.data, options, 0);
  std::this_thread::sleep_for(std::chrono::milliseconds(5));
  EXPECT_EQ(n_ended, 12);
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(20));
}

TEST(Loader, CountsWaiting) {
  const Files files(61, Storage::kContiguous);
  DataLoader loader(files.data, options_of(16, 4), 0);
  loader.next();
  EXPECT_GE(loader.wait_s(), 0);
  const double before = loader.wait_s();
  std::this_thread::sleep_for(std::chrono::milliseconds(200));
  for (int k = 0; k < 4; ++k) loader.next();  // prefetched meanwhile
  EXPECT_EQ(loader.wait_s(), before);
}

TEST(Loader, RefusesBadOptions) {
  const Files files(61, Storage::kContiguous);
  const auto message = [&](const std::function<void(LoaderOptions&)>& change, int64_t start = 0) {
    LoaderOptions options = options_of(16, 4);
    change(options);
    return error_of([&] { DataLoader(files.data, options, start); });
  };
  EXPECT_EQ(message([](LoaderOptions&) {}), "");
  EXPECT_NAMES(message([](LoaderOptions& o) { o.micro_batch = 5; }), "16 is not a multiple of micro-batch 5");
  EXPECT_NAMES(message([](LoaderOptions& o) { o.first_micro = 1; }),
               "micro-batches 1 to 4 are outside the 4");
  EXPECT_NAMES(message([](LoaderOptions& o) { o.prefetch = 0; }), "prefetch");
  EXPECT_NAMES(message([](LoaderOptions& o) { o.threads = -1; }), "threads");
  EXPECT_NAMES(message([](LoaderOptions& o) { o.shuffle = {true, 4, 5}; }), "blocks of 5");
  EXPECT_NAMES(message([](LoaderOptions& o) { o.fields.clear(); }), "no field");
  EXPECT_NAMES(message([](LoaderOptions&) {}, -1), "first step");
  EXPECT_NAMES(message([](LoaderOptions& o) { o.fields[0].name = "picture"; }),
               "fields that exist: image, label");
  EXPECT_NAMES(message([](LoaderOptions& o) { o.fields[0].shape = {7}; }),
               "(2, 3), which cannot be seen as (7)");
  EXPECT_NAMES(message([](LoaderOptions& o) { o.fields[0].dtype = DType::kFloat16; }), "float16");
  EXPECT_NAMES(message([](LoaderOptions& o) { o.fields[1].dtype = DType::kUInt8; }), "uint8");
  EXPECT_NAMES(message([](LoaderOptions& o) { o.fields[0].mean = {1, 2, 3}; }), "2 channels");
  EXPECT_NAMES(message([](LoaderOptions& o) { o.fields[0].stddev = {1, 0}; }), "channel 1");
  EXPECT_NAMES(message([](LoaderOptions& o) { o.fields[1].mean = {1}; }), "normalised");
}

}  // namespace
}  // namespace lockstep
