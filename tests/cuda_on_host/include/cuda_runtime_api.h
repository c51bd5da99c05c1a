// The host side of cuda_runtime.h.
#pragma once

#include <cuda_on_host/runtime_api.h>
