// A block in ordinary memory, on every rank: copy what others own into the own slot (stage), add the own
// slice of all slots (add), copy the slices that others added (take). Three counters per rank order this: a
// slice is added when all have staged, copied when its owner has added, and a slot is used again when all
// have taken from it. One block is staged ahead, so that ranks seldom wait.
// Guarded by tests/comm/host_reduction_test.cpp.
#include "comm/reduction/host_reduction.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <type_traits>
#include <vector>

#include "comm/copy_bytes.h"
#include "comm/mpi_check.h"
#include "comm/reduction/tree_sum.h"
#include "kernels/error.h"

namespace lockstep {
namespace {

constexpr int64_t kSlots = 4;
constexpr int64_t kControlBytes = 4096;
constexpr int64_t kPieceBytes = 16 << 10;    // of a slice, added and copied on while in the nearest cache
constexpr int64_t kInPlaceBytes = 32 << 10;  // added and written to all ranks while in cache

constexpr int64_t kInOrdinaryMemory = -1, kGather = -2;

/// What a rank believes a call to be about; offset: in shared memory, or one of the two above.
struct Call {
  int64_t n_bytes, offset;
  bool operator==(const Call&) const = default;
  const char* way() const {
    return offset == kGather ? " to gather" : offset == kInOrdinaryMemory ? "" : " shared";
  }
};

/// At the begin of a rank's segment; zeros at first. Numbers of blocks count through all calls and wrap.
struct Control {
  Sequence staged, added, taken;  // blocks that this rank is through with
  Call calls[kSlots];
};
static_assert(sizeof(Control) <= kControlBytes);

template <typename T>
void copy(T* dst, const T* src, int64_t n) {
  copy_bytes(reinterpret_cast<std::byte*>(dst), reinterpret_cast<const std::byte*>(src),
             n * int64_t{sizeof(T)});
}

/// For what other ranks read next; the longer vectors are, the less of it would stay in caches anyway.
template <typename T>
void hand_over(T* dst, const T* src, int64_t n, bool past_caches) {
  if (!past_caches) return copy(dst, src, n);
  stream_bytes(reinterpret_cast<std::byte*>(dst), reinterpret_cast<const std::byte*>(src),
               n * int64_t{sizeof(T)});
}

}  // namespace

struct HostReduction::Impl {
  std::unique_ptr<SharedSegments> staging;
  int rank = 0, size = 1, n_owners = 1;
  int64_t block_bytes = 0, whole_bytes = 0, stream_bytes = 0;
  Wire wire = Wire::kFloat32;
  const SharedSegments* arena = nullptr;
  uint32_t next_block = 0;
  std::vector<const void*> sources;

  Control& control(int r) const { return *reinterpret_cast<Control*>(staging->of(r)); }
  template <typename T>
  T* slot(int r, uint32_t block) const {
    return reinterpret_cast<T*>(staging->of(r) + kControlBytes + (block % kSlots) * block_bytes);
  }

  void wait_for_all(Sequence Control::*sequence, uint32_t number, const Patience& patience) const {
    for (int r = 0; r < size; ++r) (control(r).*sequence).wait_for(number, patience);
  }
  /// Returns when nobody needs any more what the block's slot held before.
  void open(uint32_t block, const Patience& patience) const {
    wait_for_all(&Control::taken, block + 1 - uint32_t{kSlots}, patience);
  }
  void publish(uint32_t block, const Call& call) const {
    control(rank).calls[block % kSlots] = call;
    control(rank).staged.advance_to(block + 1);
  }
  void meet(uint32_t block, const Call& call, const Patience& patience) const {
    wait_for_all(&Control::staged, block + 1, patience);
    for (int r = 0; r < size; ++r) {
      const Call& other = control(r).calls[block % kSlots];
      if (other == call) continue;
      throw Error(
          rank_and_host(),
          fmt::format("ranks disagree about a reduction: {} bytes{} here, {} bytes{} on "
                      "rank {} of this host",
                      call.n_bytes, call.way(), other.n_bytes, other.way(), r),
          "all ranks need the same program, libraries, job file and data: see that every host has them");
    }
  }

  /// This rank's slice of a block: the tree over what source(r) gives for every rank, into values.
  template <typename T, typename Source>
  void add(T* values, const ElementRange& slice, const Source& source) {
    for (int r = 0; r < size; ++r) sources[size_t(r)] = source(r) + slice.begin;
    const auto from = reinterpret_cast<const T* const*>(sources.data());
    if constexpr (std::is_same_v<T, float>) {
      if (wire == Wire::kBFloat16) return tree_sum_bfloat16(from, size, values + slice.begin, slice.n());
    }
    tree_sum(from, size, values + slice.begin, slice.n());
  }

  /// Short vectors: every rank stages all and adds all.
  template <typename T>
  void reduce_whole(T* values, int64_t n, const Call& call, const Patience& patience) {
    const uint32_t block = next_block++;
    open(block, patience);
    copy(slot<T>(rank, block), values, n);
    publish(block, call);
    meet(block, call, patience);
    add(values, {0, n}, [&](int r) { return slot<T>(r, block); });
    control(rank).added.advance_to(block + 1);
    control(rank).taken.advance_to(block + 1);
  }

  /// Without `hands_out` the sums stay with their owners.
  template <typename T>
  void reduce_in_place(T* values, int64_t n, const Call& call, const Across<T>& across, bool hands_out,
                       const Patience& patience) {
    const uint32_t block = next_block++;
    const auto source_of = [&](int r) { return reinterpret_cast<T*>(arena->of(r) + call.offset); };
    open(block, patience);
    publish(block, call);
    meet(block, call, patience);
    const ElementRange own = part_of(n, rank, n_owners);
    const int64_t piece = (across ? block_bytes : kInPlaceBytes) / int64_t{sizeof(T)};
    for (int64_t begin = own.begin; begin < own.end; begin += piece) {
      const ElementRange now{begin, std::min(own.end, begin + piece)};
      add(values, now, source_of);
      if (across) across(values + now.begin, now.end - now.begin);
      for (int k = 1; k < size && hands_out; ++k)
        copy(source_of((rank + k) % size) + now.begin, values + now.begin, now.end - now.begin);
    }
    control(rank).added.advance_to(block + 1);
    wait_for_all(&Control::added, block + 1, patience);
    control(rank).taken.advance_to(block + 1);
  }

  template <typename T>
  void reduce_staged(T* values, int64_t n, const Call& call, const Across<T>& across,
                     const Patience& patience) {
    const int64_t per_block = block_bytes / int64_t{sizeof(T)}, n_blocks = (n + per_block - 1) / per_block;
    const bool past_caches = call.n_bytes >= stream_bytes;
    const uint32_t first = next_block;
    next_block += uint32_t(n_blocks);
    const auto part = [&](int64_t k) { return values + k * per_block; };
    const auto length = [&](int64_t k) { return std::min(per_block, n - k * per_block); };

    const auto stage = [&](int64_t k) {
      const uint32_t block = first + uint32_t(k);
      const ElementRange own = part_of(length(k), rank, n_owners);
      open(block, patience);
      hand_over(slot<T>(rank, block), part(k), own.begin, past_caches);
      hand_over(slot<T>(rank, block) + own.end, part(k) + own.end, length(k) - own.end, past_caches);
      publish(block, call);
    };
    const auto add_own = [&](int64_t k) {
      const uint32_t block = first + uint32_t(k);
      const ElementRange own = part_of(length(k), rank, n_owners);
      meet(block, call, patience);
      const int64_t piece = across ? per_block : kPieceBytes / int64_t{sizeof(T)};
      for (int64_t begin = own.begin; begin < own.end; begin += piece) {
        const ElementRange now{begin, std::min(own.end, begin + piece)};
        add(part(k), now, [&](int r) { return r == rank ? part(k) : slot<T>(r, block); });
        if (across) across(part(k) + now.begin, now.end - now.begin);
        hand_over(slot<T>(rank, block) + now.begin, part(k) + now.begin, now.end - now.begin, past_caches);
      }
      control(rank).added.advance_to(block + 1);
    };
    const auto take = [&](int64_t k) {
      const uint32_t block = first + uint32_t(k);
      for (int d = 1; d < size; ++d) {  // not all from the same owner at once
        const int owner = (rank + d) % size;
        const ElementRange slice = part_of(length(k), owner, n_owners);
        if (slice.begin == slice.end) continue;
        control(owner).added.wait_for(block + 1, patience);
        copy(part(k) + slice.begin, slot<T>(owner, block) + slice.begin, slice.n());
      }
      control(rank).taken.advance_to(block + 1);
    };

    stage(0);
    for (int64_t k = 0; k < n_blocks; ++k) {
      if (k + 1 < n_blocks) stage(k + 1);
      add_own(k);
      if (k > 0) take(k - 1);
    }
    take(n_blocks - 1);
  }

  void gather(float* values, int64_t n, const Patience& patience) {
    const int64_t per_block = block_bytes / int64_t{sizeof(float)};
    int64_t longest = 0;
    for (int owner = 0; owner < n_owners; ++owner)
      longest = std::max(longest, part_of(n, owner, n_owners).n());
    const int64_t n_blocks = (longest + per_block - 1) / per_block;
    const uint32_t first = next_block;
    next_block += uint32_t(n_blocks);
    const auto in_block = [&](int owner, int64_t k) {
      const ElementRange part = part_of(n, owner, n_owners);
      const int64_t begin = std::min(part.end, part.begin + k * per_block);
      return ElementRange{begin, std::min(part.end, begin + per_block)};
    };
    const auto stage = [&](int64_t k) {
      const uint32_t block = first + uint32_t(k);
      const ElementRange own = in_block(rank, k);
      open(block, patience);
      copy(slot<float>(rank, block), values + own.begin, own.n());
      publish(block, {n * int64_t{sizeof(float)}, kGather});
    };
    stage(0);
    for (int64_t k = 0; k < n_blocks; ++k) {
      const uint32_t block = first + uint32_t(k);
      if (k + 1 < n_blocks) stage(k + 1);
      meet(block, {n * int64_t{sizeof(float)}, kGather}, patience);
      for (int d = 1; d < size; ++d) {
        const int owner = (rank + d) % size;
        const ElementRange part = in_block(owner, k);
        copy(values + part.begin, slot<float>(owner, block), part.n());
      }
      control(rank).added.advance_to(block + 1);
      control(rank).taken.advance_to(block + 1);
    }
  }

  /// Where the segment given to share() has the vector; kInOrdinaryMemory: nowhere.
  int64_t shared_offset(const void* values, int64_t n_bytes) const {
    if (!arena) return kInOrdinaryMemory;
    const int64_t offset = static_cast<const std::byte*>(values) - arena->of(rank);
    return offset >= 0 && offset + n_bytes <= arena->n_bytes() ? offset : kInOrdinaryMemory;
  }
};

std::unique_ptr<HostReduction> HostReduction::make(MPI_Comm host, int n_owners, const HostTuning& tuning,
                                                   Wire wire) {
  auto impl = std::make_unique<Impl>();
  impl->wire = wire;
  LOCKSTEP_MPI(MPI_Comm_rank(host, &impl->rank));
  LOCKSTEP_MPI(MPI_Comm_size(host, &impl->size));
  impl->n_owners = n_owners;
  impl->block_bytes = std::max<int64_t>({64, tuning.block_bytes, n_owners * tuning.slice_bytes}) / 64 * 64;
  impl->whole_bytes = std::min(tuning.whole_bytes, impl->block_bytes);
  impl->stream_bytes = tuning.stream_bytes;
  impl->sources.resize(size_t(impl->size));
  impl->staging = SharedSegments::make(host, kControlBytes + kSlots * impl->block_bytes);
  if (!impl->staging) return nullptr;
  return std::unique_ptr<HostReduction>(new HostReduction(std::move(impl)));
}

HostReduction::HostReduction(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
HostReduction::~HostReduction() = default;

void HostReduction::share(const SharedSegments& arena) { impl_->arena = &arena; }

template <typename T>
void HostReduction::all_reduce(T* values, int64_t n_elements, const Across<T>& across,
                               const Patience& patience) {
  if (n_elements == 0) return;
  const int64_t n_bytes = n_elements * int64_t{sizeof(T)};
  const Call call{n_bytes, impl_->shared_offset(values, n_bytes)};
  if (call.offset >= 0)
    impl_->reduce_in_place(values, n_elements, call, across, true, patience);
  else if (!across && call.n_bytes <= impl_->whole_bytes)
    impl_->reduce_whole(values, n_elements, call, patience);
  else
    impl_->reduce_staged(values, n_elements, call, across, patience);
}

void HostReduction::reduce_scatter(float* values, int64_t n_elements, const Patience& patience) {
  if (n_elements == 0) return;
  const int64_t n_bytes = n_elements * int64_t{sizeof(float)};
  const Call call{n_bytes, impl_->shared_offset(values, n_bytes)};
  if (call.offset < 0)
    throw Error("HostReduction", "only shared vectors are reduced and scattered",
                "pass values that lie in shared memory of this reduction (RankReduction::shared_memory)");
  impl_->reduce_in_place<float>(values, n_elements, call, {}, false, patience);
}

void HostReduction::all_gather(float* values, int64_t n_elements, const Patience& patience) {
  if (n_elements > 0) impl_->gather(values, n_elements, patience);
}

template void HostReduction::all_reduce(float*, int64_t, const Across<float>&, const Patience&);
template void HostReduction::all_reduce(double*, int64_t, const Across<double>&, const Patience&);

}  // namespace lockstep
