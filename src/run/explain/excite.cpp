#include "src/run/explain/excite.h"

#include <algorithm>
#include <cmath>

#include "kernels/random.h"

namespace lockstep {

namespace {

constexpr int kAscentSteps = 160, kSmoothEvery = 4, kLastPlainSteps = 8;
constexpr double kNoise = 0.1, kStepSize = 0.15, kShrink = 0.005, kNeighbour = 0.15;
constexpr int64_t kSmallImage = 48;  // pixels; larger ones are shaken further

/// image moved by (dy, dx), what leaves on one side comes in on the other.
void roll(const Shape& shape, int64_t dy, int64_t dx, std::vector<float>& image,
          std::vector<float>& scratch) {
  const int64_t height = shape[1], width = shape[2];
  scratch.resize(image.size());
  for (int64_t c = 0; c < shape[0]; ++c)
    for (int64_t y = 0; y < height; ++y)
      for (int64_t x = 0; x < width; ++x)
        scratch[static_cast<size_t>((c * height + (y + dy + height) % height) * width +
                                    (x + dx + width) % width)] =
            image[static_cast<size_t>((c * height + y) * width + x)];
  image.swap(scratch);
}

/// Each pixel with a share of its four neighbours, at the edges of itself.
void smooth(const Shape& shape, std::vector<float>& image, std::vector<float>& scratch) {
  const int64_t height = shape[1], width = shape[2];
  scratch = image;
  for (int64_t c = 0; c < shape[0]; ++c)
    for (int64_t y = 0; y < height; ++y)
      for (int64_t x = 0; x < width; ++x) {
        const auto at = [&](int64_t v, int64_t u) {
          v = std::clamp<int64_t>(v, 0, height - 1);
          u = std::clamp<int64_t>(u, 0, width - 1);
          return static_cast<double>(scratch[static_cast<size_t>((c * height + v) * width + u)]);
        };
        image[static_cast<size_t>((c * height + y) * width + x)] =
            static_cast<float>((1 - 4 * kNeighbour) * at(y, x) +
                               kNeighbour * (at(y - 1, x) + at(y + 1, x) + at(y, x - 1) + at(y, x + 1)));
      }
}

}  // namespace

Excitement excite(UnitGradient& unit, int64_t channel, const Shape& image, const PixelScale& pixels) {
  const RandomStream noise(1, RandomPurpose::kSynthetic, 0, 0), shakes(1, RandomPurpose::kSynthetic, 1, 0);
  const auto n = static_cast<size_t>(image.n_elements());
  Excitement result;
  result.input.resize(n);
  for (size_t i = 0; i < n; ++i) result.input[i] = static_cast<float>(kNoise * noise.normal(i));
  pixels.clamp(result.input.data());
  std::vector<float> gradient, scratch;
  result.before = unit.at(result.input, channel, gradient);
  const int64_t reach = image[1] <= kSmallImage ? 1 : 4;
  for (int step = 0; step < kAscentSteps; ++step) {
    const auto shake = [&](uint64_t which) {
      return static_cast<int64_t>(shakes.bits(2 * static_cast<uint64_t>(step) + which) % (2 * reach + 1)) -
             reach;
    };
    const int64_t dy = shake(0), dx = shake(1);
    roll(image, dy, dx, result.input, scratch);
    unit.at(result.input, channel, gradient);
    double squares = 0;
    for (const float g : gradient) squares += static_cast<double>(g) * g;
    const double rms = std::sqrt(squares / static_cast<double>(n));
    if (!(rms > 0) || !std::isfinite(rms)) break;  // a unit that nothing reaches
    for (size_t i = 0; i < n; ++i)
      result.input[i] = static_cast<float>((1 - kShrink) * result.input[i] + kStepSize * gradient[i] / rms);
    roll(image, -dy, -dx, result.input, scratch);
    pixels.clamp(result.input.data());
    if (step % kSmoothEvery == kSmoothEvery - 1 && step < kAscentSteps - kLastPlainSteps)
      smooth(image, result.input, scratch);
  }
  result.after = unit.at(result.input, channel, gradient);
  return result;
}

}  // namespace lockstep
