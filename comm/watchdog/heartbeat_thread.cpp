#include "comm/watchdog/heartbeat_thread.h"

#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <exception>
#include <map>

#include "comm/agreement.h"

namespace lockstep {

namespace {

constexpr int kWatchers = 8;
constexpr int kManyRanks = 200;     // whose beats of one second a socket keeps
constexpr double kHurry_s = 0.1;    // between beats once a rank is lost
constexpr double kSettle_s = 0.25;  // for further losses and fresh beats, before the report
constexpr double kRescue_s = 300;   // at most
constexpr double kProbe_s = 0.5;    // a failing rank waits so long for news of others
constexpr double kFarewell_s = 2;   // for a failing rank to print its message
constexpr int kDoneRepeats = 3;

enum Kind : int32_t { kBeat, kHello, kWelcome, kLost, kDone };

double seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

const char* describe(Loss how) {
  switch (how) {
    case Loss::kEnded: return "its process has ended (a crash, kill -9, or the kernel for lack of memory)";
    case Loss::kStopped: return "its process is stopped (SIGSTOP or a debugger)";
    case Loss::kSilent: return "its host or its process does not answer";
    case Loss::kFailed: return "it ends with an error of its own, which it prints";
    case Loss::kNone: break;
  }
  return "";
}

}  // namespace

/// All that travels, in the layout of this machine: the ranks of a run share hardware model and program.
struct HeartbeatThread::Notice {
  uint64_t token;
  int64_t step;
  double for_s;
  int32_t kind, sender, waits;
  int32_t lost, how;  // kLost
  char work[100];
};

/// Outlives the heartbeat where the saving hangs.
struct HeartbeatThread::Rescue {
  std::mutex mutex;
  bool done = false;
  std::string words;
};

std::vector<int> order_of_judgement(const std::vector<Peer>& peers) {
  std::map<uint64_t, int> n_on_host;
  std::vector<std::pair<int, int>> keys;  // number on its host, rank
  for (size_t r = 0; r < peers.size(); ++r)
    keys.emplace_back(n_on_host[peers[r].process.host]++, static_cast<int>(r));
  std::sort(keys.begin(), keys.end());
  std::vector<int> order;
  for (const auto& key : keys) order.push_back(key.second);
  return order;
}

HeartbeatThread::HeartbeatThread(int rank, std::vector<Peer> peers, HeartbeatSockets sockets, uint64_t token,
                                 const HeartbeatOptions& options, Effects effects)
    : rank_(rank),
      n_ranks_(static_cast<int>(peers.size())),
      peers_(std::move(peers)),
      sockets_(std::move(sockets)),
      token_(token),
      options_(options),
      effects_(std::move(effects)),
      watch_(rank, order_of_judgement(peers_), std::min(kWatchers, n_ranks_),
             {options.silent_s, options.stuck_s}, seconds()),
      process_ends_(n_ranks_, -1),
      wake_(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)) {
  for (int r = 0; r < n_ranks_; ++r) {
    if (peers_[r].process.host == peers_[rank_].process.host) peers_[r].addresses = {kLoopback};
    if (r != rank_ && peers_[r].process.pid_space == peers_[rank_].process.pid_space)
      process_ends_[r] = watch_process_end(peers_[r].process);
  }
}

HeartbeatThread::~HeartbeatThread() {
  stopping_ = true;
  wake();
  if (thread_.joinable()) thread_.join();
  for (const int handle : process_ends_)
    if (handle >= 0) close(handle);
  if (wake_ >= 0) close(wake_);
}

void HeartbeatThread::start() {
  sigset_t all, before;  // signals are for the main thread
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  thread_ = std::thread([this] { run(); });
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

void HeartbeatThread::wake() {
  const uint64_t one = 1;
  [[maybe_unused]] const ssize_t ignored = write(wake_, &one, sizeof one);
}

HeartbeatThread::Notice HeartbeatThread::notice(int kind) const {
  Notice notice;
  std::memset(&notice, 0, sizeof notice);
  const Activity activity = effects_.activity();
  notice.token = token_;
  notice.kind = kind;
  notice.sender = rank_;
  notice.step = activity.step;
  notice.for_s = activity.for_s;
  notice.waits = activity.collective != nullptr;
  activity.str().copy(notice.work, sizeof notice.work - 1);
  return notice;
}

void HeartbeatThread::send(int rank, const Notice& what, bool to_beats) {
  DatagramSocket& socket = to_beats ? sockets_.beats : sockets_.notices;
  const uint16_t port = to_beats ? peers_[rank].beats_port : peers_[rank].notices_port;
  for (const uint32_t address : peers_[rank].addresses) socket.send({address, port}, &what, sizeof what);
}

void HeartbeatThread::send_to_living(const Notice& what) {
  for (int r = 0; r < n_ranks_; ++r)
    if (r != rank_ && watch_.is_living(r)) send(r, what);
}

std::vector<int> HeartbeatThread::shake_hands(double limit_s) {
  const double end_s = seconds() + limit_s;
  std::vector<bool> answered(n_ranks_);
  const auto missing = [&] {
    std::vector<int> ranks;
    for (int r = 0; r < n_ranks_; ++r)
      if (watch_.hear_each_other(rank_, r) && !answered[r]) ranks.push_back(r);
    return ranks;
  };
  double next_hello_s = 0;
  while (!missing().empty() && seconds() < end_s) {
    if (seconds() >= next_hello_s) {
      for (const int r : missing()) send(r, notice(kHello));
      next_hello_s = seconds() + kHurry_s;
    }
    pollfd readable{sockets_.notices.handle(), POLLIN, 0};
    poll(&readable, 1, 20);
    Notice received;
    Endpoint from;
    while (sockets_.notices.receive(&received, sizeof received, from)) {
      if (received.token != token_ || received.sender < 0 || received.sender >= n_ranks_) continue;
      if (received.kind == kHello) send(received.sender, notice(kWelcome));
      answered[received.sender] = true;
      peers_[received.sender].addresses = {from.address};
    }
  }
  for (const int r : missing()) watch_.leave_unwatched(r);
  return missing();
}

void HeartbeatThread::set_rescue(std::function<std::string()> rescue) {
  std::lock_guard lock(mutex_);
  save_ = std::move(rescue);
}

void HeartbeatThread::run() {
  prctl(PR_SET_NAME, "heartbeat");
  std::vector<pollfd> waits;
  std::vector<int> rank_of;
  while (!stopping_) {
    double now_s = seconds();
    if (now_s >= next_beat_s_) {
      beat(now_s);
      read_beats(now_s);
      judge(now_s);
      next_beat_s_ = now_s + (lost_since_s_ > 0 ? std::min(kHurry_s, options_.beat_s) : options_.beat_s);
    }
    waits.assign({{wake_, POLLIN, 0}, {sockets_.notices.handle(), POLLIN, 0}});
    rank_of.assign({-1, -1});
    for (int r = 0; r < n_ranks_; ++r) {
      if (!judging_ || process_ends_[r] < 0 || !watch_.is_living(r)) continue;
      waits.push_back({process_ends_[r], POLLIN, 0});
      rank_of.push_back(r);
    }
    const double read_s = options_.beat_s * std::min(1.0, static_cast<double>(kManyRanks) / n_ranks_);
    const double wait_s = std::min(next_beat_s_ - now_s, read_s);
    poll(waits.data(), waits.size(), std::max(1, static_cast<int>(1000 * wait_s)));
    now_s = seconds();
    if (n_ranks_ > kManyRanks) read_beats(now_s);
    if (uint64_t n_woken; read(wake_, &n_woken, sizeof n_woken) > 0) next_beat_s_ = 0;
    read_notices(now_s);
    for (size_t i = 2; i < waits.size(); ++i)
      if (waits[i].revents != 0) lose(rank_of[i], Loss::kEnded, now_s);
    for (DatagramSocket* socket : {&sockets_.beats, &sockets_.notices}) {
      for (const Endpoint& dead : socket->refused()) {
        for (int r = 0; r < n_ranks_; ++r) {
          const Peer& peer = peers_[r];
          // A firewall may refuse as a host does, so only the word about who has answered before counts.
          if (watch_.is_watched(r) && peer.addresses == std::vector{dead.address} &&
              (dead.port == peer.beats_port || dead.port == peer.notices_port))
            lose(r, Loss::kEnded, now_s);
        }
      }
    }
    if (lost_since_s_ > 0) act(now_s);
    if (ended_) return;
  }
}

void HeartbeatThread::beat(double now_s) {
  const Notice own = notice(kBeat);
  watch_.heard(rank_, {own.step, own.for_s, own.waits != 0, own.work}, now_s);
  for (int r = 0; r < n_ranks_; ++r)
    if (watch_.hear_each_other(rank_, r) && watch_.is_living(r)) send(r, own, true);
}

void HeartbeatThread::read_beats(double now_s) {
  Notice received;
  Endpoint from;
  while (sockets_.beats.receive(&received, sizeof received, from)) {
    if (received.token != token_ || received.sender < 0 || received.sender >= n_ranks_) continue;
    received.work[sizeof received.work - 1] = '\0';
    watch_.heard(received.sender, {received.step, received.for_s, received.waits != 0, received.work}, now_s);
  }
}

void HeartbeatThread::read_notices(double now_s) {
  Notice received;
  Endpoint from;
  while (sockets_.notices.receive(&received, sizeof received, from)) {
    if (received.token != token_ || received.sender < 0 || received.sender >= n_ranks_) continue;
    if (received.kind == kHello) send(received.sender, notice(kWelcome));
    if (received.kind == kLost && received.lost >= 0 && received.lost < n_ranks_)
      lose(received.lost, static_cast<Loss>(received.how), now_s);
    if (received.kind == kDone && judging_ && done_s_ == 0) done_s_ = now_s;
  }
}

void HeartbeatThread::judge(double now_s) {
  if (!judging_) return;
  for (const int r : watch_.silent(now_s)) {
    Loss how = Loss::kSilent;
    if (peers_[r].process.pid_space == peers_[rank_].process.pid_space) {
      const ProcessState state = process_state(peers_[r].process);
      if (state == ProcessState::kGone) how = Loss::kEnded;
      if (state == ProcessState::kStopped) how = Loss::kStopped;
    }
    lose(r, how, now_s);
  }
  if (lost_since_s_ > 0) return;
  const std::string warning = watch_.stuck(now_s, [&](int r) { return name(r); });
  if (!warning.empty()) effects_.print("lockstep: WARNING: " + warning + "\n");
}

void HeartbeatThread::lose(int rank, Loss how, double now_s) {
  if (!judging_ || !watch_.is_living(rank)) return;
  if (rank == rank_ && !failing_) {  // this process stood still, and the others go on without it
    ended_ = true;
    effects_.print(
        fmt::format("lockstep: {} wakes up after the other ranks called it lost; it ends\n", name(rank_)));
    return effects_.end(kExitRankLost);
  }
  watch_.lose(rank, how);
  if (lost_since_s_ == 0) {
    lost_since_s_ = now_s;
    next_beat_s_ = 0;  // tells what this rank waits in
  }
  Notice news = notice(kLost);
  news.lost = rank;
  news.how = static_cast<int32_t>(how);
  send_to_living(news);
  std::lock_guard lock(mutex_);
  loss_known_ = true;
  changed_.notify_all();
}

void HeartbeatThread::act(double now_s) {
  if (!judging_ || ended_) return;
  for (const int r : watch_.lost()) {  // again, as datagrams may be lost
    Notice news = notice(kLost);
    news.lost = r;
    news.how = static_cast<int32_t>(watch_.loss(r));
    send_to_living(news);
    if (watch_.loss(r) != Loss::kFailed) send(r, news);  // perhaps it wakes up
  }
  const std::vector<int> lost = watch_.lost();
  const bool one_failed =
      std::any_of(lost.begin(), lost.end(), [&](int r) { return watch_.loss(r) == Loss::kFailed; });
  if (failing_) {
    if (done_s_ == 0 && static_cast<int>(lost.size()) < n_ranks_) return;
    std::lock_guard lock(mutex_);
    others_are_done_ = true;
    changed_.notify_all();
    return;
  }
  if (done_s_ > 0 || now_s - lost_since_s_ > kRescue_s + kFarewell_s) {
    if (one_failed && now_s - done_s_ < kFarewell_s) return;
    ended_ = true;
    return effects_.end(kExitRankLost);
  }
  if (watch_.first_living() == rank_) report_and_rescue(now_s);
}

void HeartbeatThread::report_and_rescue(double now_s) {
  if (!rescue_) {
    rescue_ = std::make_shared<Rescue>();
    std::lock_guard lock(mutex_);
    std::thread([rescue = rescue_, save = save_] {
      std::string words = "no emergency checkpoint: training had not begun, or was over";
      try {
        if (save) words = save();
      } catch (const std::exception& error) {
        words = std::string("no emergency checkpoint: ") + error.what();
      }
      std::lock_guard done(rescue->mutex);
      rescue->words = words;
      rescue->done = true;
    }).detach();
  }
  if (!told_ && now_s - lost_since_s_ >= kSettle_s) {
    told_ = true;
    effects_.print(report(now_s));
  }
  if (!told_) return;
  std::unique_lock lock(rescue_->mutex);
  const bool done = rescue_->done;
  const std::string words = rescue_->words;
  lock.unlock();
  if (done) return end_all(words);
  if (now_s - lost_since_s_ > kRescue_s)
    end_all(fmt::format("no emergency checkpoint: writing it took longer than {} s", kRescue_s));
}

void HeartbeatThread::end_all(const std::string& last_words) {
  effects_.print("lockstep: " + last_words + "\n");
  for (int i = 0; i < kDoneRepeats; ++i) {
    send_to_living(notice(kDone));
    for (const int r : watch_.lost())
      if (watch_.loss(r) == Loss::kFailed) send(r, notice(kDone));
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  done_s_ = seconds();
  const std::vector<int> lost = watch_.lost();
  if (std::any_of(lost.begin(), lost.end(), [&](int r) { return watch_.loss(r) == Loss::kFailed; })) return;
  ended_ = true;
  effects_.end(kExitRankLost);
}

std::string HeartbeatThread::name(int rank) const {
  return fmt::format("rank {} on {}, pid {}", rank, peers_[rank].host, peers_[rank].process.pid);
}

std::string HeartbeatThread::report(double now_s) const {
  std::string text;
  for (const int r : watch_.lost()) {
    const Beat& last = watch_.last_beat(r);
    text += fmt::format("lockstep: RANK LOST: {}: {}\n", name(r), describe(watch_.loss(r)));
    if (watch_.loss(r) == Loss::kFailed) continue;  // it has left its work
    text += last.work.empty() ? "  nothing was heard of it\n"
                              : fmt::format("  last heard of {:.1f} s ago, at \"{}\" of step {}\n",
                                            now_s - watch_.heard_s(r), last.work, last.step);
  }
  return text + fmt::format("  now {}\n", watch_.works_of_living());
}

void HeartbeatThread::fail() {
  {
    std::unique_lock lock(mutex_);
    if (others_are_done_ || !judging_) return;
    wake();  // a beat: hosts where a process has ended answer so
    const auto limit = std::chrono::duration<double>(kProbe_s);
    const bool lost = changed_.wait_for(lock, limit, [&] { return loss_known_; });
    if (lost && !failing_) changed_.wait(lock, [] { return false; });  // the thread ends the process
  }
  if (!failing_.exchange(true)) {
    Notice news = notice(kLost);
    news.lost = rank_;
    news.how = static_cast<int32_t>(Loss::kFailed);
    Endpoint self{kLoopback, sockets_.notices.port()};
    sockets_.notices.send(self, &news, sizeof news);  // the thread takes it from there
  }
  std::unique_lock lock(mutex_);
  changed_.wait_for(lock, std::chrono::duration<double>(kRescue_s), [&] { return others_are_done_; });
}

}  // namespace lockstep
