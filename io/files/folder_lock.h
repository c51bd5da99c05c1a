// A folder that one process writes to: a file .lock in it names host, process and start. Network file systems
// often know no locks between hosts, so none are asked for: the file is linked into place, which is atomic on
// all of them. A holder on this host is alive while /proc shows a process of that number and start; one
// elsewhere while the file's time moves on, which the holder's thread sees to every few seconds.
#pragma once

#include <atomic>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

namespace lockstep {

class FolderLock {
 public:
  /// Takes the folder, also from a process that is gone. Where that is not known, it first waits for a sign
  /// of life, kSilent_s at most. Throws Error naming the host, process, start and command of a holder that
  /// lives. `command`: what this process does, for others to read.
  FolderLock(std::string folder, const std::string& command);
  /// Gives the folder back.
  ~FolderLock();
  FolderLock(const FolderLock&) = delete;
  FolderLock& operator=(const FolderLock&) = delete;

  /// Throws Error where another process has taken the folder meanwhile, as it may after this one was stopped
  /// for long, or the disk was away.
  void check_held() const;

  /// A holder that lives is given kEnding_s to end: a killed launcher's ranks take a moment.
  static constexpr double kBeat_s = 5, kSilent_s = 60, kEnding_s = 3;
  static constexpr const char* kName = ".lock";

 private:
  void beat();

  std::string path_, text_;
  std::atomic<bool> lost_{false};
  bool ends_ = false;
  std::mutex mutex_;  // guards ends_
  std::condition_variable ending_;
  std::thread beats_;
};

}  // namespace lockstep
