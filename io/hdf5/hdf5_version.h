// Which HDF5 library this process runs.
#pragma once

#include <string>

namespace lockstep {

/// "1.10.8"; with the version that it was compiled against where that is another.
std::string hdf5_version();

}  // namespace lockstep
