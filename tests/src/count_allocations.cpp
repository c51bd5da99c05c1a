// An allocation belongs to the first frame outside of the C and C++ runtimes (and the allocator
// below): `new` inside libstdc++ on behalf of our code is ours. The OpenMP runtime, which makes a
// team for every parallel region, is named together with who asked for the region. Frames are
// only recorded while counting and named afterwards, because naming them allocates.
#include "tests/src/count_allocations.h"

#include <dlfcn.h>
#include <execinfo.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || !defined(__GLIBC__)
#define LOCKSTEP_OWN_MALLOC 0
#else
#define LOCKSTEP_OWN_MALLOC 1
#endif

namespace lockstep {
namespace {

constexpr int kFrames = 24, kRecords = 1 << 15;
struct Record {
  int64_t n_bytes;
  int n_frames;
  void* frames[kFrames];
};
Record records[kRecords];
std::atomic<int64_t> n_recorded{0};
std::atomic<bool> counting{false};
thread_local bool inside = false;  // backtrace() may allocate

std::string file_name(const char* path) {
  const char* slash = std::strrchr(path, '/');
  return slash ? slash + 1 : path;
}

bool is_runtime(const std::string& file) {
  for (const char* prefix : {"libc.so", "libc-", "libstdc++", "ld-linux", "libgcc_s", "libpthread"}) {
    if (file.rfind(prefix, 0) == 0) return true;
  }
  return false;
}

[[maybe_unused]] __attribute__((noinline)) void record(size_t n_bytes) {
  if (!counting.load(std::memory_order_relaxed) || inside) return;
  inside = true;
  const int64_t i = n_recorded.fetch_add(1, std::memory_order_relaxed);
  if (i < kRecords) {
    records[i].n_bytes = static_cast<int64_t>(n_bytes);
    records[i].n_frames = backtrace(records[i].frames, kFrames);
  }
  inside = false;
}

}  // namespace

bool can_count_allocations() { return LOCKSTEP_OWN_MALLOC != 0; }

void start_counting() {
  void* frames[4];
  backtrace(frames, 4);  // loads its library now, not while counting
  n_recorded = 0;
  counting = true;
}

Allocations stop_counting() {
  counting = false;
  Allocations result;
  result.n_total = n_recorded;
  Dl_info self{};
  dladdr(reinterpret_cast<void*>(&stop_counting), &self);
  for (int64_t i = 0; i < std::min<int64_t>(n_recorded, kRecords); ++i) {
    Allocation allocation;
    allocation.n_bytes = records[i].n_bytes;
    bool in_allocator = true, by_openmp = false;
    for (int f = 0; f < records[i].n_frames; ++f) {
      // A return address may belong to the next function; one byte before it does not.
      void* address = static_cast<char*>(records[i].frames[f]) - 1;
      Dl_info info{};
      if (dladdr(address, &info) == 0 || info.dli_fname == nullptr) continue;
      const std::string file = file_name(info.dli_fname);
      const bool is_program = std::strcmp(info.dli_fname, self.dli_fname) == 0;
      // The innermost frames of the program are record() and malloc() of this file.
      const std::string symbol = info.dli_sname ? info.dli_sname : "?";
      const bool is_allocator = in_allocator && is_program && f < 3 &&
                                (f == 0 || symbol.find("alloc") != std::string::npos ||
                                 symbol.find("memalign") != std::string::npos);
      if (is_allocator) continue;
      in_allocator = false;
      const auto offset = static_cast<char*>(address) - static_cast<char*>(info.dli_fbase);
      char line[64];
      std::snprintf(line, sizeof(line), " +0x%lx ", static_cast<unsigned long>(offset));
      allocation.stack += "  " + file + line + symbol + "\n";
      if (!allocation.owner.empty() || is_runtime(file)) continue;
      if (file.rfind("libgomp", 0) == 0) {
        by_openmp = true;
        continue;
      }
      allocation.owner = by_openmp ? "OpenMP for " + file : file;
      const bool is_ours = is_program || file.rfind("liblockstep", 0) == 0;
      allocation.is_own = is_ours && !by_openmp;
    }
    if (allocation.owner.empty()) allocation.owner = by_openmp ? "OpenMP" : "the C library";
    result.items.push_back(std::move(allocation));
  }
  return result;
}

}  // namespace lockstep

#if LOCKSTEP_OWN_MALLOC
extern "C" {

void* __libc_malloc(size_t n_bytes);
void* __libc_calloc(size_t count, size_t n_bytes);
void* __libc_realloc(void* data, size_t n_bytes);
void* __libc_memalign(size_t alignment, size_t n_bytes);
void __libc_free(void* data);

void* malloc(size_t n_bytes) {
  lockstep::record(n_bytes);
  return __libc_malloc(n_bytes);
}
void* calloc(size_t count, size_t n_bytes) {
  lockstep::record(count * n_bytes);
  return __libc_calloc(count, n_bytes);
}
void* realloc(void* data, size_t n_bytes) {
  lockstep::record(n_bytes);
  return __libc_realloc(data, n_bytes);
}
void* memalign(size_t alignment, size_t n_bytes) {
  lockstep::record(n_bytes);
  return __libc_memalign(alignment, n_bytes);
}
void* aligned_alloc(size_t alignment, size_t n_bytes) {
  lockstep::record(n_bytes);
  return __libc_memalign(alignment, n_bytes);
}
int posix_memalign(void** data, size_t alignment, size_t n_bytes) {
  lockstep::record(n_bytes);
  *data = __libc_memalign(alignment, n_bytes);
  return *data ? 0 : ENOMEM;
}
void free(void* data) { __libc_free(data); }

}  // extern "C"
#endif
