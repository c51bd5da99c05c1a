// The steps that change values where they are: colours, light, noise, erasing.
#include <cmath>
#include <numbers>

#include "src/data/augment/augment_steps.h"

namespace lockstep {

namespace {

AugmentStep make_color_jitter(Config& options, AugmentSpec&) {
  const Range brightness = read_around(options, "brightness", 1, 0, kLarge);
  const Range contrast = read_around(options, "contrast", 1, 0, kLarge);
  const Range saturation = read_around(options, "saturation", 1, 0, kLarge);
  const Range hue = read_around(options, "hue", 0, -0.5, 0.5);
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

AugmentStep make_color_cast(Config& options, AugmentSpec&) {
  options.positional("shift");
  const Range shift = read_around(options, "shift", 0, -kLarge, kLarge);
  if (shift.is_point(0)) throw options.error("changes nothing", "give shift");
  AugmentStep step;
  step.channels = 3;
  step.apply = [=](AugmentDraw& d) {
    const double red = shift.draw(d), green = shift.draw(d), blue = shift.draw(d);
    d.mix({{{1, 0, 0}, {0, 1, 0}, {0, 0, 1}}}, {red, green, blue});
  };
  return step;
}

AugmentStep make_gaussian_noise(Config& options, AugmentSpec&) {
  options.positional("sigma");
  options.at("sigma");
  const Range sigma = read_between(options, "sigma", {}, 0, kLarge);
  AugmentStep step;
  step.apply = [=](AugmentDraw& d) { d.record.noise = static_cast<float>(sigma.draw(d)); };
  return step;
}

AugmentStep make_vignette(Config& options, AugmentSpec&) {
  options.positional("strength");
  const Range strength = read_between(options, "strength", {0, 0.5}, 0, 1);
  AugmentStep step;
  step.apply = [=](AugmentDraw& d) { d.record.vignette = static_cast<float>(strength.draw(d)); };
  return step;
}

AugmentStep make_random_erasing(Config& options, AugmentSpec&) {
  const Range scale = read_between(options, "scale", {0.02, 0.33}, 0, 1);
  const Range ratio = read_between(options, "ratio", {0.3, 3.3}, kSmall, kLarge);
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

const bool augment_values_registered = augment_steps().add("color_cast", {make_color_cast}) &&
                                       augment_steps().add("color_jitter", {make_color_jitter}) &&
                                       augment_steps().add("gaussian_noise", {make_gaussian_noise}) &&
                                       augment_steps().add("random_erasing", {make_random_erasing}) &&
                                       augment_steps().add("vignette", {make_vignette});

}  // namespace

}  // namespace lockstep
