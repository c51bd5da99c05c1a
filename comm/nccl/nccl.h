// NCCL, the library that sums over GPUs: whether this process has it, and gradients by way of it. The library
// is loaded while the program runs, so that programs also start where it is missing. Files without NCCL's
// headers see it through this one; in a build without them no_nccl.cpp stands behind it.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "comm/reduction/gradient_reducer.h"

namespace lockstep {

class ReductionPath;

/// "2.28.9", of the library found; "" where there is none.
const std::string& nccl_version();
/// Why there is none: a sentence's end with the remedy, such as "libnccl.so.2 was not found: …"; "" where
/// there is one.
const std::string& why_no_nccl();

/// Collective; each rank has a GPU of its own, and all have the library. Connects the ranks and proves it by
/// one sum. Throws Error with NCCL's text.
std::unique_ptr<ReductionPath> make_nccl_path(Communicator& comm, Reduction reduction,
                                              const std::vector<Bucket>& buckets, Device device,
                                              const ReducerOptions& options);

}  // namespace lockstep
