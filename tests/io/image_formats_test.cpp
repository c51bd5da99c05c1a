// BMP, WebP, TIFF and HEIC files against stated pixels, what is refused of them, and folders that hold them.
// Kinds whose library this build lacks are skipped; that they are named is tested with a kind that is not
// there.
#include "io/formats/images/image_formats.h"

#include <algorithm>
#include <numeric>
#include <random>

#include "io/convert/image_listing.h"
#include "tests/io/convert_check.h"
#include "tests/io/image_files.h"
#include "tests/io/more_image_files.h"

namespace lockstep::testing {
namespace {

using V = std::vector<uint8_t>;
using W = std::vector<uint16_t>;

bool reads(const char* name) {
  for (const detail::ImageFormat& format : detail::image_formats())
    if (format.name == name) return format.is_read();
  return false;
}
#define NEEDS(kind) \
  if (!reads(kind)) GTEST_SKIP() << "this build does not read " << (kind)

Image decode(const std::string& file, int64_t channels, int64_t bits = 8) {
  ImageDecoder decoder;
  const V exact(file.begin(), file.end());  // reads past the end are noticed
  return decoder.decode(exact, channels, "test", bits);
}
V rgb(const std::string& file) { return decode(file, 3).pixels; }
V grey(const std::string& file) { return decode(file, 1).pixels; }
std::string fault(const std::string& file) {
  try {
    decode(file, 3);
  } catch (const Error& error) {
    return error.reason() + "; " + error.remedy();
  }
  return "";
}
#define EXPECT_FAULT(file, part)                           \
  {                                                        \
    const std::string said = fault(file);                  \
    EXPECT_NE(said.find(part), std::string::npos) << said; \
  }

V noise(size_t n, unsigned seed = 1) {
  std::mt19937 random(seed);
  V pixels(n);
  for (uint8_t& p : pixels) p = static_cast<uint8_t>(random());
  return pixels;
}

/// As a file holds 16 bits, in this machine's order.
V bytes_of(const W& values) {
  V bytes(values.size() * 2);
  std::memcpy(bytes.data(), values.data(), bytes.size());
  return bytes;
}

/// The picture 2 x 3 of 1 … 6, stored for each orientation (EXIF 2.3, figure of tag 0x0112).
const std::vector<V> kStored{{1, 2, 3, 4, 5, 6}, {3, 2, 1, 6, 5, 4}, {6, 5, 4, 3, 2, 1}, {4, 5, 6, 1, 2, 3},
                             {1, 4, 2, 5, 3, 6}, {3, 6, 2, 5, 1, 4}, {6, 3, 5, 2, 4, 1}, {4, 1, 5, 2, 6, 3}};

template <typename T>
std::vector<T> as_rgb(const V& values) {
  std::vector<T> pixels;
  for (const uint8_t value : values) pixels.insert(pixels.end(), 3, value);
  return pixels;
}

TEST(ImageFormats, Bmp) {
  // From the bottom, blue first, rows padded to four bytes.
  EXPECT_EQ(rgb(make_bmp(2, 1, 24, {3, 2, 1, 0, 6, 5, 4, 0})), (V{4, 5, 6, 1, 2, 3}));
  EXPECT_EQ(rgb(make_bmp(2, 1, 24, {3, 2, 1, 0, 6, 5, 4, 0}, {}, true)), (V{1, 2, 3, 4, 5, 6}));
  EXPECT_EQ(rgb(make_bmp(1, 2, 32, {3, 2, 1, 9, 6, 5, 4, 9})), (V{1, 2, 3, 4, 5, 6}));
  const V palette{30, 20, 10, 0, 0, 0, 255, 0};
  EXPECT_EQ(rgb(make_bmp(1, 3, 8, {1, 0, 1, 0}, palette)), (V{255, 0, 0, 10, 20, 30, 255, 0, 0}));
  EXPECT_EQ(grey(make_bmp(1, 3, 8, {1, 0, 1, 0}, palette)), (V{76, 18, 76}));
  EXPECT_EQ(rgb(make_bmp(1, 3, 4, {0x10, 0x10, 0, 0}, palette)), (V{255, 0, 0, 10, 20, 30, 255, 0, 0}));
  EXPECT_EQ(rgb(make_bmp(1, 3, 1, {0b10100000, 0, 0, 0}, palette)), (V{255, 0, 0, 10, 20, 30, 255, 0, 0}));
  EXPECT_FAULT(make_bmp(1, 3, 8, {2, 0, 1, 0}, palette),
               "damaged BMP file: a pixel lies outside the palette");
  EXPECT_FAULT(make_bmp(2, 1, 24, {3, 2, 1, 0}), "damaged BMP file: the file ends too early");
  EXPECT_FAULT(make_bmp(1, 1, 16, {3, 2, 0, 0}), "holds 16 bits a pixel; save it as PNG");
  std::string compressed = make_bmp(1, 3, 8, {1, 0, 1, 0}, palette);
  compressed[30] = 1;
  EXPECT_FAULT(compressed, "is a compressed BMP file");
  EXPECT_FAULT(make_bmp(1 << 30, 1 << 30, 24, {}), "1073741824 x 1073741824 pixels are too many");
}

TEST(ImageFormats, WebP) {
  NEEDS("WebP");
  const V pixels = noise(7 * 5 * 3);
  EXPECT_EQ(rgb(make_webp(7, 5, 3, pixels)), pixels);
  EXPECT_EQ(grey(make_webp(1, 2, 3, {255, 0, 0, 10, 20, 30})), (V{76, 18}));
  EXPECT_EQ(rgb(make_webp(1, 2, 4, {1, 2, 3, 255, 9, 8, 7, 128})),
            (V{1, 2, 3, 9, 8, 7}));  // alpha is dropped
  EXPECT_EQ(decode(make_webp(1, 1, 3, {1, 2, 3}), 3, 16).deep, (W{257, 514, 771}));
  for (int k = 1; k <= 8; ++k) {
    const int height = k < 5 ? 2 : 3;
    const Image image = decode(make_webp(height, 5 - height, 3, as_rgb<uint8_t>(kStored[k - 1]), k), 1);
    EXPECT_EQ(image.height, 2) << k;
    EXPECT_EQ(image.pixels, kStored[0]) << k;
  }
  const std::string file = make_webp(7, 5, 3, pixels);
  EXPECT_FAULT(file.substr(0, file.size() - 20), "is a damaged WebP file");
  EXPECT_FAULT(file.substr(0, 14), "is a damaged WebP file");
  std::string animation = make_webp(2, 3, 3, as_rgb<uint8_t>(kStored[0]), 1);
  animation[20] = 0x02;
  EXPECT_FAULT(animation, "is an animation, not one image; save the frame that is meant");
}

TEST(ImageFormats, TiffOfEveryLayout) {
  NEEDS("TIFF");
  constexpr int kNone = 1, kLzw = 5, kDeflate = 8, kPackBits = 32773;
  int n_compared = 0;
  for (const int compression : {kNone, kLzw, kDeflate, kPackBits})
    for (const int channels : {1, 3, 4})
      for (const int bits : {8, 16})
        for (const bool separate : {false, true})
          for (const int tile : {0, 16})
            for (const bool big_endian : {false, true}) {
              const int height = 21, width = 19, colours = channels == 1 ? 1 : 3;
              const V stored = noise(static_cast<size_t>(height * width * channels * bits / 8), 7);
              TiffOptions options{.channels = channels, .bits = bits, .compression = compression};
              options.photometric = channels == 1 ? 1 : 2;
              options.separate = separate;
              options.tile = tile;
              options.big_endian = big_endian;
              options.big_tiff = big_endian && tile > 0;
              options.extra = channels == 4 ? 2 : -1;
              const std::string file = make_tiff(height, width, stored, options);
              const Image image = decode(file, colours, bits);
              ASSERT_EQ(image.bits, bits);
              ASSERT_EQ(
                  ImageDecoder::stored_bits({reinterpret_cast<const uint8_t*>(file.data()), file.size()}),
                  bits);
              for (int i = 0; i < height * width; ++i)
                for (int c = 0; c < colours; ++c, ++n_compared) {
                  const size_t at = static_cast<size_t>(separate ? c * height * width + i : i * channels + c);
                  uint16_t want = stored[at];
                  if (bits == 16) std::memcpy(&want, stored.data() + 2 * at, 2);
                  const auto to = static_cast<size_t>(i * colours + c);
                  ASSERT_EQ(bits == 16 ? image.deep[to] : image.pixels[to], want)
                      << compression << " " << channels << " " << bits << " " << separate << " " << tile;
                }
            }
  EXPECT_EQ(n_compared, 4 * 2 * 2 * 2 * 2 * 21 * 19 * (1 + 3 + 3));
}

TEST(ImageFormats, TiffColours) {
  NEEDS("TIFF");
  EXPECT_EQ(grey(make_tiff(1, 3, {0, 1, 255}, {.channels = 1, .photometric = 0})),
            (V{255, 254, 0}));  // white: 0
  EXPECT_EQ(grey(make_tiff(1, 3, {0b10100000}, {.channels = 1, .bits = 1, .photometric = 1})),
            (V{255, 0, 255}));
  EXPECT_EQ(grey(make_tiff(1, 3, {0b10100000}, {.channels = 1, .bits = 1, .photometric = 0})),
            (V{0, 255, 0}));
  EXPECT_EQ(grey(make_tiff(1, 2, {0x0f}, {.channels = 1, .bits = 4, .photometric = 1})), (V{0, 255}));
  EXPECT_EQ(rgb(make_tiff(1, 2, {7, 9}, {.channels = 1, .photometric = 1})), (V{7, 7, 7, 9, 9, 9}));
  EXPECT_EQ(grey(make_tiff(1, 2, {255, 0, 0, 10, 20, 30})), (V{76, 18}));
  EXPECT_EQ(grey(make_tiff(1, 2, {7, 99, 9, 0}, {.channels = 2, .photometric = 1, .extra = 2})), (V{7, 9}));
  EXPECT_EQ(rgb(make_tiff(1, 1, {1, 2, 3, 99}, {.channels = 4, .extra = 0})), (V{1, 2, 3}));
  TiffOptions palette{.channels = 1, .bits = 4, .photometric = 3};
  palette.palette.resize(48);
  palette.palette[1] = 0xffff, palette.palette[16 + 2] = 0x8080, palette.palette[32 + 2] = 0x4040;
  EXPECT_EQ(rgb(make_tiff(1, 2, {0x12}, palette)), (V{255, 0, 0, 0, 0x80, 0x40}));
  // 16 bits as bytes: rounded, as PNG files are.
  EXPECT_EQ(
      grey(make_tiff(1, 3, bytes_of({0, 0x8080, 0xffff}), {.channels = 1, .bits = 16, .photometric = 1})),
      (V{0, 0x80, 255}));
  EXPECT_EQ(decode(make_tiff(1, 1, {1, 2, 3}), 3, 16).deep, (W{257, 514, 771}));
  for (int k = 1; k <= 8; ++k) {
    const int height = k < 5 ? 2 : 3;
    const Image image = decode(
        make_tiff(height, 5 - height, kStored[k - 1], {.channels = 1, .photometric = 1, .orientation = k}),
        1);
    EXPECT_EQ(image.height, 2) << k;
    EXPECT_EQ(image.pixels, kStored[0]) << k;
    // The way through libtiff's own conversion.
    TiffOptions colours{.channels = 1, .photometric = 3, .orientation = k};
    colours.palette.resize(768);
    for (size_t i = 0; i < 768; ++i) colours.palette[i] = static_cast<uint16_t>(i % 256 * 257);
    EXPECT_EQ(grey(make_tiff(height, 5 - height, kStored[k - 1], colours)), kStored[0]) << k;
  }
  // Blocks of one grey come through JPEG exactly.
  const Image jpeg = decode(make_tiff(16, 16, V(256 * 3, 90), {.compression = 7}), 3);
  EXPECT_EQ(jpeg.pixels, V(256 * 3, 90));
  EXPECT_EQ(rgb(make_tiff(2, 1, {1, 2, 3, 4, 5, 6}, {.with_thumbnail = true})), (V{1, 2, 3, 4, 5, 6}));
}

TEST(ImageFormats, TiffThatIsNoPicture) {
  NEEDS("TIFF");
  EXPECT_FAULT(make_tiff(1, 1, {1, 2, 3}, {.pages = 3}), "holds 3 pages, not one image; save each as a file");
  EXPECT_FAULT(make_tiff(1, 1, V(4), {.channels = 1, .bits = 32, .photometric = 1, .sample_format = 3}),
               "holds numbers with fractions (float32); save it with 8 or 16 bits");
  EXPECT_FAULT(make_tiff(1, 1, V(2), {.channels = 1, .bits = 16, .photometric = 1, .sample_format = 2}),
               "holds numbers with signs");
  EXPECT_FAULT(make_tiff(1, 1, V(4), {.channels = 1, .bits = 32, .photometric = 1}),
               "holds numbers of 32 bits");
  EXPECT_FAULT(make_tiff(1, 1, V(4), {.channels = 4, .photometric = 5}), "holds inks (CMYK)");
  EXPECT_FAULT(make_tiff(1, 1, V(3), {.photometric = 8}), "colours of a kind that is not read, number 8");
  EXPECT_FAULT(make_tiff(1, 1, V(5), {.channels = 5}), "holds 5 numbers a pixel");
  EXPECT_FAULT(make_tiff(1, 1, V(2), {.channels = 2, .photometric = 1}), "holds 2 numbers a pixel");
}

TEST(ImageFormats, DamagedTiff) {
  NEEDS("TIFF");
  const std::string file = make_tiff(40, 40, noise(4800));
  EXPECT_FAULT(file.substr(0, file.size() / 2), "is a damaged TIFF file");
  EXPECT_FAULT(file.substr(0, 8), "is a damaged TIFF file");
  // A width of 2^27 x 40: not what 5 KB hold.
  std::string wide = file;
  const std::string entry("\0\1\3\0\1\0\0\0\x28\0\0\0", 12), forged("\0\1\4\0\1\0\0\0\0\0\0\2", 12);
  const size_t at = wide.find(entry);
  ASSERT_NE(at, std::string::npos);
  wide.replace(at, 12, forged);
  EXPECT_FAULT(wide, "are too many");
  wide[at + 11] = 0, wide[at + 10] = 0x20;  // 2^21
  EXPECT_FAULT(wide, "it has more pixels than the file can hold");
}

TEST(ImageFormats, Heic) {
  NEEDS("HEIC");
  constexpr int kExtent = 64;
  W pixels(kExtent * kExtent * 3);
  V want(pixels.size());
  for (size_t i = 0; i < pixels.size(); ++i)
    want[i] = static_cast<uint8_t>(pixels[i] = (i * 7 + i / 192 * 3) % 256);
  const std::string file = make_heic(kExtent, kExtent, pixels);
  if (file.empty()) GTEST_SKIP() << "libheif has no encoder of HEVC";
  const Image image = decode(file, 3);
  EXPECT_EQ(image.height, kExtent);
  EXPECT_EQ(image.pixels, want);
  EXPECT_EQ(decode(file, 3, 16).deep[5], want[5] * 257);
  // Turned by libheif, once: 90 degrees clockwise.
  const Image turned = decode(make_heic(kExtent, kExtent, pixels, 8, 6), 3);
  int n_different = 0;
  for (int y = 0; y < kExtent; ++y)
    for (int x = 0; x < kExtent * 3; ++x)
      n_different += turned.pixels[y * kExtent * 3 + x] !=
                     want[static_cast<size_t>(((kExtent - 1 - x / 3) * kExtent + y) * 3 + x % 3)];
  EXPECT_EQ(n_different, 0);
  for (size_t i = 0; i < pixels.size(); ++i) pixels[i] = (i * 13) % 1024;
  const std::string ten = make_heic(kExtent, kExtent, pixels, 10);
  EXPECT_EQ(ImageDecoder::stored_bits({reinterpret_cast<const uint8_t*>(ten.data()), ten.size()}), 16);
  const Image deep = decode(ten, 3, 16);
  ASSERT_EQ(deep.bits, 16);
  for (size_t i = 0; i < pixels.size(); ++i) ASSERT_EQ(deep.deep[i], (pixels[i] * 65535 + 511) / 1023) << i;
  EXPECT_FAULT(make_heic(kExtent, kExtent, pixels, 8, 1, 2), "holds 2 images, not one; save each");
  EXPECT_FAULT(file.substr(0, file.size() - 100), "HEIC");
}

TEST(ImageFormats, DamageNeverCrashes) {
  std::vector<std::string> files{make_bmp(1, 3, 8, {1, 0, 1, 0}, {30, 20, 10, 0, 0, 0, 255, 0}),
                                 make_webp(6, 6, 3, noise(108), 6)};
  for (const int compression : {1, 5, 8, 7})
    files.push_back(make_tiff(16, 16, noise(768), {.compression = compression, .tile = 16}));
  files.push_back(make_tiff(6, 6, noise(18), {.channels = 1, .bits = 4, .photometric = 1}));
  files.push_back(make_heic(16, 16, W(768, 9)));
  for (const std::string& file : files) {
    if (file.empty()) continue;
    damage_at_random(file, 300, [&](const std::string& content) {
      for (const int64_t channels : {1, 3}) decode(content, channels);
    });
  }
}

/// Files of all kinds side by side: what this build reads is taken, all else is counted with its package.
TEST(ImageFormats, FoldersOfManyKinds) {
  Communicator comm = Communicator::world();
  SharedFolder folder{comm};
  if (comm.is_root()) std::filesystem::create_directories(folder.file("in/cat"));
  comm.barrier();
  V want;
  int64_t n = 0;
  const auto add = [&](const std::string& name, const std::string& file, uint8_t value) {
    folder.write("in/cat/" + name, file.empty() ? "x" : file);
    if (file.empty()) return;
    want.push_back(value);
    ++n;
  };
  add("a.bmp", make_bmp(1, 1, 24, {1, 1, 1, 0}), 1);
  add("b.png", make_png(1, 1, {2}, {.color_type = 0}), 2);
  add("c.tif", make_tiff(1, 1, {3}, {.channels = 1, .photometric = 1}), 3);
  add("d.TIFF", make_tiff(1, 1, {4}, {.channels = 1, .photometric = 1}), 4);
  add("e.webp", make_webp(1, 1, 3, {5, 5, 5}), 5);
  folder.write("in/cat/f.gif", "x");
  const ImagesOptions images{.folder = folder.file("in"), .channels = 1};
  ConvertOptions options;
  options.out = folder.file("out");
  options.overwrite = true;
  const ConvertResult result = convert_images(comm, images, options);
  expect_shards(comm, options.out, n, 1,
                {ExpectedField::of<uint8_t>("image", DType::kUInt8, {1, 1, 1}, want),
                 ExpectedField::of<int64_t>("label", DType::kInt64, {}, std::vector<int64_t>(want.size()))},
                {"cat"}, "images");
  std::string notes;
  for (const std::string& note : result.notes) notes += note + "\n";
  const auto says = [&](const char* part) { return notes.find(part) != std::string::npos; };
  if (comm.is_root()) {
    EXPECT_TRUE(says("1 .gif")) << notes;
    EXPECT_EQ(says("to read TIFF, install libtiff-dev"), !reads("TIFF")) << notes;
    EXPECT_EQ(says("to read WebP, install libwebp-dev"), !reads("WebP")) << notes;
  }
  comm.barrier();
  if (!reads("TIFF")) return;
  // A deep one makes all deep; refused and damaged ones are named in one pass.
  folder.write("in/cat/c.tif",
               make_tiff(1, 1, bytes_of({0x1234}), {.channels = 1, .bits = 16, .photometric = 1}));
  convert_images(comm, images, options);
  std::vector<int32_t> deep;
  for (const uint8_t value : want) deep.push_back(value == 3 ? 0x1234 : value * 257);
  expect_shards(comm, options.out, n, 1,
                {ExpectedField::of<int32_t>("image", DType::kInt32, {1, 1, 1}, deep),
                 ExpectedField::of<int64_t>("label", DType::kInt64, {}, std::vector<int64_t>(want.size()))},
                {"cat"}, "images");
  folder.write("in/cat/c.tif", make_tiff(1, 1, {1}, {.channels = 1, .photometric = 1, .pages = 2}));
  folder.write("in/cat/d.TIFF", "II*");
  const std::string message = error_of([&] { convert_images(comm, images, options); });
  for (const char* part :
       {"2 files cannot be taken", "c.tif: holds 2 pages, not one image; save each as a file",
        "d.TIFF: is no JPEG, PNG, BMP, WebP, TIFF or HEIC file", "--on-error skip"})
    EXPECT_NE(message.find(part), std::string::npos) << part << " is not in: " << message;
  ImagesOptions skip = images;
  skip.on_error = OnError::kSkip;
  EXPECT_EQ(convert_images(comm, skip, options).n_samples, n - 2);
}

TEST(ImageFormats, ContentTellsImagesFromTexts) {
  EXPECT_TRUE(is_image_content(make_bmp(1, 1, 24, {1, 1, 1, 0}).substr(0, 32)));
  EXPECT_TRUE(is_image_content({"II*\0\10\0\0\0", 8}));
  EXPECT_FALSE(is_image_content("BMI,age,height,weight,label\n27,4"));
  EXPECT_FALSE(is_image_content("RIFF"));
  EXPECT_FALSE(is_image_content(""));
}

}  // namespace
}  // namespace lockstep::testing
