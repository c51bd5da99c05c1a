// `lockstep --version`: what a report of a fault has to say.
#include "jobs/version.h"

#include <fmt/format.h>

#include "io/formats/images/image_formats.h"
#include "kernels/device.h"
#include "src/run/checkpoints/versions.h"

namespace lockstep {

std::string version_text() {
  std::string text;
  const auto add = [&](const std::string& what, const std::string& which) {
    text += fmt::format("  {:12} {}\n", what, which);
  };
  const bool has_cuda = !library_versions(Device::Kind::kCuda).empty();
  for (const Version& version : versions_of(has_cuda ? Device::Kind::kCuda : Device::Kind::kCpu)) {
    if (text.empty())
      text = fmt::format("lockstep {}\n", version.value);
    else
      add(version.name, version.value);
  }
  std::string images;
  for (const detail::ImageFormat& format : detail::image_formats()) {
    images += fmt::format("{}{}{}", images.empty() ? "" : ", ", format.is_read() ? "" : "no ", format.name);
    if (!format.decoder.decoded_by.empty()) images += " (" + format.decoder.decoded_by + ")";
  }
  add("images", images);
  add("GPUs", cuda_device_count() > 0 ? fmt::format("{}", cuda_device_count()) : "none: " + why_no_cuda());
  return text;
}

}  // namespace lockstep
