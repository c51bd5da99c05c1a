// convert_images: PNG files of every colour type against stated pixels, JPEG files of one
// colour, resizing against a direct float64 formula, damaged files; CIFAR-10 where at hand.
#include <cmath>
#include <random>

#include "io/formats/images/image_decode.h"
#include "io/formats/images/image_resize.h"
#include "io/loader/sampler.h"
#include "tests/io/convert_check.h"
#include "tests/io/image_files.h"

namespace lockstep::testing {
namespace {

class ConvertImages : public ::testing::Test {
 protected:
  Communicator comm = Communicator::world();
  SharedFolder folder{comm};

  void SetUp() override {
    if (comm.is_root()) {
      std::filesystem::create_directories(folder.file("in/cat"));
      std::filesystem::create_directories(folder.file("in/dog/more"));
    }
    comm.barrier();
  }
  ConvertResult convert(const ImagesOptions& images, ConvertOptions options = {}) {
    options.out = folder.file("out");
    options.overwrite = true;
    return convert_images(comm, images, options);
  }
  ImagesOptions from(int64_t channels, int64_t height = 0, int64_t width = 0) const {
    return {.folder = folder.file("in"), .channels = channels, .height = height, .width = width};
  }
  void expect_error(const std::string& part, const ImagesOptions& images) {
    const std::string message = error_of([&] { convert(images); });
    EXPECT_NE(message.find(part), std::string::npos) << "'" << part << "' is not in: " << message;
    comm.barrier();
    EXPECT_FALSE(std::filesystem::exists(folder.file("out")));
    comm.barrier();
  }
};

Image decode(const std::string& file, int64_t channels) {
  ImageDecoder decoder;
  return decoder.decode({reinterpret_cast<const uint8_t*>(file.data()), file.size()}, channels, "test");
}

std::vector<uint8_t> random_pixels(size_t n, unsigned seed) {
  std::mt19937 random(seed);
  std::vector<uint8_t> pixels(n);
  for (uint8_t& p : pixels) p = static_cast<uint8_t>(random());
  return pixels;
}

TEST_F(ConvertImages, FolderOfClasses) {
  // 1 x 2 pixels: the planes of (C, H, W) are told apart from (H, W, C).
  folder.write("in/dog/b.PNG", make_png(1, 2, {1, 2, 3, 4, 5, 6}));
  folder.write("in/dog/more/a.png", make_png(1, 2, {7, 9}, {.color_type = 0}));
  folder.write("in/cat/z.Jpeg", make_jpeg(1, 2, {100, 100}, {.channels = 1, .quality = 100}));
  folder.write("in/cat/notes.txt", "not an image");
  folder.write("in/cat/.hidden.png", "not an image");
  folder.write("in/readme.png", "not in a class folder");
  convert(from(3));
  expect_shards(comm, folder.file("out"), 3, 1,
                {ExpectedField::of<uint8_t>("image", DType::kUInt8, {3, 1, 2},
                                            {100, 100, 100, 100, 100, 100,  // cat/z
                                             1, 4, 2, 5, 3, 6,              // dog/b
                                             7, 9, 7, 9, 7, 9}),            // dog/more/a
                 ExpectedField::of<int64_t>("label", DType::kInt64, {}, {0, 1, 1})},
                {"cat", "dog"}, "images");
  convert(from(1));
  expect_shards(comm, folder.file("out"), 3, 1,
                {ExpectedField::of<uint8_t>("image", DType::kUInt8, {1, 1, 2}, {100, 100, 2, 5, 7, 9}),
                 ExpectedField::of<int64_t>("label", DType::kInt64, {}, {0, 1, 1})},
                {"cat", "dog"}, "images");
}

TEST_F(ConvertImages, ShuffledOverShards) {
  constexpr int64_t kImages = 40;
  std::vector<std::vector<uint8_t>> pixels;  // (3, 4, 5) of each, in listing order
  for (int64_t i = 0; i < kImages; ++i) {
    const std::vector<uint8_t> image = random_pixels(4 * 5 * 3, static_cast<unsigned>(i));
    const std::string name =
        (i < 15 ? "in/cat/" : "in/dog/") + std::string(i < 10 ? "0" : "") + std::to_string(i) + ".png";
    folder.write(name, make_png(4, 5, image));
    std::vector<uint8_t> planes;
    for (size_t c = 0; c < 3; ++c)
      for (size_t p = 0; p < 20; ++p) planes.push_back(image[3 * p + c]);
    pixels.push_back(planes);
  }
  ConvertOptions options;
  options.shuffle = true;
  options.seed = 11;
  options.skip = 3;
  options.limit = 31;
  options.n_shards = 6;
  convert(from(3), options);
  std::vector<uint8_t> rows;
  std::vector<int64_t> labels;
  const Sampler order(kImages, 11, {});
  for (int64_t i = 3; i < 34; ++i) {
    const int64_t row = order.sample_at(0, i);
    rows.insert(rows.end(), pixels[row].begin(), pixels[row].end());
    labels.push_back(row < 15 ? 0 : 1);
  }
  expect_shards(comm, folder.file("out"), 31, 6,
                {ExpectedField::of<uint8_t>("image", DType::kUInt8, {3, 4, 5}, rows),
                 ExpectedField::of<int64_t>("label", DType::kInt64, {}, labels)},
                {"cat", "dog"}, "images");
  if (!comm.is_root()) return;
  if (!has_h5py()) GTEST_SKIP() << "python3-h5py is not installed, so no second reader was asked";
  EXPECT_EQ(run_h5py(folder.file("out"), R"(
import glob
files = [h5py.File(f, 'r') for f in sorted(glob.glob(folder + '/*.h5'))]
assert len(files) == 6
image = np.concatenate([f['image'][:] for f in files])
label = np.concatenate([f['label'][:] for f in files])
assert image.shape == (31, 3, 4, 5) and image.dtype == np.uint8, (image.shape, image.dtype)
assert label.shape == (31,) and label.dtype == np.int64
for f in files:
    assert f['image'].chunks is None and f['image'].id.get_offset() is not None
    assert f.attrs['lockstep_format_version'] == 1
    assert f.attrs['source'] in ('images', b'images')
    assert [n if isinstance(n, str) else n.decode() for n in f.attrs['class_names']] == ['cat', 'dog']
    assert np.allclose(f['image'].attrs['mean'], image.mean(axis=(0, 2, 3)), rtol=1e-14)
    assert np.allclose(f['image'].attrs['stddev'], image.std(axis=(0, 2, 3)), rtol=1e-14)
    assert 'checksum' in f['image'].attrs and 'checksum' in f['label'].attrs
    assert 'mean' not in f['label'].attrs
)"),
            "");
}

TEST(ImageDecode, PngOfEveryKind) {
  using V = std::vector<uint8_t>;
  const auto rgb = [](const std::string& file) { return decode(file, 3).pixels; };
  const auto grey = [](const std::string& file) { return decode(file, 1).pixels; };
  const std::string one_bit = make_png(1, 3, {0b10100000}, {.color_type = 0, .bit_depth = 1});
  EXPECT_EQ(grey(one_bit), (V{255, 0, 255}));
  EXPECT_EQ(rgb(one_bit), (V{255, 255, 255, 0, 0, 0, 255, 255, 255}));
  EXPECT_EQ(grey(make_png(1, 3, {0b00011011 & 0xfc}, {.color_type = 0, .bit_depth = 2})), (V{0, 85, 170}));
  EXPECT_EQ(grey(make_png(1, 2, {0x0f}, {.color_type = 0, .bit_depth = 4})), (V{0, 255}));
  EXPECT_EQ(grey(make_png(1, 2, {0xff, 0xff, 0x80, 0x80}, {.color_type = 0, .bit_depth = 16})),
            (V{255, 128}));
  EXPECT_EQ(rgb(make_png(1, 1, {0, 0, 0x40, 0x40, 0xff, 0xff}, {.color_type = 2, .bit_depth = 16})),
            (V{0, 64, 255}));
  const PngOptions palette{.color_type = 3, .palette = {10, 20, 30, 255, 0, 0}};
  EXPECT_EQ(rgb(make_png(1, 2, {1, 0}, palette)), (V{255, 0, 0, 10, 20, 30}));
  EXPECT_EQ(grey(make_png(1, 2, {1, 0}, palette)), (V{76, 18}));  // 0.299 R + 0.587 G + 0.114 B
  EXPECT_EQ(grey(make_png(1, 1, {77, 3}, {.color_type = 4})), (V{77}));
  EXPECT_EQ(rgb(make_png(1, 1, {77, 3}, {.color_type = 4})), (V{77, 77, 77}));
  EXPECT_EQ(rgb(make_png(1, 1, {1, 2, 3, 0}, {.color_type = 6})), (V{1, 2, 3}));
  EXPECT_EQ(rgb(make_png(1, 1, {0, 0, 1, 1, 2, 2, 9, 9}, {.color_type = 6, .bit_depth = 16})), (V{0, 1, 2}));
  const V noise = random_pixels(13 * 11 * 3, 1);
  EXPECT_EQ(rgb(make_png(13, 11, noise, {.interlaced = true})), noise);
  EXPECT_EQ(grey(make_png(1, 3, {255, 255, 255, 0, 0, 0, 200, 200, 200})), (V{255, 0, 200}));
}

TEST(ImageDecode, SixteenBitsAreKept) {
  const auto deep = [](const std::string& file, int64_t channels) {
    ImageDecoder decoder;
    const std::vector<uint8_t> bytes(file.begin(), file.end());
    const Image& image = decoder.decode(bytes, channels, "test", 16);
    EXPECT_EQ(image.bits, 16);
    return image.deep;
  };
  using V = std::vector<uint16_t>;
  const std::string grey = make_png(1, 2, {0x12, 0x34, 0xff, 0xfe}, {.color_type = 0, .bit_depth = 16});
  EXPECT_EQ(deep(grey, 1), (V{0x1234, 0xfffe}));
  EXPECT_EQ(deep(grey, 3), (V{0x1234, 0x1234, 0x1234, 0xfffe, 0xfffe, 0xfffe}));
  const std::string rgb = make_png(1, 1, {0, 1, 0x40, 2, 0xff, 3}, {.color_type = 2, .bit_depth = 16});
  EXPECT_EQ(deep(rgb, 3), (V{1, 0x4002, 0xff03}));
  EXPECT_EQ(deep(rgb, 1),
            (V{static_cast<uint16_t>(std::lround(0.299 * 1 + 0.587 * 0x4002 + 0.114 * 0xff03))}));
  EXPECT_EQ(deep(make_png(1, 2, {0, 255}, {.color_type = 0}), 1), (V{0, 65535}));  // white is white
  EXPECT_EQ(deep(make_jpeg(1, 1, {128}, {.channels = 1, .quality = 100}), 1), (V{128 * 257}));
}

/// Orientation k of a picture is undone: the eight stored forms of one picture give the same pixels.
TEST(ImageDecode, ExifOrientationIsApplied) {
  // The picture 2 x 3: a b c / d e f. Stored forms after EXIF 2.3, figure of tag 0x0112.
  const std::vector<std::vector<uint8_t>> stored{{1, 2, 3, 4, 5, 6}, {3, 2, 1, 6, 5, 4}, {6, 5, 4, 3, 2, 1},
                                                 {4, 5, 6, 1, 2, 3}, {1, 4, 2, 5, 3, 6}, {3, 6, 2, 5, 1, 4},
                                                 {6, 3, 5, 2, 4, 1}, {4, 1, 5, 2, 6, 3}};
  int n_compared = 0;
  for (int k = 1; k <= 8; ++k) {
    const int height = k < 5 ? 2 : 3, width = 5 - height;
    const Image png = decode(make_png(height, width, stored[k - 1], {.color_type = 0, .orientation = k}), 1);
    EXPECT_EQ(png.height, 2) << k;
    EXPECT_EQ(png.width, 3) << k;
    EXPECT_EQ(png.pixels, stored[0]) << k;
    // JPEG: blocks of 8 x 8 of one grey each come through exactly.
    std::vector<uint8_t> blocks;
    for (int y = 0; y < 8 * height; ++y)
      for (int x = 0; x < 8 * width; ++x)
        blocks.push_back(static_cast<uint8_t>(8 * stored[k - 1][y / 8 * width + x / 8]));
    const Image jpeg = decode(
        make_jpeg(8 * height, 8 * width, blocks, {.channels = 1, .quality = 100, .orientation = k}), 1);
    ASSERT_EQ(jpeg.height, 16) << k;
    ASSERT_EQ(jpeg.width, 24) << k;
    for (int y = 0; y < 16; ++y)
      for (int x = 0; x < 24; ++x, ++n_compared)
        ASSERT_EQ(jpeg.pixels[y * 24 + x], 8 * stored[0][y / 8 * 3 + x / 8]) << k;
  }
  EXPECT_EQ(n_compared, 8 * 16 * 24);
}

TEST(ImageDecode, JpegOfEveryKind) {
  const std::vector<uint8_t> flat(16 * 16, 90);
  EXPECT_EQ(decode(make_jpeg(16, 16, flat, {.channels = 1, .quality = 100}), 1).pixels, flat);
  EXPECT_EQ(decode(make_jpeg(16, 16, flat, {.channels = 1, .quality = 100, .progressive = true}), 1).pixels,
            flat);
  EXPECT_EQ(decode(make_jpeg(16, 16, flat, {.channels = 1, .quality = 100}), 3).pixels,
            std::vector<uint8_t>(16 * 16 * 3, 90));
  std::vector<uint8_t> red, ink;
  for (int i = 0; i < 17 * 9; ++i) {
    red.insert(red.end(), {200, 30, 40});
    ink.insert(ink.end(), {0, 85, 170, 128});
  }
  for (const bool progressive : {false, true}) {
    const std::string file = make_jpeg(9, 17, red, {.quality = 95, .progressive = progressive});
    const Image image = decode(file, 3);
    ASSERT_EQ(image.height, 9);
    ASSERT_EQ(image.width, 17);
    ASSERT_EQ(image.pixels.size(), red.size());
    for (size_t i = 0; i < red.size(); ++i) ASSERT_NEAR(image.pixels[i], red[i], 3);  // lossy: YCbCr rounding
    const Image luma = decode(file, 1);
    for (const uint8_t p : luma.pixels) ASSERT_NEAR(p, 0.299 * 200 + 0.587 * 30 + 0.114 * 40, 2);
  }
  // Adobe's CMYK: 255 is no ink. R = C * K / 255 and so on.
  const Image image = decode(make_jpeg(9, 17, ink, {.channels = 4, .quality = 100}), 3);
  ASSERT_EQ(image.pixels.size(), red.size());
  for (size_t i = 0; i < image.pixels.size(); i += 3) {
    ASSERT_NEAR(image.pixels[i], 0, 2);
    ASSERT_NEAR(image.pixels[i + 1], 85 * 128 / 255, 2);
    ASSERT_NEAR(image.pixels[i + 2], 170 * 128 / 255, 2);
  }
  EXPECT_EQ(decode(make_jpeg(9, 17, ink, {.channels = 4}), 1).pixels.size(), 9U * 17U);
}

/// The definition: a triangle over the source, widened when shrinking, in two dimensions.
double resized_value(const Image& src, int64_t height, int64_t width, int64_t y, int64_t x, int64_t c) {
  const double sy = static_cast<double>(src.height) / height, sx = static_cast<double>(src.width) / width;
  const double ry = std::max(1.0, sy), rx = std::max(1.0, sx);
  double sum = 0, total = 0;
  for (int64_t i = 0; i < src.height; ++i)
    for (int64_t j = 0; j < src.width; ++j) {
      const double wy = 1 - std::abs((y + 0.5) * sy - (i + 0.5)) / ry,
                   wx = 1 - std::abs((x + 0.5) * sx - (j + 0.5)) / rx;
      if (wy <= 0 || wx <= 0) continue;
      sum += wy * wx * src.pixels[(i * src.width + j) * src.channels + c];
      total += wy * wx;
    }
  return sum / total;
}

TEST(ImageResize, FollowsTheDefinition) {
  Resizer resizer;
  int64_t n_compared = 0;
  const int64_t sizes[][2] = {{7, 5}, {14, 10}, {3, 2}, {1, 1}, {7, 13}, {20, 5}, {2, 40}};
  for (const int64_t channels : {1, 3}) {
    const Image src{7, 5, channels, random_pixels(static_cast<size_t>(35 * channels), 5)};
    for (const auto& [height, width] : sizes) {
      Image dst;
      resizer.resize(src, height, width, dst);
      ASSERT_EQ(dst.pixels.size(), static_cast<size_t>(height * width * channels));
      if (height == src.height && width == src.width) {
        EXPECT_EQ(dst.pixels, src.pixels);
      }
      for (int64_t y = 0; y < height; ++y)
        for (int64_t x = 0; x < width; ++x)
          for (int64_t c = 0; c < channels; ++c, ++n_compared)
            // Half a unit of rounding, and the noise of float32 sums.
            ASSERT_NEAR(dst.pixels[(y * width + x) * channels + c],
                        resized_value(src, height, width, y, x, c), 0.5001);
    }
  }
  EXPECT_EQ(n_compared, 4 * (35 + 140 + 6 + 1 + 91 + 100 + 80));
}

TEST_F(ConvertImages, ResizeToOneSize) {
  folder.write("in/cat/a.png", make_png(2, 2, {0, 100, 100, 200}, {.color_type = 0}));
  folder.write("in/dog/b.png", make_png(1, 1, {50}, {.color_type = 0}));
  convert(from(1, 1, 1));
  expect_shards(comm, folder.file("out"), 2, 1,
                {ExpectedField::of<uint8_t>("image", DType::kUInt8, {1, 1, 1}, {100, 50}),
                 ExpectedField::of<int64_t>("label", DType::kInt64, {}, {0, 1})},
                {"cat", "dog"}, "images");
  comm.barrier();
  if (comm.is_root()) std::filesystem::remove_all(folder.file("out"));
  expect_error("dog/b.png: is 1 x 1 (height x width), the first image is 2 x 2", from(1));
}

std::string joined(const std::vector<std::string>& notes) {
  std::string text;
  for (const std::string& note : notes) text += note + "\n";
  return text;
}

TEST_F(ConvertImages, WhatIsLeftOutIsCounted) {
  const std::string png = make_png(1, 1, {50}, {.color_type = 0});
  if (comm.is_root())
    for (const char* name : {"in/.ipynb_checkpoints", "in/cat/.ipynb_checkpoints", "in/__MACOSX"})
      std::filesystem::create_directories(folder.file(name));
  comm.barrier();
  for (const char* name :
       {"in/cat/a.png", "in/dog/b.png", "in/dog/more/c.jfif", "in/.ipynb_checkpoints/a-checkpoint.png",
        "in/cat/.ipynb_checkpoints/a-checkpoint.png", "in/__MACOSX/a.png", "in/cat/._a.png", "in/beside.png",
        "in/cat/d.gif", "in/cat/e.JXL", "in/dog/f.jxl", "in/dog/g.txt", "in/dog/none"})
    folder.write(name, png);
  const ConvertResult result = convert(from(1));
  EXPECT_EQ(result.n_samples, 3);
  if (!comm.is_root()) return;
  EXPECT_EQ(Dataset::open(folder.file("out")).class_names(), (std::vector<std::string>{"cat", "dog"}));
  const std::string notes = joined(result.notes);
  for (const char* part : {"taken: 3 images of 2 classes: cat (1), dog (2)", "not read: 1 .gif, 2 .jxl;",
                           "other files: 1 without extension, 1 .txt",
                           "3 hidden folders: ", "1 hidden file\n", "1 image beside the class folders"})
    EXPECT_NE(notes.find(part), std::string::npos) << part << " is not in: " << notes;
}

TEST_F(ConvertImages, LinksThatLeadNowhereOrBack) {
  const std::string png = make_png(1, 1, {50}, {.color_type = 0});
  folder.write("in/cat/a.png", png);
  folder.write("in/dog/b.png", png);
  if (comm.is_root()) {
    std::filesystem::create_symlink("absent.png", folder.file("in/cat/lost.png"));
    std::filesystem::create_symlink("absent", folder.file("in/bird"));
    std::filesystem::create_symlink(folder.file("in/cat/a.png"), folder.file("in/cat/good.png"));
  }
  comm.barrier();
  expect_error("2 links lead nowhere: bird, cat/lost.png", from(1));
  ImagesOptions skip = from(1);
  skip.on_error = OnError::kSkip;
  const ConvertResult result = convert(skip);
  EXPECT_EQ(result.n_samples, 3);
  if (comm.is_root()) {
    EXPECT_NE(joined(result.notes).find("left out: 2 links that lead nowhere: bird, cat/lost.png"),
              std::string::npos);
    std::filesystem::remove_all(folder.file("out"));
    std::filesystem::create_directory_symlink("..", folder.file("in/dog/up"));
  }
  comm.barrier();
  expect_error("in/dog/up/dog: is a link to a folder above it", skip);
}

TEST_F(ConvertImages, PartsOfASplitAreNoClasses) {
  const std::string png = make_png(1, 1, {50}, {.color_type = 0});
  const auto write = [&](const std::string& name) {
    if (comm.is_root()) std::filesystem::create_directories(folder.file(name));
    comm.barrier();
    folder.write(name + "/a.png", png);
  };
  ImagesOptions images = from(1);
  const auto expect = [&](const std::string& top, const std::string& names) {
    images.folder = folder.file(top);
    expect_error("its folders are parts of a split, not classes: " + names, images);
    if (comm.is_root()) std::filesystem::remove_all(folder.file(top));
    comm.barrier();
  };
  write("one/train/cat"), write("one/val/cat");
  expect("one", "train, val");
  write("two/Train/cat"), write("two/Test/cat"), write("two/extra/cat");
  expect("two", "Test, Train, extra");
  write("three/train/cat");
  expect("three", "train");
  write("vehicles/car"), write("vehicles/train");  // a train is a vehicle, too
  images.folder = folder.file("vehicles");
  EXPECT_EQ(convert(images).n_samples, 2);
}

TEST_F(ConvertImages, NumberedClassesComeInTheirOrder) {
  std::vector<uint8_t> pixels;
  std::vector<int64_t> labels;
  std::vector<std::string> names;
  for (int i = 0; i < 12; ++i) {
    if (comm.is_root()) std::filesystem::create_directories(folder.file("numbers/" + std::to_string(i)));
    comm.barrier();
    folder.write("numbers/" + std::to_string(i) + "/a.png",
                 make_png(1, 1, {static_cast<uint8_t>(i)}, {.color_type = 0}));
    pixels.push_back(static_cast<uint8_t>(i));
    labels.push_back(i);
  }
  ImagesOptions images = from(1);
  images.folder = folder.file("numbers");
  convert(images);
  expect_shards(comm, folder.file("out"), 12, 1,
                {ExpectedField::of<uint8_t>("image", DType::kUInt8, {1, 1, 1}, pixels),
                 ExpectedField::of<int64_t>("label", DType::kInt64, {}, labels)},
                numbered(12), "images");
}

TEST_F(ConvertImages, SixteenBitsStayWhereAFileHoldsThem) {
  folder.write("in/cat/a.png", make_png(1, 2, {0x12, 0x34, 0xff, 0xff}, {.color_type = 0, .bit_depth = 16}));
  folder.write("in/dog/b.png", make_png(1, 2, {1, 255}, {.color_type = 0}));
  const ConvertResult result = convert(from(1));
  expect_shards(comm, folder.file("out"), 2, 1,
                {ExpectedField::of<int32_t>("image", DType::kInt32, {1, 1, 2}, {0x1234, 65535, 257, 65535}),
                 ExpectedField::of<int64_t>("label", DType::kInt64, {}, {0, 1})},
                {"cat", "dog"}, "images");
  if (comm.is_root()) {
    EXPECT_NE(joined(result.notes).find("hold more than 8 bits"), std::string::npos);
  }
  ImagesOptions scaled = from(1);
  scaled.bits = 8;
  convert(scaled);
  expect_shards(comm, folder.file("out"), 2, 1,
                {ExpectedField::of<uint8_t>("image", DType::kUInt8, {1, 1, 2}, {0x12, 255, 1, 255}),
                 ExpectedField::of<int64_t>("label", DType::kInt64, {}, {0, 1})},
                {"cat", "dog"}, "images");
  if (comm.is_root()) {
    std::filesystem::rename(folder.file("in/cat/a.png"), folder.file("in/cat/a.jpg"));
    std::filesystem::remove_all(folder.file("out"));
  }
  comm.barrier();
  expect_error("cat/a.jpg: is a PNG file of more than 8 bits under another name", from(1));
}

/// All files that cannot be read are named at once, on every number of ranks and shards.
TEST_F(ConvertImages, DamagedFilesAreNamedTogetherOrSkipped) {
  const std::string png = make_png(2, 2, random_pixels(12, 2));
  for (int i = 0; i < 10; ++i) folder.write("in/cat/" + std::to_string(i) + ".png", png);
  for (int i = 0; i < 10; ++i)
    folder.write("in/dog/" + std::to_string(i) + ".png", i % 4 == 1 ? png.substr(0, 40) : png);
  folder.write("in/cat/0.png", "");
  ConvertOptions options;
  options.n_shards = 5;
  const std::string message = error_of([&] { convert(from(3), options); });
  for (const char* part :
       {"4 files cannot be taken", "cat/0.png: is empty", "dog/1.png: is a damaged PNG file",
        "dog/5.png: is a damaged", "dog/9.png: is a damaged", "--on-error skip"})
    EXPECT_NE(message.find(part), std::string::npos) << part << " is not in: " << message;
  ImagesOptions skip = from(3);
  skip.on_error = OnError::kSkip;
  options.n_shards = 2;
  const ConvertResult result = convert(skip, options);
  EXPECT_EQ(result.n_samples, 16);
  if (comm.is_root()) {
    EXPECT_NE(joined(result.notes).find("left out: 4 damaged files:"), std::string::npos);
    EXPECT_NE(joined(result.notes).find("taken: 16 images of 2 classes: cat (9), dog (7)"), std::string::npos)
        << joined(result.notes);
    EXPECT_EQ(std::count_if(result.notes.begin(), result.notes.end(),
                            [](const std::string& note) { return note.find('\n') != note.npos; }),
              0);
    const Dataset dataset = Dataset::open(folder.file("out"));
    std::vector<int64_t> labels(16);
    dataset.read("label", 0, 16, labels.data());
    EXPECT_EQ(labels, (std::vector<int64_t>{0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1}));
  }
  comm.barrier();
  for (int i = 0; i < 10; ++i) folder.write("in/dog/" + std::to_string(i) + ".png", "x");
  EXPECT_NE(error_of([&] { convert(skip, options); }).find("in/dog: holds no image that can be read"),
            std::string::npos);
}

TEST_F(ConvertImages, MalformedInputsAreNamed) {
  const std::string png = make_png(9, 9, random_pixels(9 * 9 * 3, 2));
  const std::string jpeg = make_jpeg(64, 64, random_pixels(64 * 64 * 3, 3));
  ImagesOptions absent = from(3);
  absent.folder = folder.file("absent");
  expect_error("absent: is not a folder", absent);
  expect_error("in/cat: holds no .jpg", from(3));
  folder.write("in/cat/a.png", png);
  folder.write("in/dog/b.jpg", "");
  expect_error("dog/b.jpg: is empty", from(3));
  folder.write("in/dog/b.jpg", "GIF89a");
  expect_error("dog/b.jpg: is no JPEG, PNG, BMP, WebP, TIFF or HEIC file", from(3));
  folder.write("in/dog/b.jpg", jpeg.substr(0, jpeg.size() * 2 / 3));
  expect_error("dog/b.jpg: is a damaged JPEG file", from(3, 9, 9));
  folder.write("in/dog/b.jpg", jpeg.substr(0, 20));
  expect_error("dog/b.jpg: is a damaged JPEG file", from(3, 9, 9));
  folder.write("in/dog/b.jpg", png.substr(0, png.size() - 30));
  expect_error("dog/b.jpg: is a damaged PNG file", from(3, 9, 9));
  std::string flipped = png;
  flipped[png.size() / 2] ^= 1;
  folder.write("in/dog/b.jpg", flipped);
  expect_error("dog/b.jpg: is a damaged PNG file", from(3, 9, 9));
  folder.write("in/dog/b.jpg", png.substr(0, 4));
  expect_error("dog/b.jpg: is a damaged PNG file", from(3, 9, 9));
  expect_error("2 channels", from(2));
  expect_error("one of height and width", from(3, 9, 0));
  expect_error("images of -1 x 9", from(3, -1, 9));
  // Only the rank of the last shard meets this one; all ranks throw.
  for (int i = 0; i < 7; ++i) folder.write("in/cat/" + std::to_string(i) + ".png", png);
  ConvertOptions options;
  options.n_shards = 8;
  const std::string message = error_of([&] { convert(from(3, 9, 9), options); });
  EXPECT_NE(message.find("dog/b.jpg: is a damaged PNG file"), std::string::npos) << message;
  folder.write("in/dog/b.jpg", jpeg);  // and the good one passes
  EXPECT_EQ(convert(from(3, 9, 9)).n_samples, 9);
}

std::vector<std::string> files_to_damage() {
  const PngOptions palette{
      .color_type = 3, .bit_depth = 4, .interlaced = true, .palette = random_pixels(48, 9)};
  return {make_png(6, 6, random_pixels(6 * 6 * 8, 5), {.color_type = 6, .bit_depth = 16}),
          make_png(6, 6, random_pixels(6 * 3, 5), palette), make_jpeg(20, 20, random_pixels(20 * 20 * 3, 6)),
          make_jpeg(20, 20, random_pixels(20 * 20 * 3, 6), {.progressive = true}),
          make_jpeg(20, 20, random_pixels(20 * 20 * 4, 6), {.channels = 4})};
}

TEST(ImageDecode, DamagedFilesNeverCrash) {
  for (const std::string& file : files_to_damage())
    for (const int64_t channels : {1, 3}) {
      ImageDecoder decoder;  // used again after errors
      damage_at_random(file, 500, [&](const std::string& content) {
        const std::vector<uint8_t> exact(content.begin(), content.end());  // reads past the end are noticed
        decoder.decode(exact, channels, "damaged");
      });
      const std::vector<uint8_t> exact(file.begin(), file.end());
      EXPECT_EQ(decoder.decode(exact, channels, "good").pixels, decode(file, channels).pixels);
    }
}

TEST_F(ConvertImages, DamagedFilesNeverHang) {
  folder.write("in/cat/a.png", make_png(6, 6, random_pixels(6 * 6, 4), {.color_type = 0}));
  for (const std::string& file : files_to_damage())
    damage_at_random(file, 20, [&](const std::string& content) {
      folder.write("in/dog/b.png", content);
      convert(from(3, 6, 6));
    });
}

TEST_F(ConvertImages, CifarTenSample) {
  const std::string archive = test_data("cifar10-jpeg.tar.gz");
  if (archive.empty()) GTEST_SKIP() << "cifar10-jpeg.tar.gz is not among the test data (LOCKSTEP_TEST_DATA)";
  if (comm.is_root()) {
    const std::string command =
        "tar xzf '" + archive + "' -C '" + folder.file("") + "' --wildcards '*test/*0.*'";
    EXPECT_EQ(std::system(command.c_str()), 0);
  }
  comm.barrier();
  std::string test_folder;
  if (comm.is_root())
    for (const auto& entry : std::filesystem::recursive_directory_iterator(folder.file("")))
      if (entry.is_directory() && entry.path().filename() == "test") test_folder = entry.path().string();
  ImagesOptions images = from(3);
  images.folder = comm.broadcast_string(test_folder);
  ConvertOptions options;
  options.n_shards = 4;
  const ConvertResult result = convert(images, options);
  EXPECT_EQ(result.n_samples, 1000);
  if (!comm.is_root()) return;
  const Dataset dataset = Dataset::open(folder.file("out"));
  EXPECT_EQ(dataset.class_names().size(), 10U);
  EXPECT_EQ(dataset.class_names().front(), "airplane");
  ASSERT_NE(dataset.statistics("image"), nullptr);
  // The known means of CIFAR-10 in 0..255; a tenth of the test set lies within 2 of them.
  const double known[] = {125.3, 123.0, 113.9};
  for (size_t c = 0; c < 3; ++c) EXPECT_NEAR(dataset.statistics("image")->mean[c], known[c], 3);
}

}  // namespace
}  // namespace lockstep::testing
