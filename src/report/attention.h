// Attention maps: for each token that was to be written, how much each token that was read weighed.
#pragma once

#include <string>

namespace lockstep {

/// A <section> of attention.json of a run: {"step": N, "maps": [{"name": …, "rows": […], "columns": […],
/// "weights": [[…], …]}, …]}. "" where the file is absent. Throws Error where it is broken.
std::string attention_html(const std::string& run_folder);

}  // namespace lockstep
