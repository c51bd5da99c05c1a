// Checks and the switch to a backend; see element_update.h.
#include "kernels/element_update.h"

#include <cassert>

namespace lockstep {

#define LOCKSTEP_SWITCH_UPDATE(FORMULA)                                                    \
  void element_update(Stream& stream, const ElementUpdate& update, const FORMULA& formula, \
                      const UpdateRanges& ranges, const float* grad, float* weights,       \
                      std::span<float* const> states) {                                    \
    assert(states.size() >= size_t{FORMULA::kSlots});                                      \
    if (stream.device().kind == Device::Kind::kCuda)                                       \
      return cuda::element_update(stream, update, formula, ranges, grad, weights, states); \
    cpu::element_update(stream, update, formula, ranges, grad, weights, states);           \
  }

LOCKSTEP_FOR_EACH_FORMULA(LOCKSTEP_SWITCH_UPDATE)

void add_sign(Stream& stream, float amount, const UpdateRanges& ranges, const float* weights,
              float* gradients) {
  if (stream.device().kind == Device::Kind::kCuda)
    return cuda::add_sign(stream, amount, ranges, weights, gradients);
  cpu::add_sign(stream, amount, ranges, weights, gradients);
}

#undef LOCKSTEP_SWITCH_UPDATE

}  // namespace lockstep
