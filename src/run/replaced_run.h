// The run that a new one replaces (--overwrite). Its files are moved aside, into RUN/.replaced, when the new
// one is ready to begin, and go when that has saved its first checkpoint; until then they can be put back.
// Only files that a run writes are touched, each by its name, and only where the folder is a run's.
#pragma once

#include <string>
#include <vector>

namespace lockstep {

/// Whether a run has written to the folder: it says so itself, or holds metrics or checkpoints of one.
bool is_run_folder(const std::string& folder);
/// Notes in a folder that it is a run's.
void mark_run_folder(const std::string& folder);

/// The files in a run folder that a run writes, relative to it.
std::vector<std::string> files_of_run(const std::string& folder);

class ReplacedRun {
 public:
  explicit ReplacedRun(std::string folder);

  /// Whether an old run lies aside.
  bool is_aside() const;
  /// For a folder where a process died: finishes what it had begun, either way. Nothing is lost: what the
  /// new run had not saved a checkpoint of gives way to the old one.
  void recover() const;
  /// Throws Error where a file cannot be moved; then all are where they were.
  void move_aside() const;
  /// The old run is back in its place, and files of the new one are gone.
  void put_back() const;
  /// The new run has saved.
  void forget() const;

 private:
  std::string folder_, aside_, complete_;
};

}  // namespace lockstep
