// The memory that a piece of work needs: the resident set's high-water mark (VmHWM of
// /proc/self/status) less what was resident before.
#pragma once

namespace lockstep {

class PeakMemory {
 public:
  /// Starts a new high-water mark where the system allows it.
  PeakMemory();
  double mb() const;

 private:
  double before_mb_;
};

}  // namespace lockstep
