// Stands in for CUDA's header of the same name where tests compile kernels/cuda with g++: the same
// names, run on the CPU by tests/cuda_on_host. Only what Lockstep's sources use is here.
#pragma once

#include <cuda_on_host/intrinsics.h>
#include <cuda_on_host/language.h>
#include <cuda_on_host/runtime_api.h>
