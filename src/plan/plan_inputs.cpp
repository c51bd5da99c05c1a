// See plan_inputs.h. A place on the device starts with the BatchContext and the sample ids, then come
// the arrays; `current_` is laid out alike.
#include "src/plan/plan_inputs.h"

#include <algorithm>
#include <utility>

namespace lockstep {

namespace {
int64_t aligned(int64_t n_bytes) { return (n_bytes + 255) / 256 * 256; }
constexpr int64_t kIdsOffset = 256;
static_assert(sizeof(BatchContext) <= kIdsOffset);
}  // namespace

PlanInputs::PlanInputs(Device device, std::vector<int64_t> n_bytes, int64_t n_samples)
    : device_(device), n_bytes_(std::move(n_bytes)), n_samples_(n_samples), arrays_(n_bytes_.size()) {
  if (device.kind == Device::Kind::kCpu) return;
  about_bytes_ = place_bytes_ = aligned(kIdsOffset + n_samples * int64_t{sizeof(int64_t)});
  for (int64_t n : n_bytes_) {
    offsets_.push_back(place_bytes_);
    place_bytes_ += aligned(n);
  }
  copies_ = make_stream(device);
  current_ = Memory(device, place_bytes_);
  for (Place& place : places_) {
    place.about = Memory::on_host(device, about_bytes_);
    place.device = Memory(device, place_bytes_);
    place.arrived = make_event(device);
    place.taken = make_event(device);
  }
}

void PlanInputs::stage(const std::vector<const void*>& arrays, const BatchContext& batch) {
  if (!copies_) {
    std::copy(arrays.begin(), arrays.end(), arrays_.begin());
    batch_ = batch;
    return;
  }
  Place& place = places_[next_];
  if (place.is_taken) {
    place.taken->synchronize();  // two micro-batches ago: done long since
  }
  auto& about = *reinterpret_cast<BatchContext*>(place.about.data());
  about = batch;
  about.sample_ids = reinterpret_cast<const int64_t*>(current_.data() + kIdsOffset);
  if (batch.sample_ids) {
    std::copy_n(batch.sample_ids, n_samples_, reinterpret_cast<int64_t*>(place.about.data() + kIdsOffset));
  }
  copy(*copies_, place.device.data(), place.about.data(), about_bytes_);
  for (size_t i = 0; i < arrays.size(); ++i)
    copy(*copies_, place.device.data() + offsets_[i], arrays[i], n_bytes_[i]);
  place.arrived->record(*copies_);
  last_staged_ = &place;
}

void PlanInputs::wait_staged() {
  if (last_staged_) last_staged_->arrived->synchronize();
}

void PlanInputs::bring(Stream& stream) {
  if (!copies_) return;
  Place& place = places_[next_];
  next_ = 1 - next_;
  place.arrived->hold(stream);
  copy(stream, current_.data(), place.device.data(), place_bytes_);
  place.taken->record(stream);
  place.is_taken = true;
}

const void* PlanInputs::data(size_t i) const { return copies_ ? current_.data() + offsets_[i] : arrays_[i]; }

const BatchContext* PlanInputs::batch() const {
  return copies_ ? reinterpret_cast<const BatchContext*>(current_.data()) : &batch_;
}

}  // namespace lockstep
