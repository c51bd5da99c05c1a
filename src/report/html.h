// Text for the page: escaping, and numbers as a reader wants them. All output is
// independent of the locale.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace lockstep {

/// For element content and quoted attributes: & < > " ' become entities; control characters
/// other than tab and newline, which HTML forbids, become U+FFFD.
std::string html_escape(std::string_view text);

std::string format_count(double count);       // 61706 -> "61,706"
std::string format_short(double count);       // 61706 -> "61.7 k", 11.2e6 -> "11.2 M"
std::string format_value(double value);       // four significant digits; "–" if not finite
std::string format_percent(double fraction);  // 0.98432 -> "98.43 %"
std::string format_duration(double seconds);  // "850 ms", "12.3 s", "4 min 05 s", "2 h 07 min"
std::string format_bytes(double n_bytes);     // "242 KB", "1.3 GB" (powers of 1000)

}  // namespace lockstep
