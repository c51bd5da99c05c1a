// The judgement of the watchdog, without clock, sockets or threads: which ranks are lost, who says so, and
// who keeps the others waiting. Times are seconds of one clock.
//
// Ranks have an order, equal on all. The first few are watchers: they hear everybody, and everybody hears
// them. The first rank in the order that is not silent judges; so the next takes over where it is lost.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace lockstep {

/// What a rank tells of itself once a second.
struct Beat {
  int64_t step = 0;
  double for_s = 0;    // how long it has been at `work`
  bool waits = false;  // for other ranks
  std::string work;
};

enum class Loss : int {
  kNone,
  kEnded,    // its process is gone
  kStopped,  // by a signal or a debugger
  kSilent,   // no sign of life
  kFailed,   // it says that it ends with an error
};

class RankWatch {
 public:
  struct Options {
    double silent_s = 15;  // without a sign of life: lost
    double stuck_s = 25;   // at one work while others wait: a warning; 0: none
  };

  /// `order`: a permutation of all ranks; its first `n_watchers` are watchers. Everybody counts as just
  /// heard.
  RankWatch(int rank, std::vector<int> order, int n_watchers, const Options& options, double now_s);

  bool is_watcher(int rank) const { return place_[rank] < n_watchers_; }
  /// Whether ranks tell each other of themselves.
  bool hear_each_other(int a, int b) const { return a != b && (is_watcher(a) || is_watcher(b)); }
  /// No datagram of that rank gets through: it is never called silent.
  void leave_unwatched(int rank) { ranks_[rank].watched = false; }
  bool is_watched(int rank) const { return ranks_[rank].watched; }
  void heard(int rank, Beat beat, double now_s);
  void lose(int rank, Loss how);

  /// The ranks that this one has to call lost for their silence. To be called every second or so: who
  /// notices that it did not run itself for a while judges nobody until the others had time to speak.
  std::vector<int> silent(double now_s);
  /// What to tell of a rank that keeps others waiting, or of ranks that all wait for each other; "" for
  /// nothing. Only the first living rank of the order speaks, and ever more rarely.
  /// name(rank): how to call it.
  std::string stuck(double now_s, const std::function<std::string(int)>& name);

  Loss loss(int rank) const { return ranks_[rank].loss; }
  bool is_living(int rank) const { return ranks_[rank].loss == Loss::kNone; }
  std::vector<int> lost() const;
  /// The first in the order that lives; -1 for none.
  int first_living() const;
  const Beat& last_beat(int rank) const { return ranks_[rank].beat; }
  double heard_s(int rank) const { return ranks_[rank].heard_s; }
  /// "2 ranks in gradient all-reduce, bucket 0, at step 7 (0, 2); …" of the living ranks.
  std::string works_of_living() const;

 private:
  struct Rank {
    Beat beat;
    double heard_s = 0;
    bool watched = true;
    Loss loss = Loss::kNone;
  };
  std::vector<int> stuck_ranks(double now_s);

  int rank_;
  std::vector<int> order_, place_;  // rank at a place; place of a rank
  int n_watchers_;
  Options options_;
  std::vector<Rank> ranks_;
  double judged_s_;
  double pause_s_ = 0, last_warning_s_ = 0;
};

}  // namespace lockstep
