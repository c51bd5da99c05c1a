// The steps that move pixels. Each adds its map, from places behind it to places before it.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numbers>

#include "src/data/augment/augment_steps.h"

namespace lockstep {

namespace {

/// All geometry is one interpolation, so that there is one border. Whether this step says which.
bool read_border(const Config& options, AugmentSpec& spec) {
  const bool has_mode = options.has("padding_mode"), has_fill = options.has("fill");
  if (!has_mode && !has_fill) return false;
  const std::string mode = options.get_choice("padding_mode", "constant", {"constant", "edge", "reflect"});
  const AugmentBorder border = mode == "edge"      ? AugmentBorder::kEdge
                               : mode == "reflect" ? AugmentBorder::kReflect
                                                   : AugmentBorder::kConstant;
  const double fill = options.get_double("fill", 0);
  const bool is_first = std::none_of(spec.steps.begin(), spec.steps.end(),
                                     [](const AugmentStep& step) { return step.sets_border; });
  if (!is_first && (border != spec.border || fill != spec.fill))
    throw options.error("all geometry is one interpolation with one border, and another one was given before",
                        "give padding_mode and fill in one step only");
  spec.border = border;
  spec.fill = fill;
  return true;
}

Affine scaled(double x, double y) { return {x, 0, 0, 0, y, 0}; }
Affine shifted(double x, double y) { return {1, 0, x, 0, 1, y}; }

/// The window of `extents` with its corner at (top, left) of an image.
Affine window(Extents image, Extents extents, double top, double left) {
  return shifted(left + static_cast<double>(extents.width - image.width) / 2,
                 top + static_cast<double>(extents.height - image.height) / 2);
}

/// Evaluation takes the middle of a stored image where training takes windows of a size.
void check_size(Extents image, Extents size) {
  if (size.height > image.height || size.width > image.width)
    throw Error("",
                fmt::format("a size of {}x{} is larger than the images of {}x{}", size.height, size.width,
                            image.height, image.width),
                "store larger images, or use a smaller size");
}

AugmentStep make_random_crop(Config& options, AugmentSpec& spec) {
  options.positional("padding");
  const int64_t padding = options.get_int("padding", 0);
  if (padding < 0)
    throw options.error_at("padding", fmt::format("must not be negative, found {}", padding),
                           "for instance padding: 4");
  const Extents size = read_size(options);
  if (padding == 0 && size.height == 0) throw options.error("crops nothing", "give padding, size or both");
  AugmentStep step;
  step.sets_border = read_border(options, spec);
  step.moves_pixels = true;
  const auto target = [size](Extents image) {
    if (size.height == 0) return image;
    return Extents{image.height == 1 ? 1 : size.height, size.width};
  };
  // Sequences are images of one row, and stay so.
  const auto vertical = [padding](Extents image) { return image.height == 1 ? 0 : padding; };
  step.extents = [=](Extents image) {
    check_size(image, target(image));
    return target(image);
  };
  step.apply = [=](AugmentDraw& d) {
    const Extents after = target(d.extents);
    const int64_t down = vertical(d.extents);
    const int64_t top = d.whole(d.extents.height + 2 * down - after.height + 1) - down;
    const int64_t left = d.whole(d.extents.width + 2 * padding - after.width + 1) - padding;
    d.move(window(d.extents, after, static_cast<double>(top), static_cast<double>(left)), after);
  };
  return step;
}

AugmentStep make_random_resized_crop(Config& options, AugmentSpec&) {
  options.positional("size");
  const Range scale = read_between(options, "scale", {0.08, 1}, kSmall, 1);
  const Range ratio = read_between(options, "ratio", {3.0 / 4, 4.0 / 3}, kSmall, kLarge);
  const Extents size = read_size(options);
  AugmentStep step;
  step.moves_pixels = true;
  step.extents = [=](Extents image) {
    if (image.height == 1) throw Error("", "sequences have no area", "use speed and random_crop");
    check_size(image, size);
    return size.height == 0 ? image : size;
  };
  step.apply = [=](AugmentDraw& d) {
    const Extents image = d.extents, after = size.height == 0 ? image : size;
    const auto h = static_cast<double>(image.height), w = static_cast<double>(image.width);
    // torchvision's: ten tries, then the largest window of an allowed ratio.
    Extents crop{0, 0};
    for (int i = 0; i < 10 && crop.height == 0; ++i) {
      const double area = h * w * scale.draw(d), aspect = d.log_uniform(ratio.low, ratio.high);
      const auto width = static_cast<int64_t>(std::nearbyint(std::sqrt(area * aspect)));
      const auto height = static_cast<int64_t>(std::nearbyint(std::sqrt(area / aspect)));
      if (width > 0 && width <= image.width && height > 0 && height <= image.height) crop = {height, width};
    }
    double top = 0, left = 0;
    if (crop.height > 0) {
      top = static_cast<double>(d.whole(image.height - crop.height + 1));
      left = static_cast<double>(d.whole(image.width - crop.width + 1));
    } else {
      const double aspect = std::clamp(w / h, ratio.low, ratio.high);
      crop = {std::min(image.height, static_cast<int64_t>(std::nearbyint(w / aspect))),
              std::min(image.width, static_cast<int64_t>(std::nearbyint(h * aspect)))};
      top = std::floor(static_cast<double>(image.height - crop.height) / 2);
      left = std::floor(static_cast<double>(image.width - crop.width) / 2);
    }
    d.move(window(image, crop, top, left), crop);
    d.move(scaled(static_cast<double>(crop.width) / static_cast<double>(after.width),
                  static_cast<double>(crop.height) / static_cast<double>(after.height)),
           after);
  };
  return step;
}

AugmentStep make_reflect(Config& options, AugmentSpec&) {
  const double horizontal = read_probability(options, "horizontal", options.has("vertical") ? 0 : 0.5);
  const double vertical = read_probability(options, "vertical", 0);
  AugmentStep step;
  step.moves_pixels = true;
  step.apply = [=](AugmentDraw& d) {
    const double x = d.happens(horizontal) ? -1 : 1, y = d.happens(vertical) ? -1 : 1;
    d.move(scaled(x, y), d.extents);
  };
  return step;
}

AugmentStep make_affine(Config& options, AugmentSpec& spec) {
  options.positional("degrees");
  const Range degrees = read_around(options, "degrees", 0, -360, 360);
  const Range scale = read_around(options, "scale", 1, kSmall, kLarge);
  const Range shear = read_around(options, "shear", 0, -80, 80);
  const Range stretch = read_between(options, "stretch", {1}, kSmall, kLarge);
  const std::vector<double> translate = options.get_doubles("translate", {0, 0});
  if (translate.size() != 2 || translate[0] < 0 || translate[0] > 1 || translate[1] < 0 || translate[1] > 1)
    throw options.error_at("translate", "expected two shares of the extents in [0, 1]",
                           "write translate: [horizontal, vertical], for instance [0.1, 0.1]");
  if (degrees.is_point(0) && scale.is_point(1) && shear.is_point(0) && stretch.is_point(1) &&
      translate[0] == 0 && translate[1] == 0)
    throw options.error("changes nothing", "give degrees, translate, scale, shear or stretch");
  AugmentStep step;
  step.sets_border = read_border(options, spec);
  step.moves_pixels = true;
  step.apply = [=](AugmentDraw& d) {
    const double radians = std::numbers::pi / 180, angle = degrees.draw(d) * radians;
    const double size = scale.draw(d), lean = std::tan(shear.draw(d) * radians);
    const double aspect = std::sqrt(d.log_uniform(stretch.low, stretch.high));
    const auto shift = [&](double share, int64_t extent) {  // whole pixels, as torchvision's
      const double most = share * static_cast<double>(extent);
      return std::nearbyint(d.uniform(-most, most));
    };
    const double x = shift(translate[0], d.extents.width), y = shift(translate[1], d.extents.height);
    Affine map = shifted(x, y);
    if (angle != 0)
      map = map.after({std::cos(angle), -std::sin(angle), 0, std::sin(angle), std::cos(angle), 0});
    map = map.after({1, -lean, 0, 0, 1, 0}).after(scaled(size * aspect, size / aspect));
    d.move(map.inverse(), d.extents);
  };
  return step;
}

AugmentStep make_speed(Config& options, AugmentSpec& spec) {
  options.positional("range");
  const Range factor = read_around(options, "range", 1, 0.01, 100);
  if (factor.is_point(1)) throw options.error("changes nothing", "give range");
  AugmentStep step;
  step.sets_border = read_border(options, spec);
  step.moves_pixels = true;
  step.apply = [=](AugmentDraw& d) { d.move(scaled(factor.draw(d), 1), d.extents); };
  return step;
}

AugmentStep make_lens_distortion(Config& options, AugmentSpec& spec) {
  options.positional("strength");
  const Range strength = read_around(options, "strength", 0, -0.5, 10);
  if (strength.is_point(0)) throw options.error("changes nothing", "give strength");
  AugmentStep step;
  step.sets_border = read_border(options, spec);
  step.moves_pixels = true;
  step.apply = [=](AugmentDraw& d) { d.record.radial = static_cast<float>(strength.draw(d)); };
  return step;
}

const bool augment_geometry_registered =
    augment_steps().add("affine", {make_affine}) &&
    augment_steps().add("lens_distortion", {make_lens_distortion}) &&
    augment_steps().add("random_crop", {make_random_crop, false}) &&
    augment_steps().add("random_resized_crop", {make_random_resized_crop, false}) &&
    augment_steps().add("reflect", {make_reflect, false}) && augment_steps().add("speed", {make_speed});

}  // namespace

}  // namespace lockstep
