// How a thread waits for other ranks: for a message, or for a number in shared memory.
#pragma once

#include <mpi.h>

#include <atomic>
#include <cstdint>

namespace lockstep {

/// Default: for the least latency; the caller has nothing else to do.
struct Patience {
  /// When given and true, nobody computes on this core: poll without sleeping.
  const std::atomic<bool>* hurry = nullptr;
  /// When given and true, waiting ends with an exception (the owner is being destroyed).
  const std::atomic<bool>* abandon = nullptr;

  void wait(MPI_Request* request) const;
  /// Whether others may need this core while we wait.
  bool shares_core() const;
  /// Throws Error if the wait was abandoned.
  void check() const;
};

/// A counter in memory that processes share, which one rank advances and others wait for. Numbers may wrap.
class alignas(64) Sequence {
 public:
  void advance_to(uint32_t number);
  /// Returns once it is at `number` or beyond; what its rank wrote before is visible then.
  void wait_for(uint32_t number, const Patience& patience);

 private:
  std::atomic<uint32_t> number_{0}, n_sleepers_{0};
};

}  // namespace lockstep
