// Sequences on their way into micro-batches, held against sequences that the test states or h5py wrote:
// windows of one stream across shards, ids, two views of one row, streams; ragged rows, their padding and
// lengths, and the order by length. Each array is compared with one that is made by the plain definition.
#include <gtest/gtest.h>

#include <cstring>
#include <map>
#include <memory>
#include <numeric>
#include <random>
#include <set>

#include "io/dataset/dataset.h"
#include "io/loader/loader.h"
#include "kernels/error.h"
#include "tests/support/error_of.h"
#include "tests/support/hdf5_files.h"

namespace lockstep {
namespace {

double token_at(int64_t i) { return static_cast<double>((i * 7 + i / 5) % 11); }

/// A stream of n tokens below 11 in shards of 13, and a series (n, 2).
struct Stream {
  TemporaryFolder folder;
  std::shared_ptr<const Dataset> flat;

  explicit Stream(int64_t n, const std::string& type = "uint8", Storage storage = Storage::kContiguous) {
    for (int64_t first = 0; first < n; first += 13) {
      const int64_t count = std::min<int64_t>(13, n - first);
      FixtureField tokens{"tokens", {count}, type, {}, storage, {}, {}};
      FixtureField series{"series", {count, 2}, "float32", {}, storage, {10, 20}, {2, 4}};
      for (int64_t i = first; i < first + count; ++i) {
        tokens.values.push_back(token_at(i));
        series.values.push_back(static_cast<double>(i));
        series.values.push_back(static_cast<double>(-i));
      }
      write_hdf5(folder.file("s" + std::to_string(10000 + first) + ".h5"), {tokens, series}, {"a", "b"});
    }
    flat = std::make_shared<const Dataset>(Dataset::open(folder.path()));
  }
};

TEST(Windows, AreElementsOfTheStreamAcrossShards) {
  int64_t n_compared = 0;
  for (const Storage storage : {Storage::kContiguous, Storage::kGzip}) {
    const Stream stream(61, "uint8", storage);
    for (const auto& [length, stride, extra] :
         {std::tuple<int64_t, int64_t, int64_t>{8, 8, 1}, {8, 1, 1}, {20, 3, 0}, {60, 1, 1}, {1, 1, 0}}) {
      const Dataset data = Dataset::windows(stream.flat, "tokens", {length, stride, extra});
      const int64_t n = (61 - length - extra) / stride + 1, width = length + extra;
      ASSERT_EQ(data.n_samples(), n);
      ASSERT_EQ(data.fields().size(), 1u);
      EXPECT_EQ(data.field("tokens").shape, Shape({width}));
      EXPECT_EQ(data.field("tokens").dtype, DType::kUInt8);
      EXPECT_EQ(data.n_elements("tokens"), 61);
      std::vector<uint8_t> rows(static_cast<size_t>(n * width));
      data.read("tokens", 0, n, rows.data());
      for (int64_t i = 0; i < n; ++i)
        for (int64_t k = 0; k < width; ++k, ++n_compared)
          ASSERT_EQ(rows[static_cast<size_t>(i * width + k)], token_at(i * stride + k)) << i << " " << k;
      int64_t in_shards = 0;
      for (const Dataset::Shard& shard : data.shards()) {
        EXPECT_EQ(shard.first, in_shards);
        in_shards += shard.n_samples;
      }
      EXPECT_EQ(in_shards, n);
      int64_t n_checked = 0, n_unchecked = 0;
      EXPECT_TRUE(data.verify(&n_checked, &n_unchecked).empty());
      EXPECT_EQ(n_unchecked, 10);  // both fields of five shards
    }
  }
  EXPECT_GT(n_compared, 1000);
}

TEST(Windows, KeepWhatIsKnownOfTheFieldAndRefuseShortStreams) {
  const Stream stream(20);
  const Dataset series = Dataset::windows(stream.flat, "series", {4, 2, 3});
  EXPECT_EQ(series.field("series").shape, Shape({7, 2}));
  EXPECT_EQ(series.field("series").element(), Shape({2}));
  EXPECT_EQ(series.statistics("series")->mean, (std::vector<double>{10, 20}));
  EXPECT_EQ(series.class_names(), (std::vector<std::string>{"a", "b"}));
  EXPECT_NAMES(error_of([&] { series.field("tokens"); }), "fields that exist: series");
  const std::string message = error_of([&] { Dataset::windows(stream.flat, "tokens", {20, 1, 1}); });
  EXPECT_NAMES(message, "has 20 elements, but one window takes 21");
  EXPECT_NAMES(message, "length of at most 19");
  EXPECT_NAMES(error_of([&] { Dataset::windows(stream.flat, "tokens", {0, 1, 1}); }), "length 0");
  EXPECT_NAMES(error_of([&] { Dataset::windows(stream.flat, "tokens", {4, 0, 1}); }), "stride 0");
  EXPECT_NAMES(error_of([&] { Dataset::windows(stream.flat, "text", {4, 1, 1}); }), "no field \"text\"");
}

LoaderField field_of(const std::string& name, DType dtype, Shape shape, int64_t drop_first = 0,
                     int64_t drop_last = 0) {
  LoaderField field;
  field.name = name;
  field.dtype = dtype;
  field.shape = shape;
  field.drop_first = drop_first;
  field.drop_last = drop_last;
  return field;
}

template <typename T>
std::vector<T> values_of(const MicroBatch& batch, size_t field, int64_t n) {
  const auto* data = static_cast<const T*>(batch.data[field]);
  return {data, data + n};
}

TEST(Windows, ArriveAsInputAndTarget) {
  int64_t n_compared = 0;
  for (const char* type : {"uint8", "int32", "int16", "int64"}) {
    for (const int64_t cache : {int64_t{0}, int64_t{1} << 20}) {
      for (const bool shuffle : {false, true}) {
        const Stream stream(61, type);
        const Dataset data = Dataset::windows(stream.flat, "tokens", {6, 2, 1});
        LoaderOptions options;
        options.fields = {field_of("tokens", DType::kInt32, {6}, 0, 1),
                          field_of("tokens", DType::kInt64, {6}, 1)};
        options.fields[0].n_classes = options.fields[1].n_classes = 11;
        options.global_batch = 8;
        options.micro_batch = 4;
        options.n_micro = 2;
        options.shuffle.is_on = shuffle;
        options.cache_limit_bytes = cache;
        DataLoader loader(data, options, 0);
        ASSERT_EQ(data.n_samples(), 28);
        ASSERT_EQ(loader.steps_per_epoch(), 4);
        EXPECT_EQ(steps_per_epoch(options, data), 4);
        EXPECT_EQ(loader.samples_in_step(0), 8);
        EXPECT_EQ(loader.samples_in_step(3), 4);
        const Sampler sampler(28, options.seed, {shuffle});
        for (int64_t k = 0; k < 16; ++k) {
          const MicroBatch& batch = loader.next();
          EXPECT_EQ(batch.bucket, 0);
          const auto input = values_of<int32_t>(batch, 0, 24);
          const auto target = values_of<int64_t>(batch, 1, 24);
          for (int64_t row = 0; row < 4; ++row) {
            const int64_t position = batch.step_in_epoch * 8 + batch.micro * 4 + row;
            const bool valid = position < 28;
            const int64_t id = valid ? sampler.sample_at(batch.epoch, position) : -1;
            ASSERT_EQ(batch.sample_ids[static_cast<size_t>(row)], id);
            for (int64_t t = 0; t < 6; ++t, ++n_compared) {
              ASSERT_EQ(input[static_cast<size_t>(row * 6 + t)], valid ? token_at(id * 2 + t) : 0);
              ASSERT_EQ(target[static_cast<size_t>(row * 6 + t)], valid ? token_at(id * 2 + t + 1) : 0);
            }
          }
        }
      }
    }
  }
  EXPECT_EQ(n_compared, 16 * 16 * 24);
}

TEST(Windows, OfASeriesAreNormalizedPerColumn) {
  const Stream stream(40);
  const Dataset data = Dataset::windows(stream.flat, "series", {5, 5, 2});
  LoaderOptions options;
  options.fields = {field_of("series", DType::kFloat32, {5, 2}, 0, 2),
                    field_of("series", DType::kFloat32, {2, 2}, 5, 0)};
  for (LoaderField& field : options.fields) field.mean = {10, 20}, field.stddev = {2, 4};
  options.global_batch = options.micro_batch = 7;
  options.shuffle.is_on = false;
  DataLoader loader(data, options, 0);
  const MicroBatch& batch = loader.next();
  ASSERT_EQ(batch.n_valid, 7);
  const auto input = values_of<float>(batch, 0, 70), target = values_of<float>(batch, 1, 28);
  for (int64_t row = 0; row < 7; ++row) {
    for (int64_t t = 0; t < 7; ++t) {
      const auto x = static_cast<float>(row * 5 + t);
      const float* at = t < 5 ? &input[static_cast<size_t>(row * 10 + t * 2)]
                              : &target[static_cast<size_t>(row * 4 + (t - 5) * 2)];
      EXPECT_EQ(at[0], (x - 10.0f) * (1.0f / 2.0f));
      EXPECT_EQ(at[1], (-x - 20.0f) * (1.0f / 4.0f));
    }
  }
}

TEST(Windows, AnIdBeyondTheVocabularyIsNamedWithItsPosition) {
  const Stream stream(61, "int32");
  const Dataset data = Dataset::windows(stream.flat, "tokens", {6, 6, 1});
  LoaderOptions options;
  options.fields = {field_of("tokens", DType::kInt32, {6}, 1, 0)};
  options.fields[0].n_classes = 10;  // the stream holds 10 as well
  options.shuffle.is_on = false;
  DataLoader loader(data, options, 0);
  int64_t sample = -1, position = 0;
  for (int64_t i = 0; i < data.n_samples() && sample < 0; ++i)
    for (int64_t t = 1; t < 7 && sample < 0; ++t)
      if (token_at(i * 6 + t) == 10) sample = i, position = t;
  ASSERT_GE(sample, 0);
  const std::string message = error_of([&] {
    for (int64_t i = 0; i < data.n_samples(); ++i) loader.next();
  });
  EXPECT_NAMES(message,
               "field tokens, row " + std::to_string(sample) + ", position " + std::to_string(position));
  EXPECT_NAMES(message, "value 10 is not an id in [0, 10)");
  EXPECT_NAMES(message, stream.folder.path());
}

TEST(Windows, LargeIdsKeepTheirValue) {
  const TemporaryFolder folder;
  write_hdf5(folder.file("a.h5"), {{"tokens", {3}, "int64", {16777217, 2147483647, 0}, {}, {}, {}},
                                   {"wide", {3}, "int64", {0, 2147483648.0, 1}, {}, {}, {}}});
  const Dataset data = Dataset::open(folder.path());
  LoaderOptions options;
  options.fields = {field_of("tokens", DType::kInt32, {})};
  options.global_batch = options.micro_batch = 3;
  options.shuffle.is_on = false;
  DataLoader loader(data, options, 0);
  EXPECT_EQ(values_of<int32_t>(loader.next(), 0, 3), (std::vector<int32_t>{16777217, 2147483647, 0}));
  options.fields[0].name = "wide";
  DataLoader too_wide(data, options, 0);
  EXPECT_NAMES(error_of([&] { too_wide.next(); }), "row 1: value 2147483648 does not fit int32");
}

TEST(Streams, EachRowReadsItsOwnRunOfWindows) {
  const Stream stream(200);
  const Dataset data = Dataset::windows(stream.flat, "tokens", {4, 4, 1});
  ASSERT_EQ(data.n_samples(), 49);
  LoaderOptions options;
  options.fields = {field_of("tokens", DType::kInt32, {4}, 0, 1)};
  options.order = Order::kStreams;
  options.global_batch = 6;
  options.micro_batch = 2;
  options.n_micro = 3;
  const int64_t n_steps = 49 / 6;
  std::set<int64_t> seen;
  for (const int64_t cache : {int64_t{0}, int64_t{1} << 20}) {
    options.cache_limit_bytes = cache;
    DataLoader loader(data, options, 0);
    ASSERT_EQ(loader.steps_per_epoch(), n_steps);
    EXPECT_EQ(loader.samples_in_step(n_steps - 1), 6);
    for (int64_t step = 0; step < 2 * n_steps; ++step) {
      for (int64_t micro = 0; micro < 3; ++micro) {
        const MicroBatch& batch = loader.next();
        ASSERT_EQ(batch.epoch, step / n_steps);
        ASSERT_EQ(batch.n_valid, 2);
        const auto input = values_of<int32_t>(batch, 0, 8);
        for (int64_t row = 0; row < 2; ++row) {
          const int64_t window = (micro * 2 + row) * n_steps + step % n_steps;
          ASSERT_EQ(batch.sample_ids[static_cast<size_t>(row)], window);
          seen.insert(window);
          for (int64_t t = 0; t < 4; ++t)
            ASSERT_EQ(input[static_cast<size_t>(row * 4 + t)], token_at(window * 4 + t));
        }
      }
    }
  }
  EXPECT_EQ(seen.size(), static_cast<size_t>(6 * n_steps));
  // A rank with the last micro-batch only, begun in the middle, sees the same.
  options.first_micro = 2;
  options.n_micro = 1;
  DataLoader later(data, options, n_steps + 3);
  const MicroBatch& batch = later.next();
  EXPECT_EQ(batch.epoch, 1);
  EXPECT_EQ(batch.sample_ids, (std::vector<int64_t>{4 * n_steps + 3, 5 * n_steps + 3}));
  options.first_micro = 0;
  options.global_batch = options.micro_batch = 50;
  EXPECT_NAMES(error_of([&] { DataLoader(data, options, 0); }), "49 samples are fewer than the 50 rows");
}

/// Row i of `text` holds these tokens, and its length is lengths[i].
double ragged_value(int64_t row, int64_t position) { return static_cast<double>((row * 3 + position) % 50); }

/// Two ragged fields and a label, in shards of at most `in_shard` rows.
struct Ragged {
  TemporaryFolder folder;
  std::vector<int64_t> lengths, other;
  std::unique_ptr<Dataset> data;

  explicit Ragged(std::vector<int64_t> of_rows, int64_t in_shard = 7, Storage storage = Storage::kContiguous)
      : lengths(std::move(of_rows)) {
    const auto n = static_cast<int64_t>(lengths.size());
    for (int64_t i = 0; i < n; ++i) other.push_back(1 + (i * 5) % 9);
    for (int64_t first = 0; first < n; first += in_shard) {
      const int64_t end = std::min(n, first + in_shard);
      std::vector<FixtureField> fields{{"label", {end - first}, "int64", {}, {}, {}, {}}};
      for (int64_t i = first; i < end; ++i) fields[0].values.push_back(static_cast<double>(i));
      for (const auto& [name, of] : {std::pair{"text", &lengths}, {"other", &other}}) {
        FixtureField values{name, {0}, "uint8", {}, storage, {}, {}};
        FixtureField offsets{
            std::string(name) + "_offsets", {end - first + 1}, "int64", {0}, storage, {}, {}};
        for (int64_t i = first; i < end; ++i) {
          for (int64_t k = 0; k < (*of)[static_cast<size_t>(i)]; ++k)
            values.values.push_back(ragged_value(i, k));
          offsets.values.push_back(static_cast<double>(values.values.size()));
        }
        values.extents = {static_cast<int64_t>(values.values.size())};
        fields.push_back(values);
        fields.push_back(offsets);
      }
      write_hdf5(folder.file("s" + std::to_string(10000 + first) + ".h5"), fields);
    }
    data = std::make_unique<Dataset>(Dataset::open(folder.path()));
  }
};

TEST(RaggedRows, HaveTheLengthsAndElementsOfTheirShards) {
  const Ragged files({3, 0, 5, 1, 1, 8, 2, 4, 0, 0, 6, 7, 1, 2, 3, 9});
  const Dataset& data = *files.data;
  ASSERT_EQ(data.n_samples(), 16);
  EXPECT_EQ(data.fields().size(), 3u);
  EXPECT_TRUE(data.passed_over().empty());
  EXPECT_TRUE(data.field("text").ragged);
  EXPECT_EQ(data.field("text").shape, Shape({}));
  EXPECT_FALSE(data.field("label").ragged);
  EXPECT_TRUE(data.row_lengths("label").empty());
  EXPECT_EQ(data.row_lengths("text"), std::vector<int32_t>(files.lengths.begin(), files.lengths.end()));
  EXPECT_EQ(data.n_elements("text"), std::accumulate(files.lengths.begin(), files.lengths.end(), int64_t{0}));
  int64_t n_compared = 0;
  for (int64_t row = 0; row < 16; ++row) {
    const int64_t n = files.lengths[static_cast<size_t>(row)];
    for (int64_t first = 0; first <= n; ++first) {
      std::vector<uint8_t> got(static_cast<size_t>(n - first));
      data.read_ragged("text", row, first, n - first, got.data());
      for (int64_t k = first; k < n; ++k, ++n_compared)
        ASSERT_EQ(got[static_cast<size_t>(k - first)], ragged_value(row, k));
    }
  }
  EXPECT_GT(n_compared, 100);
  EXPECT_NAMES(error_of([&] {
                 uint8_t byte = 0;
                 data.read("text", 0, 1, &byte);
               }),
               "unequal lengths");
  int64_t n_checked = 0, n_unchecked = 0;
  EXPECT_TRUE(data.verify(&n_checked, &n_unchecked).empty());
  EXPECT_EQ(n_unchecked, 15);  // three fields and two datasets of offsets, in three shards
}

TEST(RaggedRows, OffsetsThatCannotBeRightAreNamed) {
  const auto message = [](std::vector<double> offsets) {
    const TemporaryFolder folder;
    write_hdf5(folder.file("a.h5"),
               {{"text", {6}, "int32", {1, 2, 3, 4, 5, 6}, {}, {}, {}},
                {"text_offsets", {static_cast<int64_t>(offsets.size())}, "int64", offsets, {}, {}, {}}});
    DatasetOptions options;
    options.fields = {"text"};
    options.with_others = false;  // offsets are found all the same
    return error_of([&] { Dataset::open(folder.path(), options); });
  };
  EXPECT_NAMES(message({0, 4, 3, 6}), "text_offsets, which falls from 4 to 3 at row 1");
  EXPECT_NAMES(message({0, 4, 9}), "goes up to 9 at row 1, but there are 6 elements");
  EXPECT_NAMES(message({1, 4, 6}), "begins with 1 instead of 0");
  EXPECT_NAMES(message({0, 4, 5}), "ends with 5, but there are 6 elements");
  EXPECT_NAMES(message({-1, 4, 6}), "begins with -1 instead of 0");
  EXPECT_NAMES(message({0, -4, 6}), "falls from 0 to -4 at row 0");
}

/// The array that a ragged field of a micro-batch must be.
template <typename T>
std::vector<T> padded(const std::vector<int64_t>& lengths, const std::vector<int64_t>& ids,
                      const LoaderField& field, int64_t extent) {
  std::vector<T> out(ids.size() * static_cast<size_t>(extent), static_cast<T>(field.padding));
  for (size_t row = 0; row < ids.size(); ++row) {
    if (ids[row] < 0) continue;
    int64_t end = lengths[static_cast<size_t>(ids[row])];
    if (field.max_length > 0 && end > field.max_length) end = field.max_length;
    end -= field.drop_last;
    for (int64_t k = field.drop_first; k < end; ++k)
      out[row * static_cast<size_t>(extent) + static_cast<size_t>(k - field.drop_first)] =
          static_cast<T>(ragged_value(ids[row], k));
  }
  return out;
}

TEST(RaggedRows, ArePaddedToTheLengthOfTheirMicroBatch) {
  std::mt19937 random(3);
  std::vector<int64_t> lengths;
  for (int i = 0; i < 45; ++i) lengths.push_back(static_cast<int64_t>(random() % 30));
  int64_t n_batches = 0;
  for (const Storage storage : {Storage::kContiguous, Storage::kGzip}) {
    const Ragged files(lengths, 7, storage);
    for (const Order order : {Order::kShuffled, Order::kByLength}) {
      for (const int64_t cache : {int64_t{0}, int64_t{1} << 20}) {
        for (const int64_t max_length : {int64_t{0}, int64_t{12}}) {
          LoaderOptions options;
          options.fields = {field_of("text", DType::kInt32, {}, 0, 1),
                            field_of("text", DType::kInt64, {}, 1, 0),
                            field_of("text", DType::kInt32, {}, 1, 0), field_of("other", DType::kFloat32, {}),
                            field_of("label", DType::kInt64, {})};
          options.fields[1].padding = -1;
          options.fields[2].lengths_only = true;
          for (int f = 0; f < 3; ++f) options.fields[static_cast<size_t>(f)].max_length = max_length;
          options.order = order;
          options.global_batch = 8;
          options.micro_batch = 4;
          options.n_micro = 2;
          options.seed = 5;
          options.cache_limit_bytes = cache;
          const LengthBuckets buckets(*files.data, options.fields, order == Order::kByLength);
          DataLoader loader(*files.data, options, 0);
          EXPECT_EQ(loader.buckets().extents(), buckets.extents());
          ASSERT_EQ(loader.steps_per_epoch(), 6);
          for (int64_t epoch = 0; epoch < 2; ++epoch) {
            std::multiset<int64_t> seen;
            for (int64_t k = 0; k < 12; ++k, ++n_batches) {
              const MicroBatch& batch = loader.next();
              const std::vector<int64_t>& ids = batch.sample_ids;
              int bucket = 0;
              for (const int64_t id : ids) {
                if (id >= 0) bucket = std::max(bucket, buckets.bucket_of(id));
                seen.insert(id);
              }
              ASSERT_EQ(batch.bucket, bucket);
              const std::vector<int64_t>& extents = buckets.extents()[static_cast<size_t>(bucket)];
              EXPECT_EQ(extents[2], 0);
              EXPECT_EQ(extents[4], 0);
              EXPECT_EQ(values_of<int32_t>(batch, 0, 4 * extents[0]),
                        padded<int32_t>(lengths, ids, options.fields[0], extents[0]));
              EXPECT_EQ(values_of<int64_t>(batch, 1, 4 * extents[1]),
                        padded<int64_t>(lengths, ids, options.fields[1], extents[1]));
              EXPECT_EQ(values_of<float>(batch, 3, 4 * extents[3]),
                        padded<float>(files.other, ids, options.fields[3], extents[3]));
              const auto delivered = values_of<int32_t>(batch, 2, 4);
              const auto labels = values_of<int64_t>(batch, 4, 4);
              for (size_t row = 0; row < 4; ++row) {
                int64_t expected = 0;
                if (ids[row] >= 0) {
                  expected = lengths[static_cast<size_t>(ids[row])];
                  if (max_length > 0) expected = std::min(expected, max_length);
                  expected = std::max<int64_t>(0, expected - 1);
                }
                EXPECT_EQ(delivered[row], expected);
                EXPECT_EQ(labels[row], std::max<int64_t>(0, ids[row]));
              }
            }
            for (int64_t id = 0; id < 45; ++id) ASSERT_EQ(seen.count(id), 1u);
            EXPECT_EQ(seen.count(-1), 3u);
          }
        }
      }
    }
  }
  EXPECT_EQ(n_batches, 16 * 24);
}

TEST(ByLength, RanksAndRestartsSeeTheSameBatches) {
  std::mt19937 random(4);
  std::vector<int64_t> lengths;
  for (int i = 0; i < 101; ++i) lengths.push_back(1 + static_cast<int64_t>(random() % 40));
  const Ragged files(lengths, 50);
  LoaderOptions options;
  options.fields = {field_of("text", DType::kInt32, {})};
  options.order = Order::kByLength;
  options.global_batch = 16;
  options.micro_batch = 4;
  options.n_micro = 4;
  options.seed = 9;
  DataLoader whole(*files.data, options, 0);
  std::map<std::pair<int64_t, int64_t>, std::pair<std::vector<int64_t>, int>> expected;
  std::vector<std::vector<int64_t>> of_epoch(2);
  for (int64_t k = 0; k < 2 * 7 * 4; ++k) {
    const MicroBatch& batch = whole.next();
    expected[{batch.epoch * 7 + batch.step_in_epoch, batch.micro}] = {batch.sample_ids, batch.bucket};
    auto& order = of_epoch[static_cast<size_t>(batch.epoch)];
    order.insert(order.end(), batch.sample_ids.begin(), batch.sample_ids.end());
    const int64_t first = batch.micro * 4;
    EXPECT_EQ(batch.n_valid, batch.step_in_epoch < 6 ? 4 : std::clamp<int64_t>(5 - first, 0, 4));
  }
  EXPECT_NE(of_epoch[0], of_epoch[1]);
  int64_t n_compared = 0;
  for (int64_t first = 0; first < 4; first += 2) {
    options.first_micro = first;
    options.n_micro = 2;
    DataLoader part(*files.data, options, 3);
    for (int64_t k = 0; k < 2 * 11; ++k, ++n_compared) {
      const MicroBatch& batch = part.next();
      const auto& [ids, bucket] = expected[{batch.epoch * 7 + batch.step_in_epoch, batch.micro}];
      ASSERT_EQ(batch.sample_ids, ids);
      ASSERT_EQ(batch.bucket, bucket);
    }
  }
  EXPECT_EQ(n_compared, 44);
  options.fields = {field_of("label", DType::kInt64, {})};
  EXPECT_NAMES(error_of([&] { DataLoader(*files.data, options, 0); }),
               "no field with rows of unequal lengths");
}

TEST(LengthBuckets, PadLessThanATwentieth) {
  std::mt19937 random(1);
  std::vector<int64_t> lengths;
  for (int i = 0; i < 5000; ++i) lengths.push_back(5 + static_cast<int64_t>(random() % 96));
  const Ragged files(lengths, 5000);
  LoaderOptions options;
  options.fields = {field_of("text", DType::kInt32, {})};
  options.order = Order::kByLength;
  options.global_batch = options.micro_batch = 16;
  DataLoader loader(*files.data, options, 0);
  EXPECT_LE(loader.buckets().n_buckets(), LengthBuckets::kMost);
  EXPECT_EQ(loader.buckets().extents().back()[0], 100);
  double n_padded = 0, n_all = 0;
  for (int64_t step = 0; step < loader.steps_per_epoch(); ++step) {
    const MicroBatch& batch = loader.next();
    const int64_t extent = loader.buckets().extents()[static_cast<size_t>(batch.bucket)][0];
    for (int64_t row = 0; row < batch.n_valid; ++row) {
      n_all += static_cast<double>(extent);
      n_padded += static_cast<double>(
          extent - lengths[static_cast<size_t>(batch.sample_ids[static_cast<size_t>(row)])]);
    }
  }
  EXPECT_LT(n_padded / n_all, 0.05);
  EXPECT_GT(n_padded, 0);
}

TEST(LengthBuckets, OfFewLengthsPadNothing) {
  const Ragged files({7, 3, 3, 7, 3, 9});
  const LengthBuckets buckets(*files.data, {field_of("text", DType::kInt32, {})}, true);
  EXPECT_EQ(buckets.extents(), (std::vector<std::vector<int64_t>>{{3}, {7}, {9}}));
  std::vector<int64_t> order;
  for (int64_t i = 0; i < 6; ++i) order.push_back(buckets.row_at(i));
  EXPECT_EQ(order, (std::vector<int64_t>{1, 2, 4, 0, 3, 5}));
  const LengthBuckets one(*files.data, {field_of("text", DType::kInt32, {}, 1, 1)}, false);
  EXPECT_EQ(one.extents(), (std::vector<std::vector<int64_t>>{{7}}));
  // Rows of several buckets fit the largest of theirs, whatever their other fields hold.
  const Ragged falling({9, 7, 7, 3, 7, 3});
  ASSERT_EQ(falling.other, (std::vector<int64_t>{1, 6, 2, 7, 3, 8}));
  const LengthBuckets two(*falling.data,
                          {field_of("text", DType::kInt32, {}), field_of("other", DType::kInt32, {})}, true);
  EXPECT_EQ(two.extents(), (std::vector<std::vector<int64_t>>{{3, 8}, {7, 8}, {9, 8}}));
}

TEST(Vocabulary, IsReadAsH5pyWritesIt) {
  if (!has_h5py()) GTEST_SKIP() << "python3-h5py is not installed, so no file of another writer is read";
  const TemporaryFolder folder;
  ASSERT_EQ(run_h5py(folder.path(), R"(
words = ['<unk>', 'ü', 'of', '']
for shard in range(2):
    with h5py.File(folder + '/%d.h5' % shard, 'w') as f:
        f['tokens'] = np.array([3, 1, 2, 0], dtype='u2')
        f['tokens_vocabulary'] = words
        f['source'] = np.arange(5, dtype='i4')
        f['source_offsets'] = np.array([0, 2, 2, 5, 5])
        f.create_dataset('source_vocabulary', data=[w.encode() for w in words])
        f['points'] = np.arange(12, dtype='f4').reshape(6, 2)
        f['points_offsets'] = np.array([0, 1, 3, 3, 6])
        f['points'].attrs['mean'] = [0.0, 1.0]
        f['points'].attrs['stddev'] = [2.0, 4.0]
        f['loose_vocabulary'] = words
)"),
            "");
  const Dataset data = Dataset::open(folder.path());
  EXPECT_EQ(data.n_samples(), 8);
  const std::vector<std::string> words{"<unk>", "ü", "of", ""};
  EXPECT_EQ(data.vocabulary("tokens"), words);
  EXPECT_EQ(data.vocabulary("source"), words);
  EXPECT_TRUE(data.vocabulary("points").empty());
  EXPECT_EQ(data.row_lengths("source"), (std::vector<int32_t>{2, 0, 3, 0, 2, 0, 3, 0}));
  ASSERT_EQ(data.passed_over().size(), 1u);  // a vocabulary of nothing
  EXPECT_EQ(data.passed_over()[0].name, "loose_vocabulary");
  const Dataset windows =
      Dataset::windows(std::make_shared<const Dataset>(Dataset::open(folder.path())), "tokens", {3, 1, 1});
  EXPECT_EQ(windows.vocabulary("tokens"), words);
  LoaderOptions options;
  options.fields = {field_of("points", DType::kFloat32, {2})};
  options.fields[0].mean = {0, 1};
  options.fields[0].stddev = {2, 4};
  options.fields[0].padding = 9;
  options.global_batch = options.micro_batch = 2;
  options.shuffle.is_on = false;
  DataLoader loader(data, options, 0);
  const MicroBatch& batch = loader.next();
  EXPECT_EQ(values_of<float>(batch, 0, 12), (std::vector<float>{0, 0, 9, 9, 9, 9, 1, 0.5f, 2, 1, 9, 9}));
  ASSERT_EQ(run_h5py(folder.path(), R"(
with h5py.File(folder + '/1.h5', 'a') as f:
    del f['tokens_vocabulary']
    f['tokens_vocabulary'] = ['a', 'b', 'c', 'd']
)"),
            "");
  DatasetOptions asked;
  asked.fields = {"tokens"};
  EXPECT_NAMES(error_of([&] { Dataset::open(folder.path(), asked); }), "another vocabulary");
}

}  // namespace
}  // namespace lockstep
