// Memory that the ranks of one host share: every rank owns one segment, and all map all of them.
//
// A segment is an anonymous file in memory (memfd) that the others open through /proc: nothing has to
// be removed after a crash, /dev/shm may be as small as containers make it, and each process gives up its
// mappings alone. Where a rank cannot open another's (own PID namespaces), no rank gets any.
#pragma once

#include <mpi.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

namespace lockstep {

class SharedSegments {
 public:
  /// Collective over `host`, whose ranks share a machine: n_bytes of zeros per rank. Null on all ranks
  /// if any cannot share.
  static std::unique_ptr<SharedSegments> make(MPI_Comm host, int64_t n_bytes);
  ~SharedSegments();
  SharedSegments(const SharedSegments&) = delete;
  SharedSegments& operator=(const SharedSegments&) = delete;

  /// The segment of a rank of `host`, at an address that differs from process to process.
  std::byte* of(int rank) const { return maps_[size_t(rank)]; }
  int64_t n_bytes() const { return n_bytes_; }

 private:
  explicit SharedSegments(int64_t n_bytes) : n_bytes_(n_bytes) {}
  int64_t n_bytes_;
  std::vector<std::byte*> maps_;
};

}  // namespace lockstep
