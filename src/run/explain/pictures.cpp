#include "src/run/explain/pictures.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "io/files/base64.h"
#include "io/files/metrics.h"

namespace lockstep {

namespace {

/// Means over squares of `factor` pixels, so that the picture becomes no larger than asked.
Picture reduced(Picture picture) {
  const int64_t largest = std::max(picture.width, picture.height);
  const int64_t factor = (largest + kMostPictureSize - 1) / kMostPictureSize;
  if (factor <= 1) return picture;
  Picture small = picture;
  small.width = (picture.width + factor - 1) / factor;
  small.height = (picture.height + factor - 1) / factor;
  small.pixels.assign(static_cast<size_t>(small.width * small.height * small.channels), 0);
  for (int64_t y = 0; y < small.height; ++y)
    for (int64_t x = 0; x < small.width; ++x)
      for (int64_t c = 0; c < small.channels; ++c) {
        int64_t sum = 0, n = 0;
        for (int64_t v = y * factor; v < std::min((y + 1) * factor, picture.height); ++v)
          for (int64_t u = x * factor; u < std::min((x + 1) * factor, picture.width); ++u, ++n)
            sum += picture.pixels[static_cast<size_t>((v * picture.width + u) * picture.channels + c)];
        small.pixels[static_cast<size_t>((y * small.width + x) * small.channels + c)] =
            static_cast<uint8_t>((sum + n / 2) / n);
      }
  return small;
}

uint8_t to_byte(double share) {
  return static_cast<uint8_t>(std::lround(255 * std::clamp(std::isfinite(share) ? share : 0.0, 0.0, 1.0)));
}

}  // namespace

PixelScale::PixelScale(const Shape& image, const Normalization& normalization, double highest)
    : image_(image), normalization_(normalization), highest_(highest) {}

double PixelScale::factor(const std::vector<float>& values, int64_t i, double otherwise) const {
  const auto n = static_cast<int64_t>(values.size());
  if (n == 0) return otherwise;
  if (n == 1) return values[0];
  return values[static_cast<size_t>(n == image_[0] ? i / (image_[1] * image_[2]) : i)];
}

double PixelScale::stored(const float* image, int64_t i) const {
  return image[i] * factor(normalization_.stddev, i, 1) + factor(normalization_.mean, i, 0);
}

void PixelScale::clamp(float* image) const {
  if (highest_ == 0) return;
  for (int64_t i = 0; i < image_.n_elements(); ++i) {
    const double mean = factor(normalization_.mean, i, 0), deviation = factor(normalization_.stddev, i, 1);
    image[i] = static_cast<float>((std::clamp(stored(image, i), 0.0, highest_) - mean) / deviation);
  }
}

Picture PixelScale::picture(const float* image, const std::string& caption) const {
  const int64_t channels = image_[0], height = image_[1], width = image_[2], n = image_.n_elements();
  double low = 0, high = highest_;
  if (highest_ == 0) {
    low = INFINITY, high = -INFINITY;
    for (int64_t i = 0; i < n; ++i)
      low = std::min(low, stored(image, i)), high = std::max(high, stored(image, i));
  }
  Picture picture{caption, width, height, channels, std::vector<uint8_t>(static_cast<size_t>(n)), {}};
  for (int64_t c = 0; c < channels; ++c)
    for (int64_t i = 0; i < height * width; ++i)
      picture.pixels[static_cast<size_t>(i * channels + c)] =
          to_byte(high > low ? (stored(image, c * height * width + i) - low) / (high - low) : 0);
  return reduced(std::move(picture));
}

Picture grey_picture(const float* values, int64_t height, int64_t width, double low, double high,
                     const std::string& caption) {
  Picture picture{caption, width, height, 1, std::vector<uint8_t>(static_cast<size_t>(height * width)), {}};
  for (int64_t i = 0; i < height * width; ++i)
    picture.pixels[static_cast<size_t>(i)] = to_byte(high > low ? (values[i] - low) / (high - low) : 0);
  return reduced(std::move(picture));
}

Picture grey_picture(const float* values, int64_t height, int64_t width, const std::string& caption) {
  const auto [low, high] = std::minmax_element(values, values + height * width);
  return grey_picture(values, height, width, *low, *high, caption);
}

std::string pictures_json(int64_t step, const std::string& data, const std::vector<PictureGroup>& groups) {
  std::string all;
  for (const PictureGroup& group : groups) {
    std::string pictures;
    for (const Picture& picture : group.pictures) {
      JsonObject one;
      const std::string_view bytes(reinterpret_cast<const char*>(picture.pixels.data()),
                                   picture.pixels.size());
      one.set("row", picture.row)
          .set("caption", picture.caption)
          .set("width", picture.width)
          .set("height", picture.height);
      one.set("channels", picture.channels).set("pixels", to_base64(bytes));
      pictures += (pictures.empty() ? "" : ",\n") + one.str();
    }
    JsonObject one;
    one.set("id", group.id).set("title", group.title).set("note", group.note);
    one.set_raw("pictures", "[" + pictures + "]");
    all += (all.empty() ? "" : ",\n") + one.str();
  }
  JsonObject object;
  object.set("kind", "explanation").set("step", step).set("data", data).set_raw("groups", "[" + all + "]");
  return object.str() + "\n";
}

}  // namespace lockstep
