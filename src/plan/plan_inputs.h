// The micro-batch that a plan reads: arrays of inputs and targets, and what the batch is. On the CPU
// they are read where the loader has them. On a GPU stage() starts their way into one of two
// places on the device, over a copy stream and beside the computation; bring() makes them current,
// at addresses that never change, so that the plan's work can be recorded.
#pragma once

#include <array>
#include <memory>
#include <vector>

#include "kernels/op.h"

namespace lockstep {

class PlanInputs {
 public:
  /// n_bytes: of each array; n_samples: N.
  PlanInputs(Device device, std::vector<int64_t> n_bytes, int64_t n_samples);

  /// Host arrays of the next micro-batch, as many as n_bytes or fewer (the rest keeps what it holds).
  /// They may be overwritten after wait_staged() (CPU: after the plan's backward), batch.sample_ids alike.
  void stage(const std::vector<const void*>& arrays, const BatchContext& batch);
  /// Returns when the last staged micro-batch has left the host's arrays, current or not.
  void wait_staged();
  /// The staged micro-batch becomes the current one for what is submitted to the stream from now on.
  void bring(Stream& stream);

  /// On the device: array i, and the batch.
  const void* data(size_t i) const;
  const BatchContext* batch() const;

 private:
  /// One micro-batch on its way: page-locked words about the batch, and its place on the device.
  struct Place {
    Memory about, device;
    std::unique_ptr<Event> arrived, taken;
    bool is_taken = false;  // `taken` has been recorded
  };

  Device device_;
  std::vector<int64_t> n_bytes_, offsets_;  // of the arrays in a place
  int64_t n_samples_, about_bytes_ = 0, place_bytes_ = 0;
  // CPU
  std::vector<const void*> arrays_;
  BatchContext batch_;
  // GPU
  std::unique_ptr<Stream> copies_;
  std::array<Place, 2> places_;
  size_t next_ = 0;
  Place* last_staged_ = nullptr;
  Memory current_;
};

}  // namespace lockstep
