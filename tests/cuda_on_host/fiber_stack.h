// The stacks of the executor's fibers: guarded by a page that may not be touched, and announced to
// AddressSanitizer or ThreadSanitizer at every switch.
#pragma once

#include <boost/context/protected_fixedsize_stack.hpp>
#include <cstddef>

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/common_interface_defs.h>
#endif
#ifdef __SANITIZE_THREAD__
#include <sanitizer/tsan_interface.h>
#endif

namespace cuda_on_host {

/// The stack of one fiber, or of the code that called run_grid (bounds unknown until it is left).
struct StackBounds {
  const void* bottom = nullptr;
  size_t n_bytes = 0;
  void* fake_stack = nullptr;  // AddressSanitizer's
  void* fiber = nullptr;       // ThreadSanitizer's
};

/// Boost.Context's allocator, which notes where the stack lies. Stacks begin at different places of
/// their page, lest the same frame of all threads falls on the same lines of the caches. Never freed.
class StackMaker {
 public:
#ifdef __SANITIZE_ADDRESS__
  static constexpr size_t kBytes = 256 * 1024;
#else
  static constexpr size_t kBytes = 64 * 1024;
#endif
  /// `number` of the fiber.
  StackMaker(StackBounds& bounds, size_t number) : bounds_(&bounds), shift_(number * 704 % 4096) {}
  boost::context::stack_context allocate() {
    boost::context::stack_context stack = memory_.allocate();
    stack.sp = static_cast<char*>(stack.sp) - shift_;
    stack.size -= shift_;
    bounds_->bottom = static_cast<const char*>(stack.sp) - stack.size;
    bounds_->n_bytes = stack.size;
#ifdef __SANITIZE_THREAD__
    bounds_->fiber = __tsan_create_fiber(0);
#endif
    return stack;
  }
  void deallocate(boost::context::stack_context&) noexcept {}

 private:
  boost::context::protected_fixedsize_stack memory_{kBytes};
  StackBounds* bounds_;
  size_t shift_;
};

/// Before and after a switch from one stack to another.
inline void leave_stack([[maybe_unused]] StackBounds& from, [[maybe_unused]] const StackBounds& to) {
#ifdef __SANITIZE_ADDRESS__
  __sanitizer_start_switch_fiber(&from.fake_stack, to.bottom, to.n_bytes);
#endif
#ifdef __SANITIZE_THREAD__
  from.fiber = __tsan_get_current_fiber();
  __tsan_switch_to_fiber(to.fiber, 0);
#endif
}
inline void arrived_on_stack([[maybe_unused]] StackBounds& own, [[maybe_unused]] StackBounds& from) {
#ifdef __SANITIZE_ADDRESS__
  __sanitizer_finish_switch_fiber(own.fake_stack, &from.bottom, &from.n_bytes);
#endif
}

}  // namespace cuda_on_host
