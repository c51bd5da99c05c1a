#include "io/hdf5/hdf5_version.h"

#include <fmt/format.h>

#include "io/hdf5/hdf5.h"

namespace lockstep {

std::string hdf5_version() {
  const auto guard = h5::lock();
  unsigned major = 0, minor = 0, release = 0;
  H5get_libversion(&major, &minor, &release);
  const std::string runs = fmt::format("{}.{}.{}", major, minor, release);
  const std::string built = fmt::format("{}.{}.{}", H5_VERS_MAJOR, H5_VERS_MINOR, H5_VERS_RELEASE);
  return runs == built ? runs : fmt::format("{} (compiled against {})", runs, built);
}

}  // namespace lockstep
