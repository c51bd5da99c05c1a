// What this program is made of.
#pragma once

#include <string>

namespace lockstep {

/// `lockstep --version`: version and commit, compiler, kind of build, and libraries as they run, one a line.
std::string version_text();

}  // namespace lockstep
