// What a network's states are between steps: those that each of this rank's micro-batches goes on with. A
// step writes what they become beside them; with the update they take its place, so that what a checkpoint
// sees belongs to the weights.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "kernels/device.h"
#include "src/network/graph.h"

namespace lockstep {

class CarriedStates {
 public:
  /// n_micro: of this rank. All states are zero.
  CarriedStates(const Graph& graph, Device device, int64_t micro_batch, int64_t n_micro);

  bool empty() const { return all_.empty(); }
  struct State {
    std::string name;    // of the graph's vertex
    Shape shape;         // (N, …)
    int64_t offset = 0;  // elements into a micro-batch's array
  };
  const std::vector<State>& all() const { return all_; }

  /// Of own micro-batch m, float32 on the device: what it starts with, and where it leaves what comes of
  /// that.
  const float* before(int64_t m) const { return before_[static_cast<size_t>(m)].as<float>(); }
  float* after(int64_t m) { return after_[static_cast<size_t>(m)].as<float>(); }
  /// What a step has left is what the next one starts with.
  void advance(Stream& stream);

  const std::vector<Memory>& arrays() const { return before_; }
  const std::vector<std::unique_ptr<HostMirror>>& host() const { return host_; }

 private:
  std::vector<State> all_;
  std::vector<Memory> before_, after_;
  std::vector<std::unique_ptr<HostMirror>> host_;  // of before_
};

}  // namespace lockstep
