// Plans of one network, one for each length that sequences are padded to. They share their memory, of which
// one runs at a time, and the parameters; each packs weights only when it runs after a change.
#pragma once

#include <memory>
#include <vector>

#include "src/plan/plan.h"

namespace lockstep {

class PlanSet {
 public:
  /// graphs: in the order of buckets, the longest last; they and the arena must outlive the set.
  PlanSet(const std::vector<const Graph*>& graphs, const ParameterArena& arena,
          const std::vector<LossSpec>& losses, PlanOptions options);

  int size() const { return static_cast<int>(plans_.size()); }
  Plan& at(int bucket) const { return *plans_[static_cast<size_t>(bucket)].plan; }
  Plan& longest() const { return *plans_.back().plan; }

  /// That all of them submit their work to.
  Stream& stream() const { return *stream_; }
  /// The weights have other values now.
  void weights_changed();
  /// Before a plan runs: packs its weights anew if they have changed since.
  void refresh(int bucket);
  /// It did so by itself, as weights arrived.
  void is_fresh(int bucket) { plans_[static_cast<size_t>(bucket)].is_stale = false; }

 private:
  struct Member {
    std::unique_ptr<Plan> plan;
    bool is_stale = true;
  };
  std::vector<Member> plans_;
  std::shared_ptr<Stream> stream_;
};

}  // namespace lockstep
