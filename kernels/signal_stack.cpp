#include "kernels/signal_stack.h"

#include <signal.h>

#include <algorithm>
#include <cstddef>
#include <memory>

namespace lockstep {
namespace {

class SignalStack {
 public:
  SignalStack() {
    stack_t now = {};
    if (sigaltstack(nullptr, &now) != 0 || !(now.ss_flags & SS_DISABLE)) return;
    // AVX-512 registers alone take 2.5 KiB of a frame, and libraries print backtraces in handlers.
    const size_t n_bytes = std::max<size_t>(64 * 1024, static_cast<size_t>(SIGSTKSZ));
    memory_ = std::make_unique<std::byte[]>(n_bytes);
    const stack_t stack = {.ss_sp = memory_.get(), .ss_flags = 0, .ss_size = n_bytes};
    if (sigaltstack(&stack, nullptr) != 0) memory_.reset();
  }
  ~SignalStack() {
    if (!memory_) return;
    const stack_t none = {.ss_sp = nullptr, .ss_flags = SS_DISABLE, .ss_size = 0};
    sigaltstack(&none, nullptr);
  }
  SignalStack(const SignalStack&) = delete;
  SignalStack& operator=(const SignalStack&) = delete;

 private:
  std::unique_ptr<std::byte[]> memory_;
};

}  // namespace

void use_signal_stack() {
  thread_local const SignalStack stack;
  static_cast<void>(stack);
}

}  // namespace lockstep
