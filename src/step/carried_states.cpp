#include "src/step/carried_states.h"

namespace lockstep {

CarriedStates::CarriedStates(const Graph& graph, Device device, int64_t micro_batch, int64_t n_micro) {
  int64_t n_elements = 0;
  for (int v : graph.states()) {
    all_.push_back({graph.vertex(v).name, graph.vertex(v).shape.with_front(micro_batch), n_elements});
    n_elements += all_.back().shape.n_elements();
  }
  for (int64_t m = 0; m < n_micro && n_elements > 0; ++m) {
    before_.emplace_back(device, n_elements * int64_t{sizeof(float)});
    after_.emplace_back(device, n_elements * int64_t{sizeof(float)});
  }
  for (const Memory& states : before_) host_.push_back(std::make_unique<HostMirror>(states));
}

void CarriedStates::advance(Stream& stream) {
  for (size_t m = 0; m < before_.size(); ++m)
    copy(stream, before_[m].data(), after_[m].data(), before_[m].n_bytes());
}

}  // namespace lockstep
