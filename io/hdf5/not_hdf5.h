// Why a file is none that HDF5 opens, and what helps: files of other formats, files that are being written,
// locks, limits of the system.
#pragma once

#include <string>

#include "kernels/error.h"

namespace lockstep {

/// Throws Error naming `path`, what it is, and the remedy. `error`: what opening it as HDF5 said.
[[noreturn]] void refuse_file(const std::string& path, const Error& error);

}  // namespace lockstep
