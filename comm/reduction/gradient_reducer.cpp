// GradientReducer: buckets in, sums out, by the path that all ranks agree on at the start: NCCL where each
// rank has a GPU of its own and finds the library, else the comm thread.
#include "comm/activity.h"
#include "comm/reduction/reduction_path.h"

#include <fmt/format.h>

#include <chrono>

#include "comm/nccl/nccl.h"
#include "comm/nccl/shared_gpus.h"
#include "comm/reduction/tree_reduction.h"
#include "kernels/error.h"

namespace lockstep {
namespace {

void check_ranges(const std::vector<Bucket>& buckets) {
  for (const Bucket& bucket : buckets)
    if (bucket.begin < 0 || bucket.begin > bucket.end)
      throw Error("GradientReducer", fmt::format("bucket [{}, {}) is no range", bucket.begin, bucket.end),
                  "give buckets with 0 <= begin <= end (make_buckets)");
}

const char* name_of(Reduction reduction) {
  switch (reduction) {
    case Reduction::kTree: return "tree";
    case Reduction::kNative: return "native";
    case Reduction::kHierarchical: return "hierarchical";
  }
  return "";
}

/// Collective. Why these ranks, of which some have GPUs, cannot use NCCL, the same on all of them; "" where
/// they can.
std::string why_not_nccl(Communicator& comm, Device device) {
  const bool on_gpu = device.kind == Device::Kind::kCuda;
  const std::vector<std::string> obstacles =
      comm.all_gather_strings(on_gpu ? why_no_nccl() : "it computes on the CPU");
  for (size_t r = 0; r < obstacles.size(); ++r)
    if (!obstacles[r].empty()) return fmt::format("rank {}: {}", r, obstacles[r]);
  const std::vector<std::string> versions = comm.all_gather_strings(nccl_version());
  for (size_t r = 1; r < versions.size(); ++r)
    if (versions[r] != versions[0])
      return fmt::format("rank 0 has NCCL {}, rank {} has {}", versions[0], r, versions[r]);
  return shared_gpus(comm, device).n_shared > 0 ? "several ranks share a GPU" : "";
}

}  // namespace

struct GradientReducer::Impl {
  Impl(Communicator& comm, Reduction reduction, std::vector<Bucket> buckets_, Device device,
       const ReducerOptions& options)
      : buckets(std::move(buckets_)) {
    check_ranges(buckets);
    if (comm.size() > 1) start(comm, reduction, device, options);
    for (size_t k = 0; k < buckets.size(); ++k) {
      if (!path || !options.scatters) {
        append(buckets[k]);
        continue;
      }
      for (const ElementRange& part : path->own_parts(k))
        append({buckets[k].begin + part.begin, buckets[k].begin + part.end});
    }
  }

  void append(const ElementRange& range) {
    if (range.n() == 0) return;
    if (!own.empty() && own.back().end == range.begin)
      own.back().end = range.end;
    else
      own.push_back(range);
  }

  void start(Communicator& comm, Reduction reduction, Device device, const ReducerOptions& options) {
    if (reduction == Reduction::kTree) check_tree_size(comm.size());
    if (reduction != Reduction::kTree && options.wire != Wire::kFloat32)
      throw Error("GradientReducer", "only the tree's sums travel as bfloat16",
                  "use reduction: tree, or wire: float32");
    const std::string order =
        name_of(reduction) + std::string(options.wire == Wire::kBFloat16 ? " of bfloat16" : "");
    const bool all_on_cpu = comm.all_reduce_sum(device.kind == Device::Kind::kCuda) == 0;
    if (all_on_cpu) {
      way = fmt::format("MPI {}", order);
    } else if (const std::string why = why_not_nccl(comm, device); !why.empty()) {
      way = fmt::format("MPI {} through host memory ({})", order, why);
    } else {
      way = fmt::format("NCCL {} {}", nccl_version(), order);
      path = make_nccl_path(comm, reduction, buckets, device, options);
      return;
    }
    path = make_comm_thread(comm, reduction, buckets, device, options, all_on_cpu);
  }

  const std::vector<Bucket> buckets;
  std::vector<ElementRange> own;
  std::string way;
  std::unique_ptr<ReductionPath> path;  // null with one rank
};

GradientReducer::GradientReducer(Communicator& comm, Reduction reduction, std::vector<Bucket> buckets,
                                 Device device, const ReducerOptions& options)
    : impl_(std::make_unique<Impl>(comm, reduction, std::move(buckets), device, options)) {}
GradientReducer::~GradientReducer() = default;

const std::vector<Bucket>& GradientReducer::buckets() const { return impl_->buckets; }
const std::string& GradientReducer::way() const { return impl_->way; }
float* GradientReducer::shared_gradients() const {
  return impl_->path ? impl_->path->shared_gradients() : nullptr;
}

void GradientReducer::bucket_ready(int index, float* gradients, Stream* stream) {
  if (!impl_->path) return;
  const Bucket& bucket = impl_->buckets.at(size_t(index));
  impl_->path->start(size_t(index), gradients + bucket.begin, bucket.n(), stream);
}

const std::vector<ElementRange>& GradientReducer::own_ranges() const { return impl_->own; }

void GradientReducer::gather(int index, float* array, Stream* stream) {
  if (!impl_->path) return;
  const Bucket& bucket = impl_->buckets.at(size_t(index));
  impl_->path->gather(size_t(index), array + bucket.begin, bucket.n(), stream);
}

void GradientReducer::wait_for(int index, Stream* stream) {
  if (impl_->path) impl_->path->wait_for(size_t(index), stream);
}

double GradientReducer::wait(Stream* stream) {
  if (!impl_->path) return 0;
  const InCollective told("the gradient all-reduce");
  const auto start = std::chrono::steady_clock::now();
  impl_->path->wait(stream);
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

}  // namespace lockstep
