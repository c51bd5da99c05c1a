// From how ranks hold a tensor to how they write it: where no rank has all of a tensor (sharded optimizer
// state), its parts travel to the ranks that own the pieces of the file. So the file does not know how the
// state was cut, and the ranks that hold it may cut it as they like.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "comm/communicator.h"
#include "io/checkpoint/checkpoint_format.h"

namespace lockstep::checkpoint_format {

class ShardExchange {
 public:
  /// Collective. Throws AgreedError unless the ranks' parts make up every sharded tensor, once.
  ShardExchange(Communicator& comm, const std::vector<CheckpointTensor>& tensors,
                const std::vector<Piece>& pieces);

  /// Bytes of this rank's parts, one after the other in the order of the tensors.
  int64_t n_bytes() const { return n_bytes_; }

  /// Collective. `parts`: n_bytes() of this rank. Fills this rank's pieces of sharded tensors, where `pieces`
  /// points for them.
  void run(Communicator& comm, const std::byte* parts, const std::vector<char*>& pieces) const;

 private:
  struct Transfer {
    int rank = 0;      // the other one
    int64_t at = 0;    // send: byte of the parts
    size_t piece = 0;  // receive: which, and the byte in it
    int64_t in_piece = 0;
    int64_t n_bytes = 0;
  };
  std::vector<Transfer> sends_, receives_;
  int64_t n_bytes_ = 0;
};

}  // namespace lockstep::checkpoint_format
