// Weights under Keras 3's names and in its layouts, as tensors of ours.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "src/network/weights_file.h"

namespace lockstep {

/// What the file's tensors, renamed by the rules, are here: NAME.kernel, NAME.recurrent_kernel, NAME.bias,
/// NAME.gamma, NAME.beta, NAME.moving_mean, NAME.moving_variance, NAME.embeddings, NAME.depthwise_kernel and,
/// behind recurrent ones, _l1, _l0_reverse and so on become NAME.weight, NAME.weight_ih_l0 and so on, in our
/// order of axes and gates. Which layer it is follows from the arena's names and shapes. Other names stay as
/// they are.
std::vector<SourceTensor> keras_tensors(const SafetensorsFile& file, const ImportRules& rules,
                                        const ParameterArena& arena);

}  // namespace lockstep
