// Heartbeats of several ranks in one process, over real sockets, with effects that end nothing: who is
// noticed to be gone, silent or failing, who reports and saves, and that all others end.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <latch>
#include <thread>

#include "comm/agreement.h"
#include "comm/watchdog/heartbeat_thread.h"

namespace lockstep {
namespace {

using namespace std::chrono_literals;

template <typename Condition>
bool soon(Condition condition) {
  for (int i = 0; i < 2000 && !condition(); ++i) std::this_thread::sleep_for(10ms);
  return condition();
}

/// n ranks on as many hosts (which have one address), so that only datagrams tell of each other.
struct Ranks {
  struct Rank {
    std::mutex mutex;
    std::string printed;
    std::atomic<int> status{-1};
    std::atomic<bool> mute{false};  // its heartbeat stands still
    std::unique_ptr<HeartbeatThread> thread;
    std::string text() {
      std::lock_guard lock(mutex);
      return printed;
    }
  };
  explicit Ranks(int n, HeartbeatOptions options = {.silent_s = 1, .stuck_s = 0, .beat_s = 0.05},
                 std::function<void(int, std::vector<Peer>&)> change = {}) {
    std::vector<HeartbeatSockets> sockets(n);
    std::vector<Peer> peers(n);
    for (int r = 0; r < n; ++r) {
      peers[r] = {
          "host" + std::to_string(r), {}, {kLoopback}, sockets[r].beats.port(), sockets[r].notices.port()};
      peers[r].process = {1000 + r, 1, static_cast<uint64_t>(r + 1), static_cast<uint64_t>(r + 1)};
    }
    for (int r = 0; r < n; ++r) ranks.push_back(std::make_unique<Rank>());
    for (int r = 0; r < n; ++r) {
      Rank& one = *ranks[r];
      HeartbeatThread::Effects effects;
      effects.print = [&one](const std::string& text) {
        std::lock_guard lock(one.mutex);
        one.printed += text;
      };
      effects.end = [&one](int status) { one.status = status; };
      effects.activity = [&one, r] {
        while (one.mute) std::this_thread::sleep_for(1ms);
        Activity activity;
        activity.step = 7;
        activity.work = r == 0 ? "reading data" : "computing";
        activity.collective = r == 0 ? nullptr : "gradient all-reduce";
        return activity;
      };
      std::vector<Peer> known = peers;
      if (change) change(r, known);
      one.thread = std::make_unique<HeartbeatThread>(r, known, std::move(sockets[r]), 42, options, effects);
    }
    std::vector<std::jthread> starts;
    for (auto& one : ranks) {
      starts.emplace_back([&one = *one, this] {
        n_unheard += static_cast<int>(one.thread->shake_hands(0.5).size());
        one.thread->start();
      });
    }
  }
  ~Ranks() {
    for (auto& one : ranks) one->mute = false;
  }
  std::string all_text() {
    std::string text;
    for (auto& one : ranks) text += one->text();
    return text;
  }
  bool have_ended(const std::vector<int>& who) {
    return std::all_of(who.begin(), who.end(), [&](int r) { return ranks[r]->status == kExitRankLost; });
  }
  std::vector<std::unique_ptr<Rank>> ranks;
  std::atomic<int> n_unheard{0};
};

int count(const std::string& text, const std::string& part) {
  int n = 0;
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++n;
  return n;
}

TEST(Heartbeat, NobodyIsLostWhileAllLive) {
  Ranks run(3);
  EXPECT_EQ(run.n_unheard, 0);
  std::this_thread::sleep_for(1500ms);
  EXPECT_EQ(run.all_text(), "");
  for (auto& one : run.ranks) one->thread->stop_judging();
}

TEST(Heartbeat, AnEndedProcessIsReportedOnceAndAllOthersEnd) {
  for (const int gone : {0, 1, 2}) {
    Ranks run(3, {.silent_s = 30, .stuck_s = 0, .beat_s = 0.05});
    std::atomic<int> n_saved{0};
    for (auto& one : run.ranks)
      one->thread->set_rescue([&n_saved] { return "saved " + std::to_string(++n_saved); });
    std::this_thread::sleep_for(200ms);
    run.ranks[gone]->thread.reset();  // its sockets close: its host answers that nobody listens
    std::vector<int> others;
    for (int r = 0; r < 3; ++r)
      if (r != gone) others.push_back(r);
    EXPECT_TRUE(soon([&] { return run.have_ended(others); }));
    const std::string text = run.ranks[others[0]]->text();
    EXPECT_NE(text.find("RANK LOST: rank " + std::to_string(gone) + " on host" + std::to_string(gone) +
                        ", pid " + std::to_string(1000 + gone) + ": its process has ended"),
              std::string::npos)
        << text;
    EXPECT_NE(text.find(gone == 0 ? "at \"reading data\" of step 7" : "in gradient all-reduce\" of step 7"),
              std::string::npos)
        << text;
    EXPECT_NE(text.find("lockstep: saved 1\n"), std::string::npos) << text;
    EXPECT_EQ(run.ranks[others[1]]->text(), "");
    EXPECT_EQ(n_saved, 1);
  }
}

TEST(Heartbeat, ASilentRankIsReportedAndEndsWhenItWakesUp) {
  Ranks run(3);
  std::this_thread::sleep_for(200ms);
  run.ranks[1]->mute = true;
  EXPECT_TRUE(soon([&] { return run.have_ended({0, 2}); }));
  EXPECT_NE(
      run.ranks[0]->text().find("RANK LOST: rank 1 on host1, pid 1001: its host or its process does not"),
      std::string::npos)
      << run.ranks[0]->text();
  EXPECT_NE(run.ranks[0]->text().find("no emergency checkpoint: training had not begun"), std::string::npos);
  run.ranks[1]->mute = false;
  EXPECT_TRUE(soon([&] { return run.have_ended({1}); }));
  EXPECT_NE(run.ranks[1]->text().find("wakes up after the other ranks called it lost"), std::string::npos);
}

TEST(Heartbeat, TheNextOneTakesOverWhereTheOneThatSavesIsLost) {
  Ranks run(4);
  std::latch saving(1);
  run.ranks[0]->thread->set_rescue([&]() -> std::string {
    saving.count_down();
    std::this_thread::sleep_for(3s);
    return "too late";
  });
  run.ranks[1]->thread->set_rescue([] { return std::string("the next one saved"); });
  std::this_thread::sleep_for(200ms);
  run.ranks[3]->thread.reset();
  saving.wait();
  run.ranks[0]->mute = true;
  EXPECT_TRUE(soon([&] { return run.have_ended({1, 2}); }));
  EXPECT_NE(run.ranks[1]->text().find("the next one saved"), std::string::npos) << run.ranks[1]->text();
  EXPECT_EQ(count(run.ranks[1]->text(), "RANK LOST"), 2) << run.ranks[1]->text();
  run.ranks[0]->mute = false;
  std::this_thread::sleep_for(3s);  // its rescue ends
}

TEST(Heartbeat, AFailingRankWaitsUntilTheOthersHaveSaved) {
  Ranks run(3);
  std::atomic<bool> saved{false};
  run.ranks[0]->thread->set_rescue([&] {
    std::this_thread::sleep_for(300ms);
    saved = true;
    return std::string("saved");
  });
  std::this_thread::sleep_for(200ms);
  run.ranks[2]->thread->fail();
  EXPECT_TRUE(saved);
  EXPECT_EQ(run.ranks[2]->status, -1) << "it prints its own error and ends with its own status";
  EXPECT_TRUE(soon([&] { return run.have_ended({0, 1}); }));
  EXPECT_NE(run.ranks[0]->text().find("it ends with an error of its own"), std::string::npos);
}

TEST(Heartbeat, AFailureThatFollowsALossIsTheLossOnly) {
  Ranks run(2);
  std::this_thread::sleep_for(200ms);
  run.ranks[1]->thread.reset();
  std::atomic<bool> returned{false};
  std::thread main_thread([&] {  // as MPI fails where a peer is gone
    run.ranks[0]->thread->fail();
    returned = true;
  });
  main_thread.detach();
  EXPECT_TRUE(soon([&] { return run.have_ended({0}); }));
  EXPECT_FALSE(returned);
  EXPECT_EQ(count(run.all_text(), "RANK LOST"), 1);
  run.ranks[0].release();  // the thread above stays in it
  run.ranks.clear();
}

TEST(Heartbeat, HostsThatDatagramsDoNotReachAreNotWatched) {
  const auto cut_off_2 = [](int rank, std::vector<Peer>& peers) {
    for (int r = 0; r < 3; ++r)
      if (r != rank && (r == 2 || rank == 2))
        peers[r].addresses = {0xc0000201};  // 192.0.2.1, which is nowhere
  };
  Ranks run(3, {.silent_s = 1, .stuck_s = 0, .beat_s = 0.05}, cut_off_2);
  EXPECT_TRUE(soon([&] { return run.n_unheard == 4; }));
  std::this_thread::sleep_for(2000ms);
  EXPECT_EQ(run.all_text(), "");
  for (auto& one : run.ranks) one->thread->stop_judging();
}

TEST(PeerProcess, StatesOfAProcess) {
  int to_child[2], from_child[2];
  ASSERT_EQ(pipe(to_child), 0);
  ASSERT_EQ(pipe(from_child), 0);
  const pid_t child = fork();
  if (child == 0) {
    const ProcessIdentity own = this_process();
    [[maybe_unused]] ssize_t n = write(from_child[1], &own, sizeof own);
    char byte;
    n = read(to_child[0], &byte, 1);
    pause();
  }
  ProcessIdentity identity;
  ASSERT_EQ(read(from_child[0], &identity, sizeof identity), static_cast<ssize_t>(sizeof identity));
  EXPECT_EQ(identity.pid, child);
  EXPECT_EQ(identity.host, this_process().host);
  EXPECT_EQ(identity.pid_space, this_process().pid_space);
  EXPECT_EQ(process_state(identity), ProcessState::kRuns);
  kill(child, SIGSTOP);
  EXPECT_TRUE(soon([&] { return process_state(identity) == ProcessState::kStopped; }));
  kill(child, SIGKILL);
  EXPECT_TRUE(soon([&] { return process_state(identity) == ProcessState::kGone; })) << "a zombie is gone";
  waitpid(child, nullptr, 0);
  EXPECT_EQ(process_state(identity), ProcessState::kGone);
  EXPECT_EQ(watch_process_end(identity), -1);
}

}  // namespace
}  // namespace lockstep
