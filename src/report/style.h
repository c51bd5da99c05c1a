// The page's style sheet and script, embedded into every report.
#pragma once

#include <string_view>

namespace lockstep {

/// Light and dark by the reader's preference or data-theme on <html>; light in print.
std::string_view report_css();
/// Values under the pointer in charts, and the theme button; the page is complete without it.
std::string_view report_script();

}  // namespace lockstep
