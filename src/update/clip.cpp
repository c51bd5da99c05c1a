#include "src/update/clip.h"

#include <fmt/format.h>

#include "kernels/elementwise.h"

namespace lockstep {

ClipOptions read_clip(const Config& root) {
  ClipOptions clip;
  if (!root.has("clip")) return clip;
  Config options = root.at("clip");
  options.positional("norm");
  clip.norm = options.get_double("norm", 0);
  clip.value = options.get_double("value", 0);
  if (options.has("norm") && options.has("value"))
    throw options.error("norm and value are both given", "clip by one of them");
  for (const auto& [key, value] : {std::pair{"norm", clip.norm}, std::pair{"value", clip.value}}) {
    if (options.has(key) && !(value > 0))
      throw options.error_at(key, fmt::format("must be above 0, found {}", value),
                             "for instance clip: {norm: 1}; leave clip out for none");
  }
  options.finish();
  return clip;
}

Clip::Clip(const ClipOptions& options, Device device) : options_(options) {
  if (options.norm > 0) norm_ = Memory::on_host(device, sizeof(double));
}

void Clip::apply(Stream& stream, int64_t n, float* gradients, double scale) {
  if (options_.norm > 0) clip_norm(stream, n, gradients, scale, options_.norm, norm_.as<double>());
  // The limit is one of the mean, and these are sums.
  if (options_.value > 0) clip_values(stream, n, gradients, static_cast<float>(options_.value / scale));
}

std::optional<double> Clip::norm() const {
  if (options_.norm > 0) return *norm_.as<double>();
  return std::nullopt;
}

}  // namespace lockstep
