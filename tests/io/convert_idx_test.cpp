// convert_idx: literal files of every element type against stated rows; truncated and
// mismatched files; MNIST where it is at hand.
#include <cmath>

#include "io/dataset/dataset.h"
#include "tests/io/convert_check.h"

namespace lockstep::testing {
namespace {

std::string bytes(std::initializer_list<int> values) {
  std::string text;
  for (const int value : values) text += static_cast<char>(value);
  return text;
}

class ConvertIdx : public ::testing::Test {
 protected:
  Communicator comm = Communicator::world();
  SharedFolder folder{comm};
  const std::string two_images =
      bytes({0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 3}) + bytes({1, 2, 3, 4, 5, 255});
  const std::string two_labels = bytes({0, 0, 8, 1, 0, 0, 0, 2, 7, 9});

  ConvertResult convert(const std::string& images, const std::string& labels, ConvertOptions options = {}) {
    IdxOptions idx;
    idx.images = folder.write("images.idx", images);
    if (!labels.empty()) idx.labels = folder.write("labels.idx", labels);
    options.out = folder.file("out");
    options.overwrite = true;
    return convert_idx(comm, idx, options);
  }
  void expect_error(const std::string& part, const std::string& images, const std::string& labels) {
    const std::string message = error_of([&] { convert(images, labels); });
    EXPECT_NE(message.find(part), std::string::npos) << "'" << part << "' is not in: " << message;
    comm.barrier();
    EXPECT_FALSE(std::filesystem::exists(folder.file("out")));
    comm.barrier();
  }
};

TEST_F(ConvertIdx, BytesAndLabels) {
  const std::vector<ExpectedField> expected{
      ExpectedField::of<uint8_t>("image", DType::kUInt8, {1, 1, 3}, {1, 2, 3, 4, 5, 255}),
      ExpectedField::of<int64_t>("label", DType::kInt64, {}, {7, 9})};
  ConvertOptions options;
  options.n_shards = 2;
  const ConvertResult result = convert(two_images, two_labels, options);
  EXPECT_EQ(result.n_samples, 2);
  EXPECT_GT(result.n_bytes, 0);
  expect_shards(comm, folder.file("out"), 2, 2, expected, numbered(10), "IDX");
  convert(gzip(two_images), gzip(two_labels));
  expect_shards(comm, folder.file("out"), 2, 1, expected, numbered(10), "IDX");
  if (comm.is_root()) {  // statistics of 1, 2, 3, 4, 5, 255 by hand
    const Dataset dataset = Dataset::open(folder.file("out"));
    ASSERT_NE(dataset.statistics("image"), nullptr);
    EXPECT_EQ(dataset.statistics("image")->mean, std::vector<double>{45.0});
    EXPECT_DOUBLE_EQ(dataset.statistics("image")->stddev[0], std::sqrt(52930.0 / 6));
  }
}

TEST_F(ConvertIdx, AllElementTypes) {
  const auto header = [&](int type) { return bytes({0, 0, type, 2, 0, 0, 0, 1, 0, 0, 0, 2}); };
  const auto check = [&](int type, const std::string& content, std::vector<float> values) {
    convert(header(type) + content, "");
    expect_shards(comm, folder.file("out"), 1, 1,
                  {ExpectedField::of<float>("input", DType::kFloat32, {2}, values)}, {}, "IDX");
  };
  check(0x09, bytes({0xff, 0x7f}), {-1, 127});
  check(0x0B, bytes({0xff, 0xfe, 0x01, 0x00}), {-2, 256});
  check(0x0C, bytes({0xff, 0xff, 0xff, 0xfd, 0, 1, 0, 0}), {-3, 65536});
  check(0x0D, bytes({0x3f, 0xc0, 0, 0, 0xc0, 0x20, 0, 0}), {1.5F, -2.5F});
  check(0x0E, bytes({0x3f, 0xf8, 0, 0, 0, 0, 0, 0, 0xc0, 0x04, 0, 0, 0, 0, 0, 0}), {1.5F, -2.5F});
  // Float labels are regression targets.
  convert(header(0x08) + bytes({1, 2}), bytes({0, 0, 0x0D, 1, 0, 0, 0, 1, 0x3f, 0xc0, 0, 0}));
  expect_shards(comm, folder.file("out"), 1, 1,
                {ExpectedField::of<uint8_t>("input", DType::kUInt8, {2}, {1, 2}),
                 ExpectedField::of<float>("target", DType::kFloat32, {}, {1.5F})},
                {}, "IDX");
}

TEST_F(ConvertIdx, MalformedFiles) {
  expect_error("22 bytes in all, but it has 21", two_images.substr(0, 21), two_labels);
  expect_error("22 bytes in all, but it has 23", two_images + "x", two_labels);
  expect_error("ends within the IDX header", two_images.substr(0, 9), two_labels);
  expect_error("has 3 bytes", two_images.substr(0, 3), two_labels);
  expect_error("has 0 bytes", "", two_labels);
  expect_error("which is no IDX file", bytes({1}) + two_images.substr(1), two_labels);
  expect_error("which is no IDX file", bytes({0, 0, 8, 5}) + two_images.substr(4), two_labels);
  expect_error("which is no IDX file", bytes({0, 0, 7, 3}) + two_images.substr(4), two_labels);
  expect_error("too many bytes in all", bytes({0, 0, 8, 4}) + std::string(16, '\xff'), two_labels);
  expect_error("holds no samples", bytes({0, 0, 8, 4}) + std::string(4, '\0') + std::string(12, '\xff'), "");
  expect_error("without pixels", bytes({0, 0, 8, 2, 0, 0, 0, 1, 0, 0, 0, 0}), "");
  expect_error("has 1 labels for 2 images", two_images, bytes({0, 0, 8, 1, 0, 0, 0, 1, 7}));
  expect_error("swap the two files", two_labels, two_images);
  expect_error("swap the two files", two_images, two_images);
  expect_error("row 1 has the label -1", two_images, bytes({0, 0, 9, 1, 0, 0, 0, 2, 7, 0xff}));
  expect_error("row 0 is not a finite", two_images,
               bytes({0, 0, 0x0D, 1, 0, 0, 0, 2, 0x7f, 0x80, 0, 0, 0, 0, 0, 0}));
  expect_error("row 0 holds a value that is not a finite",
               bytes({0, 0, 0x0D, 2, 0, 0, 0, 1, 0, 0, 0, 1, 0x7f, 0xc0, 0, 0}), "");
  const std::string packed = gzip(two_images);
  expect_error("gzip", packed.substr(0, packed.size() - 3), two_labels);
  std::string damaged = packed;
  damaged[damaged.size() - 6] ^= 1;  // the CRC
  expect_error("gzip", damaged, two_labels);
}

TEST_F(ConvertIdx, DamagedFilesNeverCrash) {
  damage_at_random(two_images, 40, [&](const std::string& content) { convert(content, two_labels); });
  damage_at_random(two_labels, 40, [&](const std::string& content) { convert(two_images, content); });
  damage_at_random(gzip(two_images), 60, [&](const std::string& content) { convert(content, two_labels); });
}

TEST_F(ConvertIdx, MnistSample) {
  IdxOptions idx{test_data("mnist-10k-images-idx3-ubyte.gz"), test_data("mnist-10k-labels-idx1-ubyte.gz")};
  if (idx.images.empty() || idx.labels.empty())
    GTEST_SKIP() << "mnist-10k-*.gz are not among the test data (LOCKSTEP_TEST_DATA)";
  ConvertOptions options;
  options.out = folder.file("out");
  options.n_shards = 3;
  const ConvertResult result = convert_idx(comm, idx, options);
  EXPECT_EQ(result.n_samples, 10000);
  if (!comm.is_root()) return;
  const Dataset dataset = Dataset::open(options.out);
  EXPECT_EQ(dataset.field("image").shape, (Shape{1, 28, 28}));
  std::vector<uint8_t> images(10000 * 784);
  std::vector<int64_t> labels(10000);
  dataset.read("image", 0, 10000, images.data());
  dataset.read("label", 0, 10000, labels.data());
  double sum = 0;
  for (const uint8_t x : images) sum += x;
  EXPECT_EQ(dataset.statistics("image")->mean[0], sum / static_cast<double>(images.size()));
  // The first labels of the MNIST test set, as everybody who has plotted it knows them.
  EXPECT_EQ(std::vector<int64_t>(labels.begin(), labels.begin() + 10),
            (std::vector<int64_t>{7, 2, 1, 0, 4, 1, 4, 9, 5, 9}));
}

}  // namespace
}  // namespace lockstep::testing
