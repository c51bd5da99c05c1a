// Augmentation against the naive float64 reference over sizes, channels, types and borders; crops and
// reflections exactly; the noise's distribution.
#include "kernels/augment.h"

#include <cmath>
#include <cstring>

#include "kernels/augment_pixel.h"
#include "kernels/error.h"
#include "tests/reference/augment.h"
#include "tests/support/layouts.h"

namespace lockstep {
namespace {

using Records = std::vector<AugmentRecord>;

/// A record that moves whole pixels.
AugmentRecord moved(float x, float y, float sign_x = 1, float sign_y = 1) {
  AugmentRecord r;
  r.matrix[0][0] = sign_x;
  r.matrix[1][1] = sign_y;
  r.matrix[0][2] = x;
  r.matrix[1][2] = y;
  r.copies = 1;
  return r;
}
AugmentRecord turned(float degrees, float scale, float radial = 0) {
  const float a = degrees * 0.017453293f;
  AugmentRecord r;
  r.matrix[0][0] = scale * std::cos(a);
  r.matrix[0][1] = -scale * std::sin(a);
  r.matrix[1][0] = scale * std::sin(a);
  r.matrix[1][1] = scale * std::cos(a);
  r.matrix[0][2] = 0.3f;
  r.matrix[1][2] = -0.7f;
  r.radial = radial;
  return r;
}
/// Columns stay columns.
AugmentRecord stretched(float x, float y) {
  AugmentRecord r = moved(0.4f, -1.3f);
  r.matrix[0][0] = x;
  r.matrix[1][1] = y;
  r.copies = 0;
  return r;
}
AugmentRecord coloured(AugmentRecord r) {
  const float mixing[3][3] = {{0.7f, 0.2f, 0.05f}, {-0.1f, 1.1f, 0.1f}, {0.0f, 0.3f, 0.8f}};
  std::memcpy(r.mixing, mixing, sizeof mixing);
  r.offset[0] = 20, r.offset[1] = -30, r.offset[2] = 4;
  r.alters = 1;
  return r;
}
AugmentRecord noisy(AugmentRecord r, float deviation, uint32_t id) {
  r.noise = deviation;
  r.noise_key[0] = 77, r.noise_key[1] = 5;
  r.noise_counter[0] = id;
  r.alters = 1;
  return r;
}
AugmentRecord darkened(AugmentRecord r) {
  r.vignette = 0.6f;
  r.alters = 1;
  return r;
}
AugmentRecord erased(AugmentRecord r, int32_t extent, bool to_mean) {
  r.erase_top = extent / 3, r.erase_left = extent / 4;
  r.erase_height = r.erase_width = extent / 2;
  r.erase_value = 90;
  r.erases_to_mean = to_mean;
  return r;
}

Values bytes_of(const Records& records) {
  std::vector<uint8_t> bytes(records.size() * sizeof(AugmentRecord));
  std::memcpy(bytes.data(), records.data(), bytes.size());
  return {bytes.begin(), bytes.end()};
}

Values run(const AugmentDesc& desc, const Records& records, const Values& src) {
  const auto op = make_augment(config_of(desc.dst.dtype), desc);
  const auto n_bytes = static_cast<int64_t>(sizeof(AugmentRecord));
  return run_op(*op, {.src = {{desc.src.shape, src, desc.src.dtype},
                              {{desc.src.shape[0], n_bytes}, bytes_of(records), DType::kUInt8}},
                      .run_backward = false})
      .dst[0];
}

AugmentDesc describe(const Shape& src, const Shape& dst, DType stored = DType::kUInt8,
                     DType dtype = DType::kFloat32) {
  return {.src = {src, stored, nullptr}, .dst = {dst, dtype, nullptr}};
}

// float32 knows a place of a source of 64 pixels to 1e-5 of a pixel, and neighbours differ by up to the
// range.
constexpr double kRounding = 1e-4;

class AugmentTest : public OpTest {
 protected:
  static void judge(const AugmentDesc& desc, const Records& records, double wide, const std::string& what) {
    const Values src = integer_values(desc.src.n_elements(), 3, 0, 255);
    const Values expected = reference::Augment{desc, records, src}.forward();
    expect_close(run(desc, records, src), expected, tolerance_of(desc.dst.dtype, wide),
                 what + " " + desc.src.shape.str() + " -> " + desc.dst.shape.str());
  }
};

struct Sizes {
  Shape src, dst;
};
// Extents of 1 and odd ones, around the vector width and multiples of four, smaller and larger outputs.
const Sizes kSizes[] = {{{3, 3, 8, 8}, {3, 3, 8, 8}},     {{3, 1, 7, 9}, {3, 1, 7, 9}},
                        {{3, 2, 5, 17}, {3, 2, 5, 17}},   {{3, 3, 12, 16}, {3, 3, 8, 11}},
                        {{3, 3, 6, 5}, {3, 3, 9, 12}},    {{3, 5, 1, 33}, {3, 5, 1, 33}},
                        {{3, 3, 33, 1}, {3, 3, 33, 1}},   {{3, 1, 1, 1}, {3, 1, 1, 1}},
                        {{3, 3, 20, 40}, {3, 3, 19, 37}}, {{3, 4, 64, 64}, {3, 4, 64, 64}}};
constexpr AugmentBorder kBorders[] = {AugmentBorder::kConstant, AugmentBorder::kEdge,
                                      AugmentBorder::kReflect};

TEST_F(AugmentTest, AgreesWithReference) {
  for (const Sizes& sizes : kSizes)
    for (const AugmentBorder border : kBorders)
      for (const DType stored : {DType::kUInt8, DType::kFloat32})
        for (const DType dtype : kTypes) {
          AugmentDesc desc = describe(sizes.src, sizes.dst, stored, dtype);
          desc.border = border;
          desc.fill = 60;
          desc.mean = {120};
          desc.scale = {1 / 64.0f};
          judge(desc, {turned(20, 0.9f), turned(-130, 1.7f), turned(5, 1, -0.2f)}, kRounding, "geometry");
          judge(desc, {stretched(0.7f, 1.2f), stretched(-1, 1), coloured(stretched(3, -4))}, kRounding,
                "upright");
          judge(desc, {coloured(turned(20, 0.9f)), darkened(turned(0, 1)), noisy(turned(90, 1), 9, 4)},
                kRounding, "colours");
        }
}

TEST_F(AugmentTest, EveryChannelHasItsMeanAndScale) {
  AugmentDesc desc = describe({2, 3, 9, 10}, {2, 3, 9, 10});
  desc.mean = {100, 110, 120};
  desc.scale = {1 / 50.0f, 1 / 60.0f, 1 / 70.0f};
  judge(desc, {turned(10, 1), coloured(noisy(darkened(moved(1, 2)), 3, 1))}, kRounding, "three");
  const auto extent = static_cast<int32_t>(9);
  judge(desc, {erased(turned(10, 1), extent, true), erased(moved(0, 1), extent, false)}, kRounding, "erased");
}

TEST_F(AugmentTest, WholePixelsAreCopiedExactly) {
  for (const Sizes& sizes : kSizes)
    for (const AugmentBorder border : kBorders)
      for (const DType stored : {DType::kUInt8, DType::kFloat32})
        for (const float shift : {0.0f, 2.0f, -3.0f, 70.0f, -70.0f}) {
          AugmentDesc desc = describe(sizes.src, sizes.dst, stored);
          desc.border = border;
          desc.fill = 7;
          // Places are whole where outputs and sources differ by odd numbers of pixels.
          const float half_x = (sizes.src[3] - sizes.dst[3]) % 2 == 0 ? 0.0f : 0.5f;
          const float half_y = (sizes.src[2] - sizes.dst[2]) % 2 == 0 ? 0.0f : 0.5f;
          Records records{moved(shift + half_x, half_y), moved(half_x, shift - half_y, -1, 1),
                          moved(1 + half_x, shift + half_y, -1, -1)};
          judge(desc, records, 0, "copy");
          for (AugmentRecord& r : records) r.copies = 0;  // the general way meets the same pixels
          judge(desc, records, 0, "gather");
        }
}

TEST_F(AugmentTest, QuarterTurnsAreExact) {
  for (const AugmentBorder border : kBorders) {
    AugmentDesc desc = describe({2, 3, 9, 9}, {2, 3, 9, 9});
    desc.border = border;
    AugmentRecord turn;
    turn.matrix[0][0] = turn.matrix[1][1] = 0;
    turn.matrix[0][1] = 1;
    turn.matrix[1][0] = -1;
    AugmentRecord there = turn;
    there.matrix[0][2] = 3;
    judge(desc, {turn, there}, 0, "turn");
  }
}

TEST_F(AugmentTest, AlteredCopiesAreClampedAsBytesAre) {
  const AugmentDesc bytes = describe({3, 3, 6, 7}, {3, 3, 6, 7});
  AugmentRecord bright = coloured(moved(1, 0));
  bright.offset[0] = 200, bright.offset[1] = -200;
  judge(bytes, {bright, noisy(moved(0, 0), 80, 2), darkened(moved(0, 0, -1))}, 1e-5, "bytes");
  const Values out = run(bytes, {bright, bright, bright}, integer_values(378, 3, 0, 255));
  EXPECT_EQ(*std::max_element(out.begin(), out.end()), 255);
  EXPECT_EQ(*std::min_element(out.begin(), out.end()), 0);
  judge(describe({3, 3, 6, 7}, {3, 3, 6, 7}, DType::kFloat32), {bright, bright, bright}, 1e-5, "floats");
}

TEST_F(AugmentTest, PaddingRowsAreZero) {
  AugmentDesc desc = describe({2, 3, 5, 5}, {2, 3, 5, 5});
  desc.mean = {50};
  Records records{moved(0, 0), coloured(moved(0, 0))};
  records[1].is_padding = 1;
  judge(desc, records, 1e-6, "padding");
}

TEST_F(AugmentTest, BitsDoNotDependOnThreadsNorOnNeighbours) {
  const Shape shape{5, 3, 64, 65};
  const AugmentDesc desc = describe(shape, shape);
  const Values src = integer_values(shape.n_elements(), 3, 0, 255);
  const Records records{turned(10, 1), moved(2, 1), coloured(noisy(turned(3, 1), 5, 3)),
                        darkened(moved(0, 0)), turned(-40, 0.8f)};
  const int before = compute_threads();
  std::vector<Values> outputs;
  for (const int threads : {1, 2, 5}) {
    set_compute_threads(threads);
    outputs.push_back(run(desc, records, src));
  }
  set_compute_threads(before);
  for (const Values& out : outputs) expect_close(out, outputs[0], 0, "threads");
  const int64_t sample = shape.n_elements() / 5;
  for (int64_t n = 0; n < 5; ++n) {
    const Shape one{1, 3, 64, 65};
    const Values alone = run(describe(one, one), {records[static_cast<size_t>(n)]},
                             Values(src.begin() + n * sample, src.begin() + (n + 1) * sample));
    expect_close(alone, Values(outputs[0].begin() + n * sample, outputs[0].begin() + (n + 1) * sample), 0,
                 "alone");
  }
}

TEST_F(AugmentTest, NoiseIsNormal) {
  const auto root = [](float w) { return std::sqrt(w); };
  Values actual, expected;
  for (uint64_t i = 0; i < 4000; ++i) {
    const auto word = static_cast<uint32_t>(i * 1073741 + (i % 7 == 0 ? i : 0));
    actual.push_back(normal_of_bits(word, root));
    expected.push_back(reference::Augment::normal(word));
  }
  for (const uint32_t word : {0u, 511u, 512u, 0x7FFFFFFFu, 0x80000000u, 0xFFFFFFFFu}) {
    actual.push_back(normal_of_bits(word, root));
    expected.push_back(reference::Augment::normal(word));
  }
  expect_close(actual, expected, 3e-6, "quantiles");
  double moments[4] = {};
  constexpr int64_t kN = 200000;
  const RandomStream stream(1, RandomPurpose::kAugment, 2, 3);
  for (int64_t i = 0; i < kN; ++i) {
    double power = 1;
    for (double& moment : moments)
      moment += (power *= normal_of_bits(stream.bits(static_cast<uint64_t>(i)), root)) / kN;
  }
  const double bound = 5 / std::sqrt(static_cast<double>(kN));
  EXPECT_NEAR(moments[0], 0, bound);
  EXPECT_NEAR(moments[1], 1, bound * std::sqrt(2.0));
  EXPECT_NEAR(moments[2], 0, bound * std::sqrt(15.0));
  EXPECT_NEAR(moments[3], 3, bound * std::sqrt(96.0));
}

TEST_F(AugmentTest, RefusesWhatHasNoMeaning) {
  const Shape image{2, 3, 4, 4};
  const auto refuses = [](const AugmentDesc& desc) {
    EXPECT_THROW(make_augment(test_config(), desc), Error);
    count_comparisons(1);
  };
  refuses(describe({2, 3, 16}, {2, 3, 16}));
  refuses(describe(image, {2, 1, 4, 4}));
  refuses(describe(image, image, DType::kInt64));
  refuses(describe(image, image, DType::kUInt8, DType::kUInt8));
  AugmentDesc desc = describe(image, image);
  desc.mean = {1, 2};
  refuses(desc);
}

}  // namespace
}  // namespace lockstep
