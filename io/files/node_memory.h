// Zeroed memory of this process, or one piece that all ranks of a host see. Shared memory has no name in any
// folder and its end is no collective call: it goes with the last process that maps it, so that a rank
// which dies leaves nothing behind and nobody waiting. (Windows of MPI are freed collectively and lie in
// /dev/shm, which containers keep small.)
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

#include "comm/communicator.h"

namespace lockstep {

class NodeMemory {
 public:
  NodeMemory() = default;
  /// Of this process, in large pages where the system has them. Throws Error when there is no room.
  explicit NodeMemory(int64_t n_bytes);
  /// Collective over `comm`. The same bytes for all ranks of a host that see each other's processes; nothing,
  /// on all ranks, where one of them cannot have it. Ranks may write and read at any time by atomics.
  static std::optional<NodeMemory> shared(Communicator& comm, int64_t n_bytes);
  ~NodeMemory();
  NodeMemory(NodeMemory&& other) noexcept;
  NodeMemory& operator=(NodeMemory&& other) noexcept;

  std::byte* data() const { return data_; }  // aligned to pages
  int64_t n_bytes() const { return n_bytes_; }

 private:
  std::byte* data_ = nullptr;
  int64_t n_bytes_ = 0;
};

}  // namespace lockstep
