// `lockstep --version`: what a report of a fault has to say.
#include "jobs/version.h"

#include <fmt/format.h>

#include "comm/communicator.h"
#include "io/formats/image_formats.h"
#include "io/hdf5/hdf5_version.h"
#include "jobs/commit.h"
#include "kernels/cpu_library.h"
#include "kernels/device.h"

namespace lockstep {

std::string version_text() {
  std::string text = fmt::format("lockstep {} (commit {})\n", LOCKSTEP_VERSION, kCommit);
  const auto add = [&](const char* what, const std::string& which) {
    text += fmt::format("  {:10} {}\n", what, which);
  };
  add("compiler", fmt::format("{} {}, C++{}, {}", LOCKSTEP_COMPILER, __VERSION__, __cplusplus / 100 % 100,
                              LOCKSTEP_BUILD_TYPE));
  add("MPI", mpi_library_version());
  add("HDF5", hdf5_version());
  add("oneDNN", cpu_library_version());
  std::string images;
  for (const detail::ImageFormat& format : detail::image_formats()) {
    images += fmt::format("{}{}{}", images.empty() ? "" : ", ", format.is_read() ? "" : "no ", format.name);
    if (!format.decoder.decoded_by.empty()) images += " (" + format.decoder.decoded_by + ")";
  }
  add("images", images);
  add("CUDA",
      cuda_device_count() > 0 ? fmt::format("{} devices", cuda_device_count()) : "none: " + why_no_cuda());
  return text;
}

}  // namespace lockstep
