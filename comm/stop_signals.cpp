// Signals that ask for a stop are blocked in every thread and taken by one that does nothing else. A handler
// would run on whatever stack the interrupted thread has, and the matrix kernels of oneDNN use the stack
// pointer for heap memory on AVX2: a frame that the kernel of the system writes there destroys the heap.
//
// A reader of stdout that goes away (`| head -1`) counts as a stop signal, too: SIGPIPE is ignored, and the
// same thread watches the pipe.
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstring>
#include <string>
#include <thread>

#include "comm/agreement.h"
#include "kernels/error.h"
#include "kernels/signal_stack.h"

namespace lockstep {
namespace {

constexpr int kStopSignals[] = {SIGTERM, SIGINT, SIGUSR1, SIGUSR2, SIGXCPU, SIGHUP};

std::atomic<int> arrived{0};
std::atomic<int> n_interrupts{0};
sigset_t taken;  // written before the thread starts
std::atomic<bool> takes_signals{false};

void note(int number) {
  arrived.store(number, std::memory_order_relaxed);
  if (number == SIGINT && n_interrupts.fetch_add(1) > 0) _exit(128 + SIGINT);
}

bool is_ignored(int number) {
  struct sigaction now = {};
  return sigaction(number, nullptr, &now) == 0 && now.sa_handler == SIG_IGN;
}

bool stdout_is_a_pipe() {
  struct stat status = {};
  return fstat(STDOUT_FILENO, &status) == 0 && (S_ISFIFO(status.st_mode) || S_ISSOCK(status.st_mode));
}

/// What is still printed goes nowhere, so that no write fails.
void redirect_stdout_to_nothing() {
  const int nothing = open("/dev/null", O_WRONLY | O_CLOEXEC);
  if (nothing < 0) return;
  dup2(nothing, STDOUT_FILENO);
  close(nothing);
}

void take_signals(int signals, bool watches_stdout) {
  pollfd watched[2] = {{signals, POLLIN, 0}, {STDOUT_FILENO, 0, 0}};
  nfds_t n_watched = watches_stdout ? 2 : 1;
  for (;;) {
    if (poll(watched, n_watched, -1) < 0) continue;  // interrupted
    signalfd_siginfo info = {};
    if ((watched[0].revents & POLLIN) && read(signals, &info, sizeof info) == ssize_t(sizeof info))
      note(int(info.ssi_signo));
    if (n_watched == 2 && (watched[1].revents & (POLLERR | POLLHUP))) {
      redirect_stdout_to_nothing();
      n_watched = 1;
      note(SIGPIPE);
    }
  }
}

}  // namespace

void take_stop_signals() {
  if (takes_signals.exchange(true)) return;
  sigemptyset(&taken);
  for (const int number : kStopSignals) {
    // nohup has SIGHUP ignored, and means it.
    if (number != SIGHUP || !is_ignored(SIGHUP)) sigaddset(&taken, number);
  }
  pthread_sigmask(SIG_BLOCK, &taken, nullptr);
  signal(SIGPIPE, SIG_IGN);
  signal(SIGXFSZ, SIG_IGN);  // a write beyond the limit of file sizes fails instead, as on a full disk
  const int signals = signalfd(-1, &taken, SFD_CLOEXEC | SFD_NONBLOCK);
  if (signals < 0)
    throw Error("stop signals", std::string("signalfd failed: ") + std::strerror(errno),
                "raise the limit of open files (ulimit -n 1024); a sandbox must allow signalfd");

  sigset_t all, before;  // no handler of a library runs on the thread below
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  std::thread thread(take_signals, signals, stdout_is_a_pipe());
  pthread_setname_np(thread.native_handle(), "stop_signals");
  thread.detach();
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

int stop_signal() {
  // What was sent to this very thread (raise, tgkill) is not seen by the other one.
  constexpr timespec kNoWait = {};
  if (takes_signals) {
    if (const int number = sigtimedwait(&taken, nullptr, &kNoWait); number > 0) note(number);
  }
  return arrived.load(std::memory_order_relaxed);
}

void ask_for_stop() { note(SIGXCPU); }

void move_handlers_to_signal_stacks() {
  use_signal_stack();
  for (int number = 1; number < NSIG; ++number) {
    struct sigaction action = {};
    if (sigaction(number, nullptr, &action) != 0) continue;
    const bool has_handler =
        (action.sa_flags & SA_SIGINFO) != 0 || (action.sa_handler != SIG_DFL && action.sa_handler != SIG_IGN);
    if (!has_handler || (action.sa_flags & SA_ONSTACK)) continue;
    action.sa_flags |= SA_ONSTACK;
    sigaction(number, &action, nullptr);
  }
}

}  // namespace lockstep
