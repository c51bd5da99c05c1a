// The steps of `data.augment`: their options, and what each draws for a sample. Names, options and defaults
// are torchvision's where it has them; what differs stands in docs/augmentation.md.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numbers>

#include "src/augment.h"

namespace lockstep {

namespace {

struct Range {
  double low = 0, high = 0;
  bool is_point(double value) const { return low == value && high == value; }
  double draw(AugmentDraw& d) const { return d.uniform(low, high); }
};

Range checked(const Config& options, const std::string& key, Range range, double least, double most) {
  if (range.low > range.high || range.low < least || range.high > most)
    throw options.error_at(
        key, fmt::format("[{}, {}] is no range within [{}, {}]", range.low, range.high, least, most),
        fmt::format("write {}: [low, high]", key));
  return range;
}

/// [low, high], or one number v for [centre - v, centre + v], cut off at `least`.
Range around(const Config& options, const std::string& key, double centre, double least, double most) {
  const std::optional<Config> found = options.find(key);
  if (!found) return {centre, centre};
  if (!found->is_list()) {
    const double v = options.get_double(key);
    if (v < 0) throw options.error_at(key, "must not be negative");
    return checked(options, key, {std::max(least, centre - v), centre + v}, least, most);
  }
  const std::vector<double> ends = options.get_doubles(key, {});
  if (ends.size() != 2)
    throw options.error_at(key, "expected two numbers", fmt::format("write {}: [low, high]", key));
  return checked(options, key, {ends[0], ends[1]}, least, most);
}

/// [low, high], or one number for both.
Range between(const Config& options, const std::string& key, std::vector<double> fallback, double least,
              double most) {
  const std::optional<Config> found = options.find(key);
  if (found && !found->is_list()) fallback = {options.get_double(key)};
  const std::vector<double> ends = found && found->is_list() ? options.get_doubles(key, {}) : fallback;
  if (ends.empty() || ends.size() > 2)
    throw options.error_at(key, "expected one number or two", fmt::format("write {}: [low, high]", key));
  return checked(options, key, {ends[0], ends.back()}, least, most);
}

constexpr double kLarge = 1e6, kSmall = 1e-6;

double read_probability(const Config& options, const std::string& key, double fallback) {
  const double p = options.get_double(key, fallback);
  if (p < 0 || p > 1) throw options.error_at(key, "must lie in [0, 1]", "it is how often this happens");
  return p;
}

/// One number, or [height, width]; 0, 0 where it is absent.
Extents read_size(const Config& options) {
  const std::vector<int64_t> size = options.get_ints("size", {0});
  if (size.size() > 2 || *std::min_element(size.begin(), size.end()) < (options.has("size") ? 1 : 0))
    throw options.error_at("size", "expected one extent or two, at least 1", "write size: [height, width]");
  return {size[0], size.back()};
}

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

AugmentStep random_crop(Config& options, AugmentSpec& spec) {
  options.positional("padding");
  const int64_t padding = options.get_int("padding", 0);
  if (padding < 0) throw options.error_at("padding", "must not be negative");
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

AugmentStep random_resized_crop(Config& options, AugmentSpec&) {
  options.positional("size");
  const Range scale = between(options, "scale", {0.08, 1}, kSmall, 1);
  const Range ratio = between(options, "ratio", {3.0 / 4, 4.0 / 3}, kSmall, kLarge);
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

AugmentStep reflect(Config& options, AugmentSpec&) {
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

AugmentStep affine(Config& options, AugmentSpec& spec) {
  options.positional("degrees");
  const Range degrees = around(options, "degrees", 0, -360, 360);
  const Range scale = around(options, "scale", 1, kSmall, kLarge);
  const Range shear = around(options, "shear", 0, -80, 80);
  const Range stretch = between(options, "stretch", {1}, kSmall, kLarge);
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

AugmentStep speed(Config& options, AugmentSpec& spec) {
  options.positional("range");
  const Range factor = around(options, "range", 1, 0.01, 100);
  AugmentStep step;
  step.sets_border = read_border(options, spec);
  step.moves_pixels = true;
  step.apply = [=](AugmentDraw& d) { d.move(scaled(factor.draw(d), 1), d.extents); };
  return step;
}

AugmentStep lens_distortion(Config& options, AugmentSpec& spec) {
  options.positional("strength");
  const Range strength = around(options, "strength", 0, -0.5, 10);
  AugmentStep step;
  step.sets_border = read_border(options, spec);
  step.moves_pixels = true;
  step.apply = [=](AugmentDraw& d) { d.record.radial = static_cast<float>(strength.draw(d)); };
  return step;
}

AugmentStep color_jitter(Config& options, AugmentSpec&) {
  const Range brightness = around(options, "brightness", 1, 0, kLarge);
  const Range contrast = around(options, "contrast", 1, 0, kLarge);
  const Range saturation = around(options, "saturation", 1, 0, kLarge);
  const Range hue = around(options, "hue", 0, -0.5, 0.5);
  if (brightness.is_point(1) && contrast.is_point(1) && saturation.is_point(1) && hue.is_point(0))
    throw options.error("changes nothing", "give brightness, contrast, saturation or hue");
  const bool has_colours = !saturation.is_point(1) || !hue.is_point(0);
  AugmentStep step;
  step.channels = has_colours ? 3 : 0;
  step.apply = [=](AugmentDraw& d) {
    const double light = brightness.draw(d), steep = contrast.draw(d), grey = (d.low + d.high) / 2;
    const double factor = light * steep, shift = (1 - steep) * grey;
    d.mix({{{factor, 0, 0}, {0, factor, 0}, {0, 0, factor}}}, {shift, shift, shift});
    if (!has_colours) return;
    const double s = saturation.draw(d);
    const double r = 0.2989 * (1 - s), g = 0.587 * (1 - s), b = 0.114 * (1 - s);  // torchvision's grey
    d.mix({{{s + r, g, b}, {r, s + g, b}, {r, g, s + b}}}, {});
    // hueRotate of W3C's Filter Effects: linear, greys stay.
    const double turn = 2 * std::numbers::pi * hue.draw(d), c = std::cos(turn), n = std::sin(turn);
    d.mix({{{0.213 + c * 0.787 - n * 0.213, 0.715 - c * 0.715 - n * 0.715, 0.072 - c * 0.072 + n * 0.928},
            {0.213 - c * 0.213 + n * 0.143, 0.715 + c * 0.285 + n * 0.140, 0.072 - c * 0.072 - n * 0.283},
            {0.213 - c * 0.213 - n * 0.787, 0.715 - c * 0.715 + n * 0.715, 0.072 + c * 0.928 + n * 0.072}}},
          {});
  };
  return step;
}

AugmentStep color_cast(Config& options, AugmentSpec&) {
  options.positional("shift");
  const Range shift = around(options, "shift", 0, -kLarge, kLarge);
  AugmentStep step;
  step.channels = 3;
  step.apply = [=](AugmentDraw& d) {
    const double red = shift.draw(d), green = shift.draw(d), blue = shift.draw(d);
    d.mix({{{1, 0, 0}, {0, 1, 0}, {0, 0, 1}}}, {red, green, blue});
  };
  return step;
}

AugmentStep gaussian_noise(Config& options, AugmentSpec&) {
  options.positional("sigma");
  options.at("sigma");
  const Range sigma = between(options, "sigma", {}, 0, kLarge);
  AugmentStep step;
  step.apply = [=](AugmentDraw& d) { d.record.noise = static_cast<float>(sigma.draw(d)); };
  return step;
}

AugmentStep vignette(Config& options, AugmentSpec&) {
  options.positional("strength");
  const Range strength = between(options, "strength", {0, 0.5}, 0, 1);
  AugmentStep step;
  step.apply = [=](AugmentDraw& d) { d.record.vignette = static_cast<float>(strength.draw(d)); };
  return step;
}

AugmentStep random_erasing(Config& options, AugmentSpec&) {
  const Range scale = between(options, "scale", {0.02, 0.33}, 0, 1);
  const Range ratio = between(options, "ratio", {0.3, 3.3}, kSmall, kLarge);
  const std::optional<Config> value = options.find("value");
  const bool to_mean = !value || (value->is_name() && options.get_choice("value", "", {"mean"}) == "mean");
  const double filling = to_mean ? 0 : options.get_double("value");
  AugmentStep step;
  step.p = 0.5;
  step.apply = [=](AugmentDraw& d) {
    const auto h = static_cast<double>(d.extents.height), w = static_cast<double>(d.extents.width);
    for (int i = 0; i < 10; ++i) {  // torchvision's; none fits: nothing is erased
      const double area = h * w * scale.draw(d), aspect = d.log_uniform(ratio.low, ratio.high);
      const auto height = static_cast<int64_t>(std::nearbyint(std::sqrt(area * aspect)));
      const auto width = static_cast<int64_t>(std::nearbyint(std::sqrt(area / aspect)));
      if (height < 1 || width < 1 || height >= d.extents.height || width >= d.extents.width) continue;
      AugmentRecord& r = d.record;
      r.erase_height = static_cast<int32_t>(height);
      r.erase_width = static_cast<int32_t>(width);
      r.erase_top = static_cast<int32_t>(d.whole(d.extents.height - height + 1));
      r.erase_left = static_cast<int32_t>(d.whole(d.extents.width - width + 1));
      r.erase_value = static_cast<float>(filling);
      r.erases_to_mean = to_mean;
      return;
    }
  };
  return step;
}

struct Maker {
  const char* name;
  AugmentStep (*make)(Config&, AugmentSpec&);
  bool has_p;  // crops happen always, reflections have probabilities of their own
};
constexpr Maker kMakers[] = {{"affine", affine, true},
                             {"color_cast", color_cast, true},
                             {"color_jitter", color_jitter, true},
                             {"gaussian_noise", gaussian_noise, true},
                             {"lens_distortion", lens_distortion, true},
                             {"random_crop", random_crop, false},
                             {"random_erasing", random_erasing, true},
                             {"random_resized_crop", random_resized_crop, false},
                             {"reflect", reflect, false},
                             {"speed", speed, true},
                             {"vignette", vignette, true}};

}  // namespace

AugmentSpec read_augment(const Config& data) {
  AugmentSpec spec;
  const std::optional<Config> list = data.find("augment");
  spec.input = data.get_string("augment_input", "");
  if (!list) {
    if (!spec.input.empty()) throw data.error_at("augment_input", "there is no list `augment`");
    return spec;
  }
  bool has_lens = false, has_erased = false;
  for (const Config& item : list->items()) {
    const Config::Named named = item.named();
    const auto maker = std::find_if(std::begin(kMakers), std::end(kMakers),
                                    [&](const Maker& m) { return named.name == m.name; });
    if (maker == std::end(kMakers)) {
      std::vector<std::string> names;
      for (const Maker& m : kMakers) names.emplace_back(m.name);
      throw item.unknown_name("augmentation", "augmentations", named.name, names);
    }
    Config& options = *named.options;
    AugmentStep step = maker->make(options, spec);
    step.name = named.name;
    step.text = item.dump();
    step.text.pop_back();
    std::replace(step.text.begin(), step.text.end(), '\n', ' ');
    if (maker->has_p) step.p = read_probability(options, "p", step.p);
    options.finish();
    // The lens acts on the finished image, and what is erased has its places there.
    if (step.moves_pixels && (has_lens || has_erased))
      throw item.error(fmt::format("stands behind {}, which works on the image's final pixels",
                                   has_lens ? "lens_distortion" : "random_erasing"),
                       "put what moves pixels before it");
    has_lens = has_lens || step.name == "lens_distortion";
    has_erased = has_erased || step.name == "random_erasing";
    spec.steps.push_back(std::move(step));
  }
  return spec;
}

}  // namespace lockstep
