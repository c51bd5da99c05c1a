// A file in memory (memfd) of the first rank of each host, which the others open by that process's
// descriptor under /proc.
#include "io/files/node_memory.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <string>
#include <utility>
#include <vector>

#include "io/files/files.h"
#include "kernels/error.h"

namespace lockstep {

namespace {

std::byte* map(int fd, int64_t n_bytes) {
  const int flags = fd < 0 ? MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE : MAP_SHARED;
  void* data = ::mmap(nullptr, static_cast<size_t>(n_bytes), PROT_READ | PROT_WRITE, flags, fd, 0);
  return data == MAP_FAILED ? nullptr : static_cast<std::byte*>(data);
}

/// Equal for processes that reach each other under /proc.
std::string process_table() {
  std::array<char, 256> name{};
  const ssize_t n = ::readlink("/proc/self/ns/pid", name.data(), name.size());
  return host_name() + " " + (n > 0 ? std::string(name.data(), static_cast<size_t>(n)) : "");
}

}  // namespace

NodeMemory::NodeMemory(int64_t n_bytes) : data_(map(-1, std::max<int64_t>(n_bytes, 1))), n_bytes_(n_bytes) {
  if (!data_)
    throw Error("data loader", "not enough memory for " + std::to_string(n_bytes >> 20) + " MiB of samples",
                "lower data.cache_mb");
  // Shuffled rows miss the TLB: large pages made gathering of 784-byte rows a fifth faster. Only a hint.
  ::madvise(data_, static_cast<size_t>(n_bytes), MADV_HUGEPAGE);
}

std::optional<NodeMemory> NodeMemory::shared(Communicator& comm, int64_t n_bytes) {
  const std::vector<std::string> tables = comm.all_gather_strings(process_table());
  const auto rank = static_cast<size_t>(comm.rank());
  const auto first =
      static_cast<size_t>(std::find(tables.begin(), tables.end(), tables[rank]) - tables.begin());
  FileHandle file;
  std::string name;
  try {
    if (first == rank) {
      file = FileHandle::in_memory("lockstep-samples");
      file.resize(std::max<int64_t>(n_bytes, 1));
      name = "/proc/" + std::to_string(::getpid()) + "/fd/" + std::to_string(file.fd());
    }
  } catch (const Error&) {  // the others find no name
  }
  const std::string owners = comm.all_gather_strings(name)[first];
  NodeMemory memory;
  memory.n_bytes_ = n_bytes;
  try {
    if (first != rank && !owners.empty()) file = FileHandle(owners, O_RDWR);
    if (file.fd() >= 0) memory.data_ = map(file.fd(), std::max<int64_t>(n_bytes, 1));
  } catch (const Error&) {
  }
  // The owner's descriptor stays open until everybody has it.
  if (comm.all_reduce_max(memory.data_ ? 0 : 1) > 0) return {};
  return memory;
}

NodeMemory::~NodeMemory() {
  if (data_) ::munmap(data_, static_cast<size_t>(std::max<int64_t>(n_bytes_, 1)));
}

NodeMemory::NodeMemory(NodeMemory&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), n_bytes_(std::exchange(other.n_bytes_, 0)) {}

NodeMemory& NodeMemory::operator=(NodeMemory&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(n_bytes_, other.n_bytes_);
  return *this;
}

}  // namespace lockstep
