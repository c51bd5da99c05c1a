// What another program needs to judge an ONNX file: the file, made-up inputs, and the outputs of the plan.
#pragma once

#include <string>

#include "src/network/arena.h"
#include "src/network/graph.h"

namespace lockstep {

/// Writes FOLDER/STEM.onnx, the inputs and the output as FOLDER/STEM.NAME.bin, and appends a line to
/// FOLDER/cases.jsonl. Returns the hash of the file's structure: all of it but the weights.
std::string write_onnx_case(const std::string& folder, const std::string& stem, const std::string& model,
                            const Graph& graph, const ParameterArena& arena);

}  // namespace lockstep
