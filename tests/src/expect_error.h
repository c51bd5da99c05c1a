// Expects one Error whose text holds given parts: place, reason and remedy alike. It has a remedy.
#pragma once

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "kernels/error.h"

namespace lockstep {

/// Runs `work` and expects an Error whose what() contains every one of `parts`. Returns that
/// text, empty if nothing was thrown.
template <typename Work>
std::string expect_error(Work&& work, const std::vector<std::string>& parts) {
  EXPECT_FALSE(parts.empty()) << "nothing to look for";
  try {
    work();
  } catch (const Error& e) {
    const std::string text = e.what();
    for (const std::string& part : parts) {
      EXPECT_NE(text.find(part), std::string::npos) << "'" << part << "' is missing in:\n" << text;
    }
    EXPECT_FALSE(e.remedy().empty()) << text;
    return text;
  }
  ADD_FAILURE() << "no Error was thrown; expected one with '" << parts.front() << "'";
  return {};
}

}  // namespace lockstep
