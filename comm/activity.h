// What the main thread of a rank is at: step, work, and the collective in which it waits for other ranks.
// heartbeat.h tells the other ranks, so that a rank that is lost or late can be named with it. A change
// costs a clock and a few stores; threads without a heartbeat, and other threads than the one that started
// it, change nothing.
#pragma once

#include <cstdint>
#include <string>

namespace lockstep {

struct Activity {
  int64_t step = 0;                  // updates done
  const char* work = "starting";     // a string that lives as long as the program
  const char* collective = nullptr;  // null: it waits for no other rank
  int bucket = -1;                   // that is reduced; -1: none
  double for_s = 0;                  // since work or collective changed

  /// "reading data", "validation, in an all-reduce", "gradient all-reduce, bucket 3".
  std::string str() const;
};

/// From now on this thread is the one whose work is told.
void start_telling_activity();
void stop_telling_activity();
/// Callable from any thread.
Activity current_activity();

void tell_step(int64_t step);
/// From any thread: the bucket of gradients that travels over the ranks; -1: none.
void tell_bucket(int bucket);

/// The work of this thread until the end of the scope. Nested scopes name the inner work.
class Work {
 public:
  explicit Work(const char* what);
  ~Work();
  Work(const Work&) = delete;
  Work& operator=(const Work&) = delete;

 private:
  const char* before_ = nullptr;
};

/// Until the end of the scope this thread goes on only when the other ranks have done their part. Of
/// nested scopes the outer one is told.
class InCollective {
 public:
  explicit InCollective(const char* which);
  ~InCollective();
  InCollective(const InCollective&) = delete;
  InCollective& operator=(const InCollective&) = delete;

 private:
  bool told_ = false;
};

}  // namespace lockstep
