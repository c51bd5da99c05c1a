// Waiting: a few looks at once, then, where computing threads may own the only core, sleep. Spinning there
// doubled the time of a computing loop. Messages can only be polled between naps; a Sequence wakes who
// sleeps.
#include "comm/patience.h"

#include <linux/futex.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <thread>

#include "comm/mpi_check.h"
#include "kernels/error.h"

namespace lockstep {
namespace {

constexpr int kLooks = 64;      // with a pause of some nanoseconds each
constexpr int kYields = 10000;  // then the core is offered to others, if nobody computes on it …
constexpr timespec kSleep{0,
                          5'000'000};  // … and at last the kernel wakes us; else we look whether to give up

void pause_briefly() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

/// FUTEX_WAIT and FUTEX_WAKE across processes; std::atomic's wait knows threads only.
void futex(std::atomic<uint32_t>* word, int operation, uint32_t value, const timespec* timeout) {
  static_assert(std::atomic<uint32_t>::is_always_lock_free && sizeof(*word) == sizeof(uint32_t));
  syscall(SYS_futex, reinterpret_cast<uint32_t*>(word), operation, value, timeout, nullptr, 0);
}

}  // namespace

bool Patience::shares_core() const {
  return (hurry != nullptr || abandon != nullptr) &&
         !(hurry != nullptr && hurry->load(std::memory_order_relaxed));
}

void Patience::check() const {
  if (abandon != nullptr && abandon->load(std::memory_order_relaxed))
    throw Error(rank_and_host(), "the reduction was abandoned",
                "an error of this rank or the loss of another one came before: see its message");
}

void Patience::wait(MPI_Request* request) const {
  if (hurry == nullptr && abandon == nullptr) {
    LOCKSTEP_MPI(MPI_Wait(request, MPI_STATUS_IGNORE));
    return;
  }
  // A nap is an eighth of the time waited so far.
  using namespace std::chrono;
  const auto start = steady_clock::now();
  for (int looks = 0;; ++looks) {
    int done = 0;
    LOCKSTEP_MPI(MPI_Test(request, &done, MPI_STATUS_IGNORE));
    if (done) return;
    check();
    if (looks < 16 || !shares_core())
      std::this_thread::yield();
    else
      std::this_thread::sleep_for(std::clamp<nanoseconds>((steady_clock::now() - start) / 8, 20us, 200us));
  }
}

void Sequence::advance_to(uint32_t number) {
  // Both sides order their two accesses (sequential consistency): either we see the sleeper, or it
  // sees the new number before it sleeps.
  number_.store(number);
  if (n_sleepers_.load() > 0) futex(&number_, FUTEX_WAKE, INT32_MAX, nullptr);
}

void Sequence::wait_for(uint32_t number, const Patience& patience) {
  for (int looks = 0;; ++looks) {
    const uint32_t now = number_.load(std::memory_order_acquire);
    if (int32_t(now - number) >= 0) return;
    patience.check();
    if (looks < kLooks) {
      pause_briefly();
    } else if (looks < kLooks + kYields && !patience.shares_core()) {
      sched_yield();
    } else {
      n_sleepers_.fetch_add(1);
      futex(&number_, FUTEX_WAIT, now, &kSleep);
      n_sleepers_.fetch_sub(1);
    }
  }
}

}  // namespace lockstep
