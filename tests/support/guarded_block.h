// Memory of one tensor, reached by test and device, between guard bytes that show writes outside of it. Under
// the address sanitizer the guards are poisoned, so that stray reads are found as well.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <utility>
#include <vector>

#include "tests/support/op_test.h"

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(address, size) ((void)(address), (void)(size))
#define ASAN_UNPOISON_MEMORY_REGION(address, size) ((void)(address), (void)(size))
#endif

namespace lockstep {

/// Memory of one tensor between two guards.
class GuardedBlock {
 public:
  explicit GuardedBlock(int64_t n_bytes) : n_bytes_(n_bytes) {
    base_ = allocate_shared_bytes(static_cast<size_t>(n_bytes + 2 * kGuardBytes));
    std::memset(base_, kGuard, kGuardBytes);
    std::memset(data() + n_bytes_, kGuard, kGuardBytes);
    fill();
    ASAN_POISON_MEMORY_REGION(base_, kGuardBytes);
    ASAN_POISON_MEMORY_REGION(data() + n_bytes_, kGuardBytes);
  }
  ~GuardedBlock() {
    if (!base_) return;
    unpoison();
    release_shared_bytes(base_);
  }
  GuardedBlock(GuardedBlock&& other) noexcept
      : base_(std::exchange(other.base_, nullptr)), n_bytes_(other.n_bytes_) {}
  GuardedBlock& operator=(GuardedBlock&&) = delete;

  std::byte* data() const { return base_ + kGuardBytes; }
  int64_t n_bytes() const { return n_bytes_; }
  void fill() { std::memset(data(), kFill, static_cast<size_t>(n_bytes_)); }
  void set(const std::vector<std::byte>& bytes) {
    ASSERT_EQ(static_cast<int64_t>(bytes.size()), n_bytes_);
    if (n_bytes_ > 0) std::memcpy(data(), bytes.data(), bytes.size());
  }
  std::vector<std::byte> bytes() const { return {data(), data() + n_bytes_}; }

  bool guards_intact() {
    unpoison();
    const auto intact = [](std::byte b) { return b == std::byte{kGuard}; };
    const bool result = std::all_of(base_, data(), intact) &&
                        std::all_of(data() + n_bytes_, data() + n_bytes_ + kGuardBytes, intact);
    ASAN_POISON_MEMORY_REGION(base_, kGuardBytes);
    ASAN_POISON_MEMORY_REGION(data() + n_bytes_, kGuardBytes);
    return result;
  }

 private:
  void unpoison() { ASAN_UNPOISON_MEMORY_REGION(base_, n_bytes_ + 2 * kGuardBytes); }
  static constexpr int64_t kGuardBytes = 256;
  static constexpr int kGuard = 0xA5;
  static constexpr int kFill = 0xFF;  // a NaN in every float format, -1 in every integer
  std::byte* base_ = nullptr;
  int64_t n_bytes_ = 0;
};

}  // namespace lockstep
