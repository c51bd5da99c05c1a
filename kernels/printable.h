// Foreign text (names in files, words of a job) on its way to a terminal, where control characters would
// move the cursor, change the title or hide what stands before them.
#pragma once

#include <string>
#include <string_view>

namespace lockstep {

/// `text` with control characters, bytes that are no UTF-8, and characters that reverse the direction of
/// writing as \xHH. For one line: line feeds and tabs are written so too.
std::string printable(std::string_view text);
/// The same, with line feeds and tabs left as they are.
std::string printable_lines(std::string_view text);

bool is_utf8(std::string_view text);

}  // namespace lockstep
