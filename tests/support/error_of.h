// What an action's Error says, for tests of messages.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <string>

#include "kernels/error.h"

namespace lockstep {

/// The message of the Error that `action` throws; empty if it throws none.
inline std::string error_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const Error& error) {
    return error.what();
  }
  return {};
}

}  // namespace lockstep

#define EXPECT_NAMES(message, part) EXPECT_NE((message).find(part), std::string::npos) << message
