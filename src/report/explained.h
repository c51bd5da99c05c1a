// Pictures of what a network does: explanation.json of a run, or a page of its own.
#pragma once

#include <string>
#include <vector>

#include "src/report/page.h"

namespace lockstep {

/// The groups of a file that `lockstep explain` wrote, each a part of a page; none where the file is absent.
/// Throws Error where it is broken.
std::vector<PagePart> explained_parts(const std::string& path);

}  // namespace lockstep
