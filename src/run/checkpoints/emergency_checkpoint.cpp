#include "src/run/checkpoints/emergency_checkpoint.h"

#include <fmt/format.h>

#include <chrono>
#include <vector>

#include "io/checkpoint/checkpoint.h"

namespace lockstep {

namespace {

constexpr std::chrono::seconds kUpdateLimit{10};
constexpr double kHdf5Limit_s = 0.3;  // then a copy of the process writes

/// The tensors' content, on the host. `tensors` then points there.
std::vector<std::vector<std::byte>> copy_to_host(Device device, Event& is_whole,
                                                 std::vector<CheckpointTensor>& tensors) {
  std::vector<std::vector<std::byte>> copies;
  const std::unique_ptr<Stream> stream =
      make_stream(device);  // the training thread's may be blocked for ever
  is_whole.hold(*stream);
  for (CheckpointTensor& tensor : tensors) {
    if (tensor.sharded) continue;
    std::vector<std::byte>& bytes =
        copies.emplace_back(static_cast<size_t>(tensor.shape.n_elements() * size_of(tensor.dtype)));
    copy(*stream, bytes.data(), tensor.data, static_cast<int64_t>(bytes.size()));
    tensor.data = bytes.data();
  }
  stream->synchronize();
  return copies;
}

}  // namespace

EmergencyCheckpoint::EmergencyCheckpoint(const Job& job, std::string folder, Replica& replica,
                                         DataContract& contract, const DataIdentity& data,
                                         const Versions& versions, int64_t steps_per_epoch)
    : job_(job),
      folder_(std::move(folder)),
      replica_(replica),
      contract_(contract),
      data_(data),
      versions_(versions),
      steps_per_epoch_(steps_per_epoch),
      is_whole_(make_event(job.device)) {}

void EmergencyCheckpoint::state_changes() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return !frozen_; });
  whole_.reset();
}

void EmergencyCheckpoint::state_is_whole(const TrainState& state) {
  const std::lock_guard lock(mutex_);
  if (frozen_ && whole_) return;  // what is being written is as whole
  whole_ = state;
  if (job_.precision == DType::kFloat16) whole_->loss_scale = replica_.loss_scale();
  is_whole_->record(replica_.stream());
  changed_.notify_all();
}

std::optional<TrainState> EmergencyCheckpoint::freeze() {
  std::unique_lock lock(mutex_);
  changed_.wait_for(lock, kUpdateLimit, [&] { return whole_.has_value(); });
  frozen_ = true;
  return whole_;
}

std::string EmergencyCheckpoint::save() {
  try {
    return save_or_throw();
  } catch (const std::exception& error) {
    return fmt::format("no emergency checkpoint: {}; {}", error.what(), last_checkpoint());
  }
}

std::string EmergencyCheckpoint::save_or_throw() {
  const auto start = std::chrono::steady_clock::now();
  if (!job_.watchdog.emergency_checkpoint) throw Error("", "watchdog.emergency_checkpoint is false");
  if (replica_.optimizer().is_sharded())
    throw Error("", "batch.shard_optimizer is on, so no rank holds all of the optimizer's state");
  if (!replica_.residuals().empty())
    throw Error("", "batch.error_feedback is on, so no rank holds all that rounding took");
  if (!replica_.states().empty())
    throw Error("", "the network carries its state, so no rank holds that of all micro-batches");
  const std::optional<TrainState> state = freeze();
  if (!state) throw Error("", "an update did not end");
  if (state->step == 0) throw Error("", "no step had been made");
  std::vector<CheckpointTensor> tensors =
      checkpoint_tensors(replica_.arena(), &replica_.optimizer(), contract_.normalization, StateIn::kDevice);
  std::vector<std::vector<std::byte>> copies;
  if (job_.device.kind == Device::Kind::kCuda) {
    // The normalisation lies on the host; a copy of it is as good.
    copies = copy_to_host(job_.device, *is_whole_, tensors);
  }
  CheckpointInfo info = make_checkpoint_info(job_, *state, contract_, &data_, steps_per_epoch_);
  add_versions(versions_, info);
  const std::string path = save_checkpoint_alone(folder_, info, tensors, kHdf5Limit_s);
  link_checkpoint(folder_, kLastLink, state->step);
  const double time_s = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return fmt::format("emergency checkpoint of step {}: {} ({:.1f} s); go on with --resume auto", state->step,
                     path, time_s);
}

std::string EmergencyCheckpoint::last_checkpoint() const {
  const std::vector<std::string> paths = list_checkpoints(folder_);
  return paths.empty() ? "there is no checkpoint yet: start over"
                       : fmt::format("the last checkpoint is {}; go on with --resume auto", paths.back());
}

}  // namespace lockstep
