// data.augment: every mistake one message with its remedy; draws that depend on seed, epoch, sample and
// step alone and are distributed as asked; geometry in the order of the list, exact where it can be.
#include "src/data/augment/augment.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "src/data/data.h"
#include "src/network/model.h"
#include "src/run/job.h"
#include "tests/src/expect_error.h"
#include "tests/support/hdf5_files.h"

namespace lockstep {
namespace {

AugmentSpec spec_of(const std::string& list) {
  return read_augment(Config::from_text("augment: " + list, "job.yaml"));
}
Augmentation augmentation_of(const std::string& list, const Shape& image = {3, 32, 32},
                             DType dtype = DType::kUInt8) {
  AugmentSpec spec = spec_of(list);
  Augmentation::Source source;
  source.shape = image;
  source.dtype = dtype;
  source.network = spec.output(image);
  return {std::move(spec), source};
}
std::vector<AugmentRecord> records_of(const Augmentation& augmentation, std::vector<int64_t> ids,
                                      int64_t epoch = 0, uint64_t seed = 1) {
  std::vector<AugmentRecord> records(ids.size());
  augmentation.draw(seed, epoch, ids, records.data());
  return records;
}
bool equal(const AugmentRecord& a, const AugmentRecord& b) { return std::memcmp(&a, &b, sizeof a) == 0; }

/// The values of sample `id` as the network would get them.
std::vector<float> applied(const Augmentation& augmentation, const std::vector<float>& image, int64_t id = 1,
                           int64_t epoch = 0) {
  const AugmentDesc desc = augmentation.desc(1, DType::kFloat32);
  const std::unique_ptr<Op> op = make_augment({}, desc);
  std::vector<AugmentRecord> records = records_of(augmentation, {id}, epoch);
  std::vector<float> src = image, dst(static_cast<size_t>(desc.dst.n_elements()));
  std::vector<std::byte> scratchpad(static_cast<size_t>(op->info().scratchpad_bytes) + 64);
  const Tensor src_t[] = {{src.data(), op->info().src[0]}, {records.data(), op->info().src[1]}};
  const Tensor dst_t{dst.data(), op->info().dst[0]};
  OpArgs args;
  args.src = src_t;
  args.dst = {&dst_t, 1};
  args.scratchpad = scratchpad.data();
  op->forward(*make_stream({}), args);
  return dst;
}
std::vector<float> ramp(int64_t n) {
  std::vector<float> values;
  for (int64_t i = 0; i < n; ++i) values.push_back(static_cast<float>(i * 37 % 101));
  return values;
}

std::vector<int64_t> many_ids(int64_t n) {
  std::vector<int64_t> ids;
  for (int64_t i = 0; i < n; ++i) ids.push_back(i * 3);
  return ids;
}

TEST(AugmentJob, MistakesNameTheRemedy) {
  const auto refuses = [](const std::string& list, const std::vector<std::string>& parts) {
    expect_error([&] { spec_of(list); }, parts);
  };
  refuses("[{random_corp: 4}]", {"job.yaml:1", "unknown augmentation 'random_corp'",
                                 "did you mean 'random_crop'", "known augmentations: affine, color_cast"});
  refuses("[{random_crop: {paddding: 4}}]", {"augment[0].random_crop", "crops nothing"});
  refuses("[{random_crop: {padding: 4, sise: 2}}]", {"unknown key 'sise'; did you mean 'size'"});
  refuses("[random_crop]", {"crops nothing", "give padding, size or both"});
  refuses("[{random_crop: -1}]", {"must not be negative"});
  refuses("[{random_crop: {size: [1, 2, 3]}}]", {"write size: [height, width]"});
  refuses("[reflect, {affine: {degrees: [20, 10]}}]", {"augment[1].affine.degrees", "[20, 10] is no range"});
  refuses("[{affine: {translate: [0.1]}}]", {"write translate: [horizontal, vertical]"});
  refuses("[{random_crop: {size: []}}]", {"write size: [height, width]"});
  for (const char* name : {"affine", "speed", "lens_distortion", "color_jitter", "color_cast"})
    refuses("[" + std::string(name) + "]", {"changes nothing", "give "});
  refuses("[{reflect: {horizontal: 1.5}}]", {"must lie in [0, 1]"});
  refuses("[{color_jitter: {hue: 0.7}}]", {"no range within [-0.5, 0.5]"});
  refuses("[gaussian_noise]", {"the key 'sigma' is missing"});
  refuses("[{random_erasing: {value: median}}]", {"'median' is not a known choice", "mean"});
  refuses("[{vignette: {strength: [0.1, 0.2, 0.3]}}]", {"expected one number or two"});
  refuses("[{random_crop: {padding: 4, padding_mode: mirror}}]", {"choose one of: constant, edge, reflect"});
  refuses("[{random_crop: {padding: 4, fill: 3}}, {affine: {degrees: 3, fill: 4}}]",
          {"augment[1]", "one interpolation with one border", "in one step only"});
  refuses("[{lens_distortion: 0.2}, reflect]",
          {"stands behind lens_distortion", "put what moves pixels before it"});
  refuses("[random_erasing, {random_crop: 4}]", {"stands behind random_erasing"});
  refuses("4", {"expected a list"});
  expect_error([] { read_augment(Config::from_text("augment_input: x", "job.yaml")); },
               {"augment_input", "there is no list"});
}

TEST(AugmentJob, ImagesThatDoNotFitAreNamed) {
  expect_error([] { augmentation_of("[{random_crop: {size: 40}}]"); },
               {"data.augment: random_crop", "a size of 40x40 is larger than the images of 32x32"});
  expect_error(
      [] {
        augmentation_of("[{color_jitter: {saturation: 0.5}}]", {1, 28, 28});
      },
      {"color_jitter", "needs 3 channels", "brightness and contrast"});
  expect_error([] { augmentation_of("[{color_cast: 20}]", {4, 8, 8}); }, {"color_cast", "needs 3 channels"});
  expect_error([] { augmentation_of("[reflect]", {20}); }, {"samples of shape (20) are no images"});
  expect_error(
      [] {
        augmentation_of("[random_resized_crop]", {2, 100});
      },
      {"random_resized_crop", "sequences"});
  AugmentSpec spec = spec_of("[{random_crop: {size: 28}}]");
  EXPECT_EQ(spec.output({3, 32, 32}), (Shape{3, 28, 28}));
  Augmentation::Source source;
  source.shape = {3, 32, 32};
  source.network = {3, 32, 32};
  expect_error([&] { Augmentation(spec, source); }, {"makes images of 28x28 pixels", "reads (3, 32, 32)"});
}

TEST(AugmentJob, TargetsThatWouldHaveToMoveAreRefused) {
  const TemporaryFolder folder;
  FixtureField image{"image", {4, 3, 16, 16}, "float32", std::vector<double>(4 * 768)},
      label{"label", {4, 16, 16}, "int64", std::vector<double>(4 * 256)};
  write_hdf5(folder.file("data.h5"), {image, label});
  const auto make = [&](const std::string& list, const std::string& more = "") {
    const Job job = read_job(Config::from_text(
        "name: u\nmodel: {zoo: unet, depth: 2, channels: 4, classes: 3}\nbatch: 2\noptimizer: adam\n"
        "train: {steps: 1}\ndata: {train: " +
            folder.file("data.h5") + ", augment: " + list + more + "}",
        "test"));
    const JobData data = open_data(job);
    return make_augmentation(job, *data.train, data.train_fields, build_graph(job, data.contract), {});
  };
  expect_error([&] { make("[reflect]"); },
               {"targets of shape (16, 16) would have to move", "change colours"});
  expect_error([&] { make("[{vignette: 0.5}]", ", augment_input: depth"); }, {"no input 'depth'"});
  EXPECT_NE(make("[{vignette: 0.5}]"), nullptr);
  EXPECT_EQ(make("[]"), nullptr);
}

TEST(Augment, DrawsDependOnSeedEpochSampleAndStepAlone) {
  const Augmentation all = augmentation_of(
      "[{random_crop: 4}, reflect, {affine: {degrees: 20, scale: 0.2}}, {color_jitter: {brightness: 0.4, "
      "hue: 0.1}},"
      " {gaussian_noise: [1, 9]}, {vignette: 0.5}, {random_erasing: {p: 1}}]");
  const std::vector<AugmentRecord> records = records_of(all, {7, 3, -1, 1000000000007});
  const std::vector<AugmentRecord> others = records_of(all, {1000000000007, 3});
  EXPECT_TRUE(equal(records[3], others[0]));
  EXPECT_TRUE(equal(records[1], others[1]));
  EXPECT_FALSE(equal(records[0], records[1]));
  EXPECT_TRUE(records[2].is_padding);
  EXPECT_FALSE(records[0].is_padding);
  EXPECT_FALSE(equal(records_of(all, {7}, 1)[0], records[0]));
  EXPECT_FALSE(equal(records_of(all, {7}, 0, 2)[0], records[0]));
  // What a step draws does not hang on what others draw, only on its place.
  const Augmentation lens = augmentation_of("[{random_crop: 4}, {vignette: [0, 1]}]"),
                     less = augmentation_of("[reflect, {vignette: [0, 1]}]");
  for (const int64_t id : {1, 2, 3})
    EXPECT_EQ(records_of(lens, {id})[0].vignette, records_of(less, {id})[0].vignette);
}

TEST(Augment, CropsAndReflectionsAreUniform) {
  constexpr int64_t kN = 9000;
  const Augmentation crop =
      augmentation_of("[{random_crop: 4}, {reflect: {horizontal: 0.3, vertical: 0.5}}]");
  std::vector<int> rows(9), columns(9);
  int n_horizontal = 0, n_vertical = 0;
  for (const AugmentRecord& r : records_of(crop, many_ids(kN))) {
    ASSERT_TRUE(r.copies);
    ASSERT_EQ(r.matrix[0][2], std::round(r.matrix[0][2]));
    ++columns.at(static_cast<size_t>(r.matrix[0][2] + 4));
    ++rows.at(static_cast<size_t>(r.matrix[1][2] + 4));
    n_horizontal += r.matrix[0][0] < 0;
    n_vertical += r.matrix[1][1] < 0;
  }
  for (const std::vector<int>& counts : {rows, columns}) {
    double chi2 = 0;
    for (const int count : counts) chi2 += (count - 1000.0) * (count - 1000.0) / 1000;
    EXPECT_LT(chi2, 26.1);  // 8 degrees of freedom, 0.1 %
  }
  EXPECT_NEAR(n_horizontal / 9000.0, 0.3, 5 * std::sqrt(0.3 * 0.7 / kN));
  EXPECT_NEAR(n_vertical / 9000.0, 0.5, 5 * std::sqrt(0.25 / kN));
}

TEST(Augment, NumbersLieInTheirRanges) {
  constexpr int64_t kN = 4000;
  double sum = 0, least = 1e9, most = -1e9;
  for (const AugmentRecord& r : records_of(augmentation_of("[{affine: [-10, 30]}]"), many_ids(kN))) {
    const double degrees = std::atan2(r.matrix[0][1], r.matrix[0][0]) * 57.29577951;
    sum += degrees, least = std::min(least, degrees), most = std::max(most, degrees);
  }
  EXPECT_NEAR(sum / kN, 10, 1);
  EXPECT_NEAR(least, -10, 0.1);
  EXPECT_NEAR(most, 30, 0.1);

  int n_happened = 0;
  for (const AugmentRecord& r :
       records_of(augmentation_of("[{gaussian_noise: {sigma: [2, 4], p: 0.25}}]"), many_ids(kN))) {
    n_happened += r.noise > 0;
    EXPECT_TRUE(r.noise == 0 || (r.noise >= 2 && r.noise <= 4));
    EXPECT_EQ(r.alters, r.noise > 0);
  }
  EXPECT_NEAR(n_happened, kN * 0.25, 5 * std::sqrt(kN * 0.1875));

  n_happened = 0;
  for (const AugmentRecord& r : records_of(augmentation_of("[random_erasing]"), many_ids(kN))) {
    if (r.erase_height == 0) continue;
    ++n_happened;
    const double area = r.erase_height * r.erase_width / 1024.0, ratio = 1.0 * r.erase_height / r.erase_width;
    EXPECT_TRUE(area > 0.01 && area < 0.36 && ratio > 0.2 && ratio < 5) << area << " " << ratio;
    EXPECT_TRUE(r.erase_top >= 0 && r.erase_top + r.erase_height <= 32);
    EXPECT_TRUE(r.erase_left >= 0 && r.erase_left + r.erase_width <= 32);
  }
  EXPECT_NEAR(n_happened, kN * 0.5, 5 * std::sqrt(kN * 0.25));

  const Augmentation resized =
      augmentation_of("[{random_resized_crop: {size: 20, scale: [0.2, 0.8]}}]", {3, 64, 48});
  for (const AugmentRecord& r : records_of(resized, many_ids(kN))) {
    const double width = 20.0 * r.matrix[0][0], height = 20.0 * r.matrix[1][1];
    EXPECT_NEAR(width, std::round(width), 1e-4);
    const double area = width * height / (64 * 48), ratio = width / height;
    EXPECT_TRUE(area > 0.18 && area < 0.82 && ratio > 0.72 && ratio < 1.39) << area << " " << ratio;
    EXPECT_LE(std::abs(r.matrix[0][2]) + width / 2, 24.001);
    EXPECT_LE(std::abs(r.matrix[1][2]) + height / 2, 32.001);
  }
}

TEST(Augment, ComposesInTheOrderOfTheList) {
  const RandomStream random(1, RandomPurpose::kAugment, 0, 0);
  const Affine turn{0, -1, 0, 1, 0, 0}, shift{1, 0, 5, 0, 1, 2}, stretch{2, 0, 0, 0, 0.5, 1};
  AugmentDraw draw(random, {10, 10}, 0, 1);
  draw.move(turn, {10, 10});
  draw.move(shift, {10, 10});
  draw.move(stretch, {10, 10});
  // A place of the result: what stretch makes of it is a place before it, and so on.
  const AugmentRecord r = draw.finish();
  const double x = 3, y = -4, x1 = 2 * x, y1 = 0.5 * y + 1, x2 = x1 + 5, y2 = y1 + 2, x3 = -y2, y3 = x2;
  EXPECT_FLOAT_EQ(static_cast<float>(r.matrix[0][0] * x + r.matrix[0][1] * y + r.matrix[0][2]),
                  static_cast<float>(x3));
  EXPECT_FLOAT_EQ(static_cast<float>(r.matrix[1][0] * x + r.matrix[1][1] * y + r.matrix[1][2]),
                  static_cast<float>(y3));
  const Affine back = shift.after(turn).after(stretch).inverse().after(shift.after(turn).after(stretch));
  for (const auto& [actual, expected] :
       {std::pair{back.a, 1.0}, {back.b, 0.0}, {back.c, 0.0}, {back.e, 1.0}, {back.f, 0.0}})
    EXPECT_NEAR(actual, expected, 1e-12);

  AugmentDraw colours(random, {1, 1}, 0, 255);
  colours.mix({{{2, 0, 0}, {0, 2, 0}, {0, 0, 2}}}, {10, 10, 10});
  colours.mix({{{0, 1, 0}, {1, 0, 0}, {0, 0, 1}}}, {0, 5, 0});
  const AugmentRecord c = colours.finish();
  EXPECT_EQ(c.mixing[0][1], 2);
  EXPECT_EQ(c.mixing[1][0], 2);
  EXPECT_EQ(c.offset[0], 10);
  EXPECT_EQ(c.offset[1], 15);
}

TEST(Augment, DirectionsAreThoseOfTheField) {
  // 3x3, counted row by row.
  const std::vector<float> image = {1, 2, 3, 4, 5, 6, 7, 8, 9};
  const auto see = [&](const std::string& list) {
    std::vector<float> seen = applied(augmentation_of(list, {1, 3, 3}, DType::kFloat32), image);
    for (float& value : seen) value = std::round(value * 1000) / 1000;
    return seen;
  };
  EXPECT_EQ(see("[{reflect: {horizontal: 1}}]"), (std::vector<float>{3, 2, 1, 6, 5, 4, 9, 8, 7}));
  EXPECT_EQ(see("[{reflect: {vertical: 1}}]"), (std::vector<float>{7, 8, 9, 4, 5, 6, 1, 2, 3}));
  EXPECT_EQ(see("[{affine: [90, 90]}]"), (std::vector<float>{7, 4, 1, 8, 5, 2, 9, 6, 3}));  // clockwise
  EXPECT_EQ(see("[{affine: {scale: [2, 2]}}]"), (std::vector<float>{3, 3.5, 4, 4.5, 5, 5.5, 6, 6.5, 7}));
  EXPECT_EQ(see("[{affine: {stretch: 4}}]"), (std::vector<float>{0, 0, 0, 4.5, 5, 5.5, 0, 0, 0}));
  EXPECT_EQ(see("[{lens_distortion: [1, 1]}]"), (std::vector<float>{0, 1, 0, 2, 5, 3, 0, 4, 0}));
}

TEST(Augment, CropsOfASizeAreWindows) {
  const std::vector<float> image = ramp(2 * 7 * 9);
  const Augmentation crop = augmentation_of("[{random_crop: {size: [4, 5]}}]", {2, 7, 9}, DType::kFloat32);
  bool moved = false;
  for (int64_t id = 0; id < 20; ++id) {
    const std::vector<float> out = applied(crop, image, id);
    ASSERT_EQ(out.size(), 40u);
    const AugmentRecord r = records_of(crop, {id})[0];
    const auto left = static_cast<int64_t>(r.matrix[0][2] + 2),
               top = static_cast<int64_t>(r.matrix[1][2] + 1.5f);
    moved = moved || left != 2;
    for (int64_t c = 0; c < 2; ++c)
      for (int64_t y = 0; y < 4; ++y)
        for (int64_t x = 0; x < 5; ++x)
          ASSERT_EQ(out[static_cast<size_t>((c * 4 + y) * 5 + x)],
                    image[static_cast<size_t>((c * 7 + top + y) * 9 + left + x)]);
  }
  EXPECT_TRUE(moved);
}

TEST(Augment, SequencesGoFasterOrSlower) {
  std::vector<float> wave(200);
  for (size_t i = 0; i < 100; ++i) wave[i] = static_cast<float>(i), wave[100 + i] = -static_cast<float>(i);
  const Augmentation speed =
      augmentation_of("[{speed: {range: [0.8, 1.25], padding_mode: edge}}]", {2, 100}, DType::kFloat32);
  for (int64_t id = 0; id < 5; ++id) {
    const double factor = records_of(speed, {id})[0].matrix[0][0];
    EXPECT_TRUE(factor >= 0.8 && factor <= 1.25);
    const std::vector<float> out = applied(speed, wave, id);
    for (size_t i = 0; i < 100; ++i) {
      const double expected = std::clamp(49.5 + factor * (static_cast<double>(i) - 49.5), 0.0, 99.0);
      ASSERT_NEAR(out[i], expected, 1e-3);
      ASSERT_NEAR(out[100 + i], -expected, 1e-3);
    }
  }
  EXPECT_EQ(applied(augmentation_of("[{random_crop: 3}]", {2, 100}, DType::kFloat32), wave).size(), 200u);
}

TEST(Augment, ColoursKeepWhatTheyShould) {
  // Greys stay grey under saturation and hue (torchvision's shares add up to 0.9999); a factor of 1 changes
  // nothing.
  const std::vector<float> greys = {10, 100, 200, 250, 10, 100, 200, 250, 10, 100, 200, 250};
  const Augmentation hue =
      augmentation_of("[{color_jitter: {saturation: 0.9, hue: 0.5}}]", {3, 2, 2}, DType::kFloat32);
  for (int64_t id = 0; id < 10; ++id) {
    const std::vector<float> out = applied(hue, greys, id);
    for (size_t i = 0; i < out.size(); ++i) ASSERT_NEAR(out[i], greys[i], 0.05);
  }
  const std::vector<float> image = ramp(12);
  const std::vector<float> brighter = applied(
      augmentation_of("[{color_jitter: {brightness: [1.5, 1.5]}}]", {3, 2, 2}, DType::kFloat32), image);
  for (size_t i = 0; i < image.size(); ++i) EXPECT_FLOAT_EQ(brighter[i], 1.5f * image[i]);
  const std::vector<float> grey =
      applied(augmentation_of("[{color_jitter: {saturation: [0, 0]}}]", {3, 2, 2}, DType::kFloat32), image);
  for (size_t i = 0; i < 4; ++i) {
    EXPECT_NEAR(grey[i], 0.2989 * image[i] + 0.587 * image[4 + i] + 0.114 * image[8 + i], 1e-3);
    EXPECT_NEAR(grey[4 + i], grey[i], 1e-4);
  }
}

}  // namespace
}  // namespace lockstep
