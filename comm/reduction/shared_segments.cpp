// Creation and exchange of shared segments. Every rank proves that it opened the right files by the
// number that the owner wrote at their begin; one MPI_MIN settles that all did.
#include "comm/reduction/shared_segments.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <random>
#include <string>

#include "comm/mpi_check.h"

namespace lockstep {
namespace {

/// A file descriptor that closes itself.
struct Descriptor {
  explicit Descriptor(int fd) : number(fd) {}
  ~Descriptor() {
    if (number >= 0) close(number);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  const int number;
};

std::byte* map_shared(const Descriptor& file, int64_t n_bytes) {
  if (file.number < 0) return nullptr;
  void* map = mmap(nullptr, size_t(n_bytes), PROT_READ | PROT_WRITE, MAP_SHARED, file.number, 0);
  if (map == MAP_FAILED) return nullptr;
  madvise(map, size_t(n_bytes), MADV_HUGEPAGE);  // fewer page faults, where the system offers it
  return static_cast<std::byte*>(map);
}

}  // namespace

std::unique_ptr<SharedSegments> SharedSegments::make(MPI_Comm host, int64_t n_bytes) {
  int rank = 0, size = 1;
  LOCKSTEP_MPI(MPI_Comm_rank(host, &rank));
  LOCKSTEP_MPI(MPI_Comm_size(host, &size));
  n_bytes = std::max(n_bytes, int64_t{sizeof(int64_t)});
  std::unique_ptr<SharedSegments> segments(new SharedSegments(n_bytes));
  segments->maps_.resize(size_t(size), nullptr);

  const Descriptor own(memfd_create("lockstep", MFD_CLOEXEC));
  std::byte*& map = segments->maps_[size_t(rank)];
  if (own.number >= 0 && ftruncate(own.number, n_bytes) == 0) map = map_shared(own, n_bytes);
  const int64_t proof = int64_t(std::random_device{}()) << 16 ^ getpid();
  if (map != nullptr) std::memcpy(map, &proof, sizeof(proof));

  struct Card {  // where a rank's file is found, and how to know it
    int64_t process, descriptor, proof;
  };
  const Card card{map == nullptr ? -1 : getpid(), own.number, proof};
  std::vector<Card> cards(static_cast<size_t>(size));
  LOCKSTEP_MPI(MPI_Allgather(&card, 3, MPI_INT64_T, cards.data(), 3, MPI_INT64_T, host));
  int all_open = 1;
  for (int r = 0; r < size; ++r) {
    const auto& [process, descriptor, expected] = cards[size_t(r)];
    if (r != rank && process >= 0) {
      const std::string path = "/proc/" + std::to_string(process) + "/fd/" + std::to_string(descriptor);
      const Descriptor file(open(path.c_str(), O_RDWR | O_CLOEXEC));
      // A stranger's file may be shorter than what is mapped of it.
      if (lseek(file.number, 0, SEEK_END) == n_bytes) segments->maps_[size_t(r)] = map_shared(file, n_bytes);
    }
    const std::byte* found = segments->maps_[size_t(r)];
    if (found == nullptr || std::memcmp(found, &expected, sizeof(expected)) != 0) all_open = 0;
  }
  // Also the point after which owners may close their files and clear their proofs.
  LOCKSTEP_MPI(MPI_Allreduce(MPI_IN_PLACE, &all_open, 1, MPI_INT, MPI_MIN, host));
  if (!all_open) return nullptr;
  std::memset(map, 0, sizeof(proof));
  LOCKSTEP_MPI(MPI_Barrier(host));
  return segments;
}

SharedSegments::~SharedSegments() {
  for (std::byte* map : maps_) {
    if (map != nullptr) munmap(map, size_t(n_bytes_));
  }
}

}  // namespace lockstep
