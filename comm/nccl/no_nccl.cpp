// In the place of NCCL's files in a build that has found no nccl.h.
#include "comm/nccl/nccl.h"
#include "comm/reduction/reduction_path.h"
#include "kernels/error.h"

namespace lockstep {

const std::string& nccl_version() {
  static const std::string none;
  return none;
}

const std::string& why_no_nccl() {
  static const std::string why =
      "this build of Lockstep has no NCCL: give cmake the folder of its include/ and lib/ in NCCL_ROOT";
  return why;
}

std::unique_ptr<ReductionPath> make_nccl_path(Communicator&, Reduction, const std::vector<Bucket>&, Device,
                                              const ReducerOptions&) {
  throw Error("NCCL", why_no_nccl(),
              "configure with -DNCCL_ROOT=FOLDER, or send gradients through host memory and MPI");
}

}  // namespace lockstep
