// Runs Python code in tests: the trusted third that readers and writers are held against.
#pragma once

#include <string>

namespace lockstep {

/// The interpreter that can import all of `modules` ("torch, safetensors"): $LOCKSTEP_PYTHON, else
/// python3; empty if it cannot.
std::string python_with(const std::string& modules);

/// Runs code with `folder` set. Empty on success, else what Python printed.
std::string run_python(const std::string& python, const std::string& folder, const std::string& code);

}  // namespace lockstep
