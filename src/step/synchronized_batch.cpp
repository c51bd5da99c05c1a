#include "src/step/synchronized_batch.h"

#include <algorithm>
#include <cstring>

#include "src/data/augment/augment.h"
#include "src/network/loss_place.h"
#include "src/step/micro_batch_tree.h"

namespace lockstep {

bool SynchronizedBatch::wanted(const Graph& graph) {
  return std::any_of(graph.vertices().begin(), graph.vertices().end(),
                     [](const Vertex& vertex) { return vertex.layer && vertex.layer->synchronizes(); });
}

SynchronizedBatch::SynchronizedBatch(const Job& job, const Graph& graph, const ParameterArena& arena,
                                     Communicator& comm, PlanOptions options)
    : reduction_(job.reduction),
      seed_(job.seed),
      micro_batch_(job.micro_batch),
      comm_(comm),
      members_(job.n_micro() / comm.size()) {
  for (int v : graph.inputs()) {
    const Augmentation* augmentation = options.augmentation.get();
    const bool as_stored = augmentation && augmentation->source().vertex == v;
    input_bytes_.push_back(as_stored ? augmentation->desc(job.micro_batch, DType::kFloat32).src.n_bytes()
                                     : job.micro_batch * graph.vertex(v).shape.n_elements() * 4);
  }
  for (const LossSpec& loss : job.losses()) {
    if (loss_target_input(graph, loss) >= 0) continue;
    const Shape target = loss.target_shape(graph.vertex(loss_vertex(graph, loss)).shape);
    input_bytes_.push_back(job.micro_batch * target.n_elements() * size_of(loss.target_dtype()));
  }
  options.synchronize = true;
  for (Member& member : members_) {
    member.plan = std::make_unique<Plan>(graph, arena, job.losses(), options);
    member.gradients = arena.make_parallel();
    for (int64_t n_bytes : input_bytes_) {
      member.data.push_back(Memory::on_host(job.device, n_bytes));
      member.batch.data.push_back(member.data.back().data());
    }
    member.batch.sample_ids.resize(job.micro_batch);
  }
}

void SynchronizedBatch::refresh_weights() {
  for (Member& member : members_) member.plan->refresh_weights();
}

void SynchronizedBatch::read(Member& member, const MicroBatch& batch, int64_t step, float loss_scale) {
  for (size_t i = 0; i < input_bytes_.size(); ++i)
    std::memcpy(member.data[i].data(), batch.data[i], static_cast<size_t>(input_bytes_[i]));
  std::copy_n(batch.sample_ids.begin(), micro_batch_, member.batch.sample_ids.begin());
  member.batch.n_valid = batch.n_valid;
  member.batch.epoch = batch.epoch;
  member.plan->stage(member.batch, {seed_, step, loss_scale});
  member.plan->start_forward();
}

void SynchronizedBatch::add_sums() {
  const size_t n = members_[0].sums.size(), n_members = members_.size();
  rows_.resize(std::max(rows_.size(), n * n_members));
  for (size_t m = 0; m < n_members; ++m) std::copy_n(members_[m].sums.begin(), n, rows_.begin() + m * n);
  tree_sum_rows(rows_.data(), static_cast<int64_t>(n_members), static_cast<int64_t>(n));
  const std::span<double> sums(rows_.data(), n);
  comm_.all_reduce(sums, reduction_);
  for (Member& member : members_) std::copy_n(rows_.begin(), n, member.sums.begin());
}

template <typename Continue>
void SynchronizedBatch::walk(const Continue& next) {
  for (;;) {
    for (Member& member : members_) member.sums = next(*member.plan);
    if (members_[0].sums.empty()) return;  // all stand at the same layer
    add_sums();
  }
}

void SynchronizedBatch::run(DataLoader& loader, int64_t step, float loss_scale) {
  for (Member& member : members_) read(member, loader.next(), step, loss_scale);
  walk([](Plan& plan) { return plan.continue_forward(); });
  for (Member& member : members_) member.plan->start_backward(member.gradients.as<float>());
  walk([](Plan& plan) { return plan.continue_backward(nullptr); });
}

}  // namespace lockstep
