// Gradients of GPUs by way of NCCL, on a stream of their own: no thread, no copy to the host, no wait of the
// host. Events order it behind the compute stream and the compute stream behind it.
//
// The tree's additions are this library's own kernel; NCCL only carries the halves. ncclAllReduce (the other
// reductions) adds in an order of its own choice, and knows hosts itself. Guarded by
// tests/comm/nccl_path_test.cpp (bits against a serial tree).
#include <fmt/format.h>

#include <algorithm>
#include <exception>

#include "comm/mpi_check.h"
#include "comm/nccl/nccl.h"
#include "comm/nccl/nccl_communicator.h"
#include "comm/nccl/nccl_library.h"
#include "comm/reduction/reduction_path.h"
#include "comm/reduction/tree_rounds.h"
#include "kernels/bfloat16_wire.h"
#include "kernels/elementwise.h"
#include "kernels/error.h"

namespace lockstep {
namespace {

class NcclPath : public ReductionPath {
 public:
  NcclPath(Communicator& comm, Reduction reduction, const std::vector<Bucket>& buckets, Device device,
           const ReducerOptions& options)
      : rank_(comm.rank()),
        size_(comm.size()),
        reduction_(reduction),
        wire_(options.wire),
        stream_(make_stream(device)),  // makes the device current, which the communicator takes
        done_(make_event(device)),
        nccl_(comm) {
    int64_t n_scratch = kProof;
    for (const Bucket& bucket : buckets) {
      ready_.push_back(make_event(device));
      own_parts_.push_back(parts_of_rank(rank_, bucket.n()));
      gathered_.push_back(make_event(device));
      if (options.scatters) gathers_.push_back(gathering_rounds(bucket.n()));
      if (reduction != Reduction::kTree) continue;
      const TreeWalk walk = options.scatters ? TreeWalk::kReduceScatter : TreeWalk::kAllReduce;
      rounds_.push_back(tree_rounds(rank_, size_, bucket.n(), RoundTuning{}, walk));
      n_scratch = std::max(n_scratch, scratch_of(rounds_.back()));
    }
    scratch_ = Memory(device, n_scratch * int64_t{sizeof(float)});
    prove(comm, device);
  }

  ~NcclPath() override {
    try {
      if (n_started_ > 0)
        nccl_.abort();
      else if (std::uncaught_exceptions() == 0)
        stream_->synchronize();
    } catch (const Error&) {
      nccl_.abort();
    }
  }

  std::vector<ElementRange> own_parts(size_t index) const override { return own_parts_.at(index); }

  void start(size_t index, float* data, int64_t n_elements, Stream* stream) override {
    begin(index, stream);
    if (reduction_ != Reduction::kTree)
      sum_native(data, n_elements);
    else if (wire_ == Wire::kBFloat16)
      walk_packed(rounds_.at(index), data);
    else
      walk(rounds_.at(index), data);
  }

  void gather(size_t index, float* data, int64_t, Stream* stream) override {
    begin(index, stream);
    walk(gathers_.at(index), data);
    gathered_.at(index)->record(*stream_);
  }

  void wait_for(size_t index, Stream* stream) override {
    nccl_.check_submitted();
    gathered_.at(index)->hold(*stream);
  }

  void wait(Stream* stream) override {
    nccl_.check_submitted();
    done_->record(*stream_);
    if (stream != nullptr)
      done_->hold(*stream);
    else
      done_->synchronize();
    n_started_ = 0;
  }

 private:
  static constexpr int64_t kProof = 64;  // elements

  cudaStream_t queue() const { return static_cast<cudaStream_t>(stream_->native_handle()); }

  void begin(size_t index, Stream* stream) {
    ++n_started_;
    ready_.at(index)->record(*stream);
    ready_[index]->hold(*stream_);
  }

  std::vector<ElementRange> parts_of_rank(int rank, int64_t n_elements) const {
    if (reduction_ == Reduction::kTree) return own_parts_of_rounds(rank, size_, n_elements, RoundTuning{});
    return {part_of(n_elements, rank, size_)};
  }

  /// The tree's way back; other reductions, which leave all sums everywhere, send own parts to each rank.
  std::vector<TreeRound> gathering_rounds(int64_t n_elements) const {
    if (reduction_ == Reduction::kTree)
      return tree_rounds(rank_, size_, n_elements, RoundTuning{}, TreeWalk::kAllGather);
    TreeRound round;
    const ElementRange own = part_of(n_elements, rank_, size_);
    for (int d = 1; d < size_; ++d) {
      const int to = (rank_ + d) % size_, from = (rank_ + size_ - d) % size_;
      const ElementRange part = part_of(n_elements, from, size_);
      round.push_back({to, own.begin, own.n(), 0, 0, -1});
      round.push_back({from, 0, 0, part.begin, part.n(), -1});
    }
    return {round};
  }

  void sum_native(float* data, int64_t n_elements) {
    if (n_elements == 0) return;
    nccl_.check(
        nccl().all_reduce(data, data, size_t(n_elements), ncclFloat32, ncclSum, nccl_.handle(), queue()),
        "ncclAllReduce");
  }

  void send(const void* data, int64_t n, ncclDataType_t type, int partner) {
    if (n == 0) return;
    nccl_.check(nccl().send(data, size_t(n), type, partner, nccl_.handle(), queue()), "ncclSend");
  }
  void receive(void* data, int64_t n, ncclDataType_t type, int partner) {
    if (n == 0) return;
    nccl_.check(nccl().receive(data, size_t(n), type, partner, nccl_.handle(), queue()), "ncclRecv");
  }

  void walk(const std::vector<TreeRound>& rounds, float* data) {
    float* scratch = scratch_.as<float>();
    for (const TreeRound& round : rounds) {
      nccl_.check(nccl().group_start(), "ncclGroupStart");
      for (const TreeStep& step : round) {
        send(data + step.send, step.n_send, ncclFloat32, step.partner);
        receive(step.scratch >= 0 ? scratch + step.scratch : data + step.receive, step.n_receive, ncclFloat32,
                step.partner);
      }
      nccl_.check(nccl().group_end(), "ncclGroupEnd");
      for (const TreeStep& step : round) {
        if (step.scratch < 0) continue;
        float* own = data + step.receive;
        const float* other = scratch + step.scratch;
        if (step.partner < rank_)
          add(*stream_, step.n_receive, other, own, own);
        else
          add(*stream_, step.n_receive, own, other, own);
      }
    }
  }

  /// The same with bfloat16 as messages: what a round sends is packed before it, and what it received
  /// unpacked behind it.
  void walk_packed(const std::vector<TreeRound>& rounds, float* data) {
    auto* packed = scratch_.as<uint16_t>();
    for (const TreeRound& round : rounds) {
      int64_t at = 0;
      for (const TreeStep& step : round) {
        if (step.n_send > 0) pack_bfloat16(*stream_, step.n_send, data + step.send, packed + at);
        at += packed_room(step.n_send);
      }
      int64_t to_send = 0, to_receive = at;
      nccl_.check(nccl().group_start(), "ncclGroupStart");
      for (const TreeStep& step : round) {
        send(packed + to_send, step.n_send, ncclBfloat16, step.partner);
        receive(packed + to_receive, step.n_receive, ncclBfloat16, step.partner);
        to_send += packed_room(step.n_send);
        to_receive += packed_room(step.n_receive);
      }
      nccl_.check(nccl().group_end(), "ncclGroupEnd");
      for (const TreeStep& step : round) {
        if (step.n_receive > 0) {
          const auto take = step.scratch >= 0 ? add_packed_bfloat16 : unpack_bfloat16;
          take(*stream_, step.n_receive, packed + at, data + step.receive);
        }
        at += packed_room(step.n_receive);
      }
    }
  }

  /// Elements that a message takes of the scratch: the next one is aligned for wide loads.
  static int64_t packed_room(int64_t n) { return (n + 7) / 8 * 8; }

  /// In elements of float32.
  int64_t scratch_of(const std::vector<TreeRound>& rounds) const {
    if (wire_ == Wire::kFloat32) return scratch_elements(rounds);
    int64_t longest = 0;
    for (const TreeRound& round : rounds) {
      int64_t n = 0;
      for (const TreeStep& step : round) n += packed_room(step.n_send) + packed_room(step.n_receive);
      longest = std::max(longest, n);
    }
    return (longest + 1) / 2;
  }

  /// A sum of ones. It connects the ranks, which NCCL does at the first message, and shows at the start of a
  /// run, not at its first step, what does not work.
  void prove(Communicator& comm, Device device) {
    Memory ones(device, kProof * int64_t{sizeof(float)});
    fill(*stream_, kProof, 1.0f, ones.as<float>());
    if (reduction_ != Reduction::kTree)
      sum_native(ones.as<float>(), kProof);
    else
      walk(tree_rounds(rank_, size_, kProof, RoundTuning{}), ones.as<float>());
    HostMirror mirror(ones);
    mirror.download(*stream_);
    nccl_.check_submitted();
    const float* sums = mirror.as<float>();
    if (std::any_of(sums, sums + kProof, [&](float sum) { return sum != float(comm.size()); }))
      throw Error(rank_and_host(), fmt::format("NCCL sums {} ones to {}", comm.size(), sums[0]),
                  "LOCKSTEP_NCCL_LIBRARY=none sends gradients through host memory and MPI instead");
  }

  const int rank_, size_;
  const Reduction reduction_;
  const Wire wire_;
  std::unique_ptr<Stream> stream_;
  std::unique_ptr<Event> done_;
  std::vector<std::unique_ptr<Event>> ready_;             // per bucket: backward has written it
  std::vector<std::unique_ptr<Event>> gathered_;          // per bucket
  std::vector<std::vector<TreeRound>> rounds_, gathers_;  // per bucket
  std::vector<std::vector<ElementRange>> own_parts_;      // per bucket
  Memory scratch_;
  NcclCommunicator nccl_;  // ends before the memory that its work uses
  int n_started_ = 0;      // buckets since the last wait
};

}  // namespace

std::unique_ptr<ReductionPath> make_nccl_path(Communicator& comm, Reduction reduction,
                                              const std::vector<Bucket>& buckets, Device device,
                                              const ReducerOptions& options) {
  return std::make_unique<NcclPath>(comm, reduction, buckets, device, options);
}

}  // namespace lockstep
