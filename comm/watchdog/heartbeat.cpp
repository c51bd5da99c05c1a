#include "comm/watchdog/heartbeat.h"

#include <fmt/format.h>
#include <sys/random.h>
#include <unistd.h>

#include <atomic>
#include <exception>
#include <sstream>

#include "comm/activity.h"
#include "comm/agreement.h"

namespace lockstep {
namespace {

constexpr double kHandshake_s = 3;

std::atomic<HeartbeatThread*> active{nullptr};

uint64_t random_token() {
  uint64_t token = 0;
  [[maybe_unused]] const ssize_t ignored = getrandom(&token, sizeof token, 0);
  return token;
}

std::string write_peer(const HeartbeatSockets& sockets) {
  const ProcessIdentity process = this_process();
  std::string text =
      fmt::format("{} {} {} {} {} {} {}", host_name(), process.pid, process.start, process.host,
                  process.pid_space, sockets.beats.port(), sockets.notices.port());
  for (const uint32_t address : addresses_of_this_host()) text += fmt::format(" {}", address);
  return text;
}

Peer read_peer(const std::string& text) {
  std::istringstream fields(text);
  Peer peer;
  ProcessIdentity& process = peer.process;
  fields >> peer.host >> process.pid >> process.start >> process.host >> process.pid_space >>
      peer.beats_port >> peer.notices_port;
  for (uint32_t address = 0; fields >> address;) peer.addresses.push_back(address);
  return peer;
}

/// With one call, so that lines of several ranks do not mix; stdio's lock may be held by a blocked thread.
void print_now(const std::string& text) {
  [[maybe_unused]] const ssize_t ignored = write(STDERR_FILENO, text.data(), text.size());
}

}  // namespace

Heartbeat::Heartbeat(Communicator& comm, const HeartbeatOptions& options) : comm_(comm) {
  if (comm.size() == 1 || options.silent_s <= 0) return;
  std::unique_ptr<HeartbeatSockets> sockets;
  std::string failure;
  try {
    // Ranks of one host need no address that others can reach.
    const bool one_host = comm.local_size() == comm.size();
    sockets = std::make_unique<HeartbeatSockets>(one_host ? kLoopback : 0);
  } catch (const Error& error) {
    failure = error.what();
  }
  for (const std::string& text : comm.all_gather_strings(failure)) {
    if (text.empty()) continue;
    if (comm.is_root()) print_now(fmt::format("lockstep: WARNING: no watchdog: {}\n", text));
    return;
  }
  uint64_t token = random_token();
  comm.broadcast(&token, sizeof token);
  std::vector<Peer> peers;
  for (const std::string& text : comm.all_gather_strings(write_peer(*sockets)))
    peers.push_back(read_peer(text));

  thread_ = std::make_unique<HeartbeatThread>(
      comm.rank(), peers, std::move(*sockets), token, options,
      HeartbeatThread::Effects{print_now, options.end ? options.end : [](int status) { _exit(status); }});
  std::string unheard;
  for (const int rank : thread_->shake_hands(kHandshake_s)) {
    if (unheard.empty()) unheard = fmt::format("{} and {}", peers[comm.rank()].host, peers[rank].host);
  }
  thread_->start();  // answers those that are not through yet
  for (const std::string& hosts : comm.all_gather_strings(unheard)) {
    if (hosts.empty()) continue;
    if (comm.is_root())
      print_now(
          fmt::format("lockstep: WARNING: no datagrams (UDP) get through between {}: ranks there do not "
                      "watch each other; "
                      "allow UDP between the nodes, or turn the watchdog off with watchdog.silent_s=0\n",
                      hosts));
    break;
  }
  start_telling_activity();
  active = thread_.get();
}

Heartbeat::~Heartbeat() {
  if (!thread_) return;
  if (std::uncaught_exceptions() > 0) thread_->fail();
  active = nullptr;
  stop_telling_activity();
}

void Heartbeat::set_rescue(std::function<std::string()> rescue) {
  if (thread_) thread_->set_rescue(std::move(rescue));
}

void Heartbeat::stop() {
  if (!thread_) return;
  comm_.barrier();  // still under watch
  thread_->stop_judging();
  comm_.barrier();  // from here on nobody judges
  active = nullptr;
  stop_telling_activity();
  thread_.reset();
}

void tell_others_of_failure() {
  if (HeartbeatThread* thread = active) thread->fail();
}

}  // namespace lockstep
