// A trained network for other programs: as an ONNX file, which runs without Lockstep.
#pragma once

#include <cstdint>
#include <string>

namespace lockstep {

/// Writes the checkpoint's network in evaluation to an ONNX file: inputs as the data hold them (the
/// normalisation of training comes first), the prediction as `output`, class names and vocabularies in the
/// metadata. average: the running averages of the weights in their place. Returns the number of operators.
/// Throws Error naming the layer that has no form in ONNX.
int64_t export_onnx(const std::string& checkpoint, const std::string& path, bool average);

}  // namespace lockstep
