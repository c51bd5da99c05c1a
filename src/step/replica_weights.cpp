// What becomes of a replica's weights between steps: they come together from the ranks that updated them, are
// compared, restored, taken from a checkpoint, and packed anew for the ops.
#include <cmath>
#include <utility>

#include "kernels/elementwise.h"
#include "src/plan/stopwatch.h"
#include "src/step/replica.h"

namespace lockstep {

void Replica::upload_state() {
  arena_.host().upload(*stream_);
  for (const Optimizer::Slot& slot : optimizer_.slots()) slot.host->upload(*stream_);
  for (const std::unique_ptr<HostMirror>& residual : residuals_) residual->upload(*stream_);
  for (const std::unique_ptr<HostMirror>& states : states_.host()) states->upload(*stream_);
  refresh_weights();
}

void Replica::refresh_weights() {
  if (together_) return together_->refresh_weights();
  plans_->weights_changed();
}

void Replica::weights_changed() {
  if (!optimizer_.is_sharded()) return refresh_weights();
  gather(arena_.weights());
  weights_arrive_ = true;
}

void Replica::gather(float* array) {
  // What forward needs first goes first: the arena is in backward's order.
  for (int k = static_cast<int>(reducer_.buckets().size()); k-- > 0;)
    reducer_.gather(k, array, stream_.get());
}

void Replica::settle_weights() {
  if (!std::exchange(weights_arrive_, false)) return;
  {
    const AddSeconds timing(times_.communication);
    reducer_.wait(stream_.get());
  }
  refresh_weights();
}

void Replica::forward_as_weights_arrive(int bucket) {
  weights_arrive_ = false;
  plans_->weights_changed();
  plans_->is_fresh(bucket);
  plans_->at(bucket).forward(marks_, [&](int arriving) {
    const AddSeconds timing(times_.communication);
    reducer_.wait_for(arriving, stream_.get());
  });
  reducer_.wait(stream_.get());  // buckets that no op of forward reads
}

double Replica::gradient_norm() {
  if (const std::optional<double> norm = clip_.norm()) {
    stream_->synchronize();
    return *norm;
  }
  if (optimizer_.is_sharded()) {
    settle_weights();
    gather(gradients_.result());
    reducer_.wait(stream_.get());
  }
  return std::sqrt(sum_of_squares(*stream_, n_gradients_, gradients_.result())) * grad_scale_;
}

SyncVerdict Replica::compare_weights() {
  settle_weights();
  arena_.host().download(*stream_);
  return compare_replicas(arena_, comm_);
}

void Replica::restore_from(int rank) {
  arena_.host().download(*stream_);
  for (const Optimizer::Slot& slot : optimizer_.slots()) slot.host->download(*stream_);
  const int64_t n_bytes = arena_.n_elements() * int64_t{sizeof(float)};
  comm_.broadcast(arena_.host().data(), n_bytes, rank);
  for (const Optimizer::Slot& slot : optimizer_.slots()) {
    if (!optimizer_.is_sharded()) comm_.broadcast(slot.host->data(), slot.memory.n_bytes(), rank);
  }
  upload_state();
}

}  // namespace lockstep
