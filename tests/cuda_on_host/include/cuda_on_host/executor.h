// Runs the blocks and threads of a kernel on the calling CPU thread. One block at a time; a thread is
// an ordinary call until it waits at a barrier or a warp operation, and then a fiber. What CUDA leaves
// undefined (a barrier that not all threads reach, a lane that its mask does not name, shared memory
// read before it is written) ends the program with a sentence, or shows as NaN.
#pragma once

#include <cstdint>
#include <functional>
#include <source_location>

#include <cuda_on_host/vectors.h>

namespace cuda_on_host {

/// The order in which the blocks of a grid and the threads of a block take their turns. A kernel
/// whose results depend on it lacks a barrier.
enum class Order { kForward, kReversed, kShuffled };

/// For the kernels started from here on. At first: the environment variable LOCKSTEP_HOST_ORDER
/// (forward, reversed, shuffled), else forward.
void set_order(Order order);

/// Kernels run so far in this process: lets a test prove that it has run some.
int64_t kernels_run();

/// Calls thread_body once per thread of the grid, with threadIdx and its companions set. Whoever
/// else calls it at the same time waits.
void run_grid(dim3 grid, dim3 block, const std::function<void()>& thread_body);

using Place = std::source_location;

/// What the device functions of language.h stand on; to be called inside run_grid only.
void block_barrier(const Place& place);
/// Gives `value` and takes that of lane `source`. All lanes of `mask` take part and get a value of
/// a lane of `mask`.
uint64_t exchange(const Place& place, unsigned mask, uint64_t value, int source);
/// The lanes of `mask` whose predicate holds.
unsigned vote(const Place& place, unsigned mask, bool predicate);
/// This thread's place in its warp.
int lane();

/// Ends the program with "cuda_on_host: " and the sentence.
[[noreturn]] void fail(const char* sentence, ...) __attribute__((format(printf, 1, 2)));

}  // namespace cuda_on_host
