// A stack for signal handlers, one per thread that computes. Matrix kernels of oneDNN use the stack pointer
// for heap memory on AVX2, so that a handler that ran on the thread's own stack would overwrite the heap.
#pragma once

namespace lockstep {

/// Gives the calling thread an alternate signal stack (sigaltstack) until it ends; nothing where it has one.
/// Only handlers that were installed with SA_ONSTACK run on it.
void use_signal_stack();

}  // namespace lockstep
