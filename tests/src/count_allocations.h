// Counts heap allocations of the whole process and says whose they are. The program that links
// count_allocations.cpp gets its own malloc family, which forwards to glibc's.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace lockstep {

/// False where the allocator cannot be replaced (sanitizers bring their own).
bool can_count_allocations();

/// All threads' allocations from here to stop_counting().
void start_counting();

struct Allocation {
  int64_t n_bytes = 0;
  std::string owner;    // file name of the program or library that asked, such as "libdnnl.so.2"
  bool is_own = false;  // asked for by the program itself: by our code
  std::string stack;    // innermost first, one frame a line, for messages
};
/// At most the first 32768; n_total counts all.
struct Allocations {
  std::vector<Allocation> items;
  int64_t n_total = 0;
};
Allocations stop_counting();

}  // namespace lockstep
