// SIGTERM, SIGINT and SIGUSR1 ask for a stop: the handler only writes a flag, the trainer
// looks at it between steps. A second SIGINT ends the process at once, as a user who
// presses Ctrl-C twice expects.
#include <signal.h>
#include <unistd.h>

#include <atomic>

#include "comm/agreement.h"

namespace lockstep {
namespace {

std::atomic<int> arrived{0};
std::atomic<int> n_interrupts{0};
static_assert(std::atomic<int>::is_always_lock_free, "a signal handler may use lock-free atomics only");

void on_stop_signal(int number) {
  arrived.store(number, std::memory_order_relaxed);
  if (number == SIGINT && n_interrupts.fetch_add(1) > 0) _exit(128 + SIGINT);
}

}  // namespace

void install_stop_signals() {
  struct sigaction action = {};
  action.sa_handler = on_stop_signal;
  sigemptyset(&action.sa_mask);
  action.sa_flags = SA_RESTART;  // reads and writes under way go on
  for (const int number : {SIGTERM, SIGINT, SIGUSR1}) sigaction(number, &action, nullptr);
}

int stop_signal() { return arrived.load(std::memory_order_relaxed); }

}  // namespace lockstep
