// The CUDA ops that are not there yet: whoever asks for one is told so. Each function leaves this
// file when its kernels appear beside it.
#include "kernels/backend.h"
#include "kernels/error.h"

namespace lockstep::cuda {

namespace {
[[noreturn]] void refuse() {
  throw Error("device cuda", "this version of Lockstep has no CUDA kernel for this operation",
              "use `device: cpu`");
}
}  // namespace


}  // namespace lockstep::cuda
