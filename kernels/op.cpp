#include "kernels/op.h"

namespace lockstep {

// Ops without prepared copies of their weights have nothing to refresh.
void Op::prepare(Stream&, std::span<const Tensor>) {}

}  // namespace lockstep
