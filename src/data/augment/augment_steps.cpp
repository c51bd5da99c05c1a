// The list `data.augment`: its steps by name, and how their options are read. Names, options and defaults
// are torchvision's where it has them; what differs stands in docs/augmentation.md.
#include "src/data/augment/augment_steps.h"

#include <fmt/format.h>

#include <algorithm>

namespace lockstep {

namespace {

Range checked(const Config& options, const std::string& key, Range range, double least, double most) {
  if (range.low > range.high || range.low < least || range.high > most)
    throw options.error_at(
        key, fmt::format("[{}, {}] is no range within [{}, {}]", range.low, range.high, least, most),
        fmt::format("write {}: [low, high]", key));
  return range;
}

}  // namespace

Family<AugmentStepFactory>& augment_steps() {
  static Family<AugmentStepFactory> family("augmentation", "augmentations");
  return family;
}

Range read_around(const Config& options, const std::string& key, double centre, double least, double most) {
  const std::optional<Config> found = options.find(key);
  if (!found) return {centre, centre};
  if (!found->is_list()) {
    const double v = options.get_double(key);
    if (v < 0)
      throw options.error_at(key, fmt::format("must not be negative, found {}", v),
                             fmt::format("for instance {}: 0.2, or a range [low, high]", key));
    return checked(options, key, {std::max(least, centre - v), centre + v}, least, most);
  }
  const std::vector<double> ends = options.get_doubles(key, {});
  if (ends.size() != 2)
    throw options.error_at(key, "expected two numbers", fmt::format("write {}: [low, high]", key));
  return checked(options, key, {ends[0], ends[1]}, least, most);
}

Range read_between(const Config& options, const std::string& key, std::vector<double> fallback, double least,
                   double most) {
  const std::optional<Config> found = options.find(key);
  if (found && !found->is_list()) fallback = {options.get_double(key)};
  const std::vector<double> ends = found && found->is_list() ? options.get_doubles(key, {}) : fallback;
  if (ends.empty() || ends.size() > 2)
    throw options.error_at(key, "expected one number or two", fmt::format("write {}: [low, high]", key));
  return checked(options, key, {ends[0], ends.back()}, least, most);
}

double read_probability(const Config& options, const std::string& key, double fallback) {
  const double p = options.get_double(key, fallback);
  if (p < 0 || p > 1) throw options.error_at(key, "must lie in [0, 1]", "it is how often this happens");
  return p;
}

Extents read_size(const Config& options) {
  const std::vector<int64_t> size = options.get_ints("size", {0});
  if (size.empty() || size.size() > 2 ||
      *std::min_element(size.begin(), size.end()) < (options.has("size") ? 1 : 0))
    throw options.error_at("size", "expected one extent or two, at least 1", "write size: [height, width]");
  return {size[0], size.back()};
}

AugmentSpec read_augment(const Config& data) {
  AugmentSpec spec;
  const std::optional<Config> list = data.find("augment");
  spec.input = data.get_string("augment_input", "");
  if (!list) {
    if (!spec.input.empty())
      throw data.error_at("augment_input", "there is no list `augment`",
                          "leave it out, or add for instance augment: [reflect]");
    return spec;
  }
  bool has_lens = false, has_erased = false;
  for (const Config& item : list->items()) {
    const Config::Named named = item.named();
    const AugmentStepFactory& factory = augment_steps().at(named.name, item);
    Config& options = *named.options;
    AugmentStep step = factory.make(options, spec);
    step.name = named.name;
    step.text = item.dump();
    step.text.pop_back();
    std::replace(step.text.begin(), step.text.end(), '\n', ' ');
    if (factory.has_p) step.p = read_probability(options, "p", step.p);
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
