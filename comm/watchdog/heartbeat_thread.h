// The thread of a rank that tells the others of it, and that acts when one of them is lost: the first
// living rank prints who and tries to rescue the state, then all living ranks end. It needs neither MPI nor
// the main thread, which may be blocked for ever in a collective.
#pragma once

#include <atomic>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "comm/activity.h"
#include "comm/reduction/peer_process.h"
#include "comm/watchdog/datagrams.h"
#include "comm/watchdog/rank_watch.h"

namespace lockstep {

struct HeartbeatOptions {
  double silent_s = 15;  // without a sign of life a rank is lost
  double stuck_s = 25;   // of keeping others waiting: a warning, and again ever more rarely; 0: none
  double beat_s = 1;
  std::function<void(int status)> end = {};  // the process, when a rank is lost; empty: at once
};

/// Two sockets, so that beats, which are many, wake nobody: they are read once per beat_s.
struct HeartbeatSockets {
  explicit HeartbeatSockets(uint32_t address = 0) : beats(address), notices(address) {}
  DatagramSocket beats, notices;
};

/// What ranks know of each other.
struct Peer {
  std::string host;
  ProcessIdentity process;
  std::vector<uint32_t> addresses;  // the right one is the first to answer
  uint16_t beats_port = 0, notices_port = 0;
};

class HeartbeatThread {
 public:
  /// What it does to the process; tests put others in place.
  struct Effects {
    std::function<void(const std::string&)> print;          // lines for the user
    std::function<void(int status)> end;                    // the process; need not return
    std::function<Activity()> activity = current_activity;  // of the main thread
  };

  /// `token`: equal on all ranks of the run, and on no other.
  HeartbeatThread(int rank, std::vector<Peer> peers, HeartbeatSockets sockets, uint64_t token,
                  const HeartbeatOptions& options, Effects effects);
  ~HeartbeatThread();
  HeartbeatThread(const HeartbeatThread&) = delete;
  HeartbeatThread& operator=(const HeartbeatThread&) = delete;

  /// Before start(), on all ranks at once: finds out by which address the others answer. Returns those that
  /// do not within `limit_s`; they are left unwatched.
  std::vector<int> shake_hands(double limit_s);
  void start();

  /// What the first living rank does when another is lost, on a thread of its own: it saves what there is
  /// and returns a sentence about it. An exception's text takes its place. Empty: nothing can be saved.
  void set_rescue(std::function<std::string()> rescue);

  /// For a failure of this rank that the others know nothing of; from any thread. Where another rank is lost,
  /// which often is the reason, it does not return: the heartbeat ends the process. Else the others are told,
  /// it waits until they have saved what there is, and returns.
  void fail();

  /// From now on nothing is noticed any more: the ranks end in good order.
  void stop_judging() { judging_ = false; }

 private:
  struct Notice;
  struct Rescue;
  void run();
  void beat(double now_s);
  void read_beats(double now_s);
  void read_notices(double now_s);
  void judge(double now_s);
  void lose(int rank, Loss how, double now_s);
  void act(double now_s);
  void report_and_rescue(double now_s);
  void end_all(const std::string& last_words);
  std::string report(double now_s) const;
  Notice notice(int kind) const;
  void send(int rank, const Notice& what, bool to_beats = false);
  void send_to_living(const Notice& what);
  std::string name(int rank) const;
  void wake();

  const int rank_;
  const int n_ranks_;
  std::vector<Peer> peers_;
  HeartbeatSockets sockets_;
  const uint64_t token_;
  const HeartbeatOptions options_;
  Effects effects_;
  RankWatch watch_;
  std::vector<int> process_ends_;  // per rank, to poll; -1: cannot be seen from here
  int wake_ = -1;
  bool told_ = false, ended_ = false;
  double next_beat_s_ = 0, lost_since_s_ = 0, done_s_ = 0;
  std::shared_ptr<Rescue> rescue_;

  std::atomic<bool> judging_{true}, stopping_{false}, failing_{false};
  std::mutex mutex_;  // guards the next two
  std::function<std::string()> save_;
  bool loss_known_ = false, others_are_done_ = false;
  std::condition_variable changed_;
  std::thread thread_;
};

/// The order of judgement: first ranks of all hosts, then second ones …; equal on all ranks.
std::vector<int> order_of_judgement(const std::vector<Peer>& peers);

}  // namespace lockstep
