// The static shared memory of all kernels in this program.
#pragma once

namespace cuda_on_host {

/// Fills it with NaN (all bits set: NaN in every float format, -1 in integers). Does nothing under
/// AddressSanitizer, where shared variables have red zones instead.
void spoil_shared_memory();

}  // namespace cuda_on_host
