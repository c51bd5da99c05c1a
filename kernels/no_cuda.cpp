// The CUDA side of a build without CUDA: no device is found, and whoever asks for one is told
// how to get it. The same names as kernels/cuda, so that no other file knows the difference.
#include "kernels/backend.h"
#include "kernels/error.h"

namespace lockstep::cuda {

namespace {
[[noreturn]] void refuse() {
  throw Error("device cuda", "this build of Lockstep has no CUDA support",
              "use `device: cpu`, or configure with -DLOCKSTEP_CUDA=ON where a CUDA toolkit is installed");
}
}  // namespace

std::unique_ptr<Stream> make_stream(int) { refuse(); }
std::string device_name(int) { refuse(); }
int device_count() { return 0; }
std::byte* allocate(int, int64_t) { refuse(); }
void release(int, std::byte*) noexcept {}

}  // namespace lockstep::cuda
